//! The CNI plugins and their configuration in a host: taken away again.
//!
//! Invariant: only files go that an installation of ours or of a Weave Net has put there, and the
//! configuration goes first, so that the node does not count as ready with a plugin missing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::reset::Removed;

/// Removes them below `root`, the root directory of the host.
pub fn remove(root: &Path, removed: &mut Removed) {
    let configuration = CONFIGURATION.map(|file| root.join("etc/cni/net.d").join(file));
    let programs = DIRECTORIES.map(|directory| plugins(&root.join(directory)));
    for path in configuration
        .into_iter()
        .chain(programs.into_iter().flatten())
    {
        let what = format!("CNI file {}", path.display());
        let outcome = match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        removed.note(&what, outcome);
    }
}

/// The plugins in a directory: names that lead to a program, and programs.
fn plugins(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_plugin = |name: &str| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let names = entries.map(|entry| entry.file_name());
    let mut found: Vec<PathBuf> = names
        .filter(|name| name.to_str().is_some_and(is_plugin))
        .map(|name| directory.join(name))
        .collect();
    found.sort();
    found
}

/// The present name of the configuration, and the one before.
const CONFIGURATION: [&str; 2] = ["10-weave.conflist", "10-weave.conf"];
/// Where plugins are installed; the second where the first cannot be written.
const DIRECTORIES: [&str; 2] = ["opt/cni/bin", "home/kubernetes/bin"];
/// What runtimes call.
const NAMES: [&str; 2] = ["weave-net", "weave-ipam"];
/// Where those lead: ours, by content, and Weave Net's, by version (`weave-plugin-2.8.1`).
const PREFIXES: [&str; 2] = ["weave-plugin-", ".weave-plugin-"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_others_stays() {
        let root = std::env::temp_dir().join(format!("weave-plugins-{}", std::process::id()));
        let (bin, net) = (root.join("opt/cni/bin"), root.join("etc/cni/net.d"));
        for directory in [&bin, &net] {
            fs::create_dir_all(directory).unwrap();
        }
        let ours = [
            net.join("10-weave.conflist"),
            bin.join("weave-ipam"),
            bin.join("weave-net"),
            bin.join("weave-plugin-2.8.1"),
        ];
        let others = [
            bin.join("bridge"),
            bin.join("weave-net-of-mine"),
            net.join("20-other.conf"),
        ];
        for path in ours.iter().chain(&others) {
            fs::write(path, "").unwrap();
        }

        let mut removed = Removed::default();
        remove(&root, &mut removed);

        let shown = ours
            .iter()
            .map(|path| format!("CNI file {}", path.display()));
        assert_eq!(removed.done, shown.collect::<Vec<_>>());
        assert!(removed.left.is_empty() && others.iter().all(|path| path.exists()));
        let mut again = Removed::default();
        remove(&root, &mut again);
        assert_eq!(again, Removed::default());
        fs::remove_dir_all(&root).unwrap();
    }
}
