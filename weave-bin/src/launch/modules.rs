//! Loading a kernel module with what it needs, without a program for it.
//!
//! `modules.dep` lists for each module file the files it needs, in the reverse order of loading
//! (`modules.dep(5)`, kmod).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Loads the module called `name`; one that is there already is fine.
///
/// # Errors
/// What could not be done.
pub(super) fn load(name: &str) -> io::Result<()> {
    if Path::new("/sys/module").join(name).exists() {
        return Ok(());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let directory = Path::new("/lib/modules").join(release.trim());
    let list = std::fs::read_to_string(directory.join("modules.dep"))?;
    let files = in_order(&list, name).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no {name} in modules.dep"))
    })?;
    files
        .iter()
        .try_for_each(|file| insert(&directory.join(file)))
}

/// The files to load for `name`, first to last.
fn in_order(list: &str, name: &str) -> Option<Vec<PathBuf>> {
    list.lines().find_map(|line| {
        let (file, needs) = line.split_once(':')?;
        (module_name(file)? == name).then(|| {
            let needs = needs.split_whitespace().rev();
            needs.chain([file]).map(PathBuf::from).collect()
        })
    })
}

/// `kernel/net/bridge/br_netfilter.ko.zst` is `br_netfilter`.
fn module_name(file: &str) -> Option<String> {
    let base = file.rsplit('/').next()?;
    let (stem, _) = base.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

fn insert(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let is_packed = path.extension().is_some_and(|extension| extension != "ko");
    let flags = if is_packed {
        ModuleInitFlags::from_bits_retain(COMPRESSED)
    } else {
        ModuleInitFlags::empty()
    };
    match finit_module(&file, c"", flags) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
    }
}

/// `MODULE_INIT_COMPRESSED_FILE` (linux/module.h): the kernel unpacks by itself, since 5.17.
const COMPRESSED: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let list = "kernel/net/llc/llc.ko.zst:\n\
            kernel/net/bridge/br_netfilter.ko.zst: kernel/net/bridge/bridge.ko.zst \
            kernel/net/802/stp.ko.zst kernel/net/llc/llc.ko.zst\n\
            kernel/net/netfilter/xt-set.ko: a.ko\n";

        let files = in_order(list, "br_netfilter").unwrap();

        let names: Vec<String> = files
            .iter()
            .filter_map(|file| module_name(file.to_str()?))
            .collect();
        assert_eq!(names, ["llc", "stp", "bridge", "br_netfilter"]);
        assert_eq!(in_order(list, "xt_set").unwrap().len(), 2);
        assert_eq!(in_order(list, "wireguard"), None);
    }
}
