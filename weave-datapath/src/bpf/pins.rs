//! The directory on a BPF file system where programs, links and maps outlive the daemon.
//!
//! One directory belongs to one daemon. Everything in it is of one layout: the file `config` is
//! written last and read first, so a directory left half-filled counts as empty.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::Error;

/// The pins of one daemon.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// Makes the directory, and mounts a BPF file system when it would be on none: at
    /// `/sys/fs/bpf` for directories below it, else at the directory itself.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Directory {
            dir: dir.to_owned(),
            source,
        };
        if !is_bpf(dir) {
            prepare(dir).map_err(failed)?;
        }
        if !is_bpf(dir) {
            return Err(failed(io::Error::other(
                "no BPF file system is mounted there",
            )));
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Path of one pin.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether the pin is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Removes one pin; the kernel object goes with its last reference.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        match fs::remove_file(self.path(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Directory {
                dir: self.path(name),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Removes every pin of ours: links first, so that no program runs without its maps.
    pub(super) fn clear(&self) -> Result<(), Error> {
        let names = [&LINKS[..], &PROGRAMS[..], &[CONFIG], &MAPS[..]].concat();
        let sides = self.side_ports();
        let sides = sides.into_iter().map(|port| self.remove(&side(port)));
        let outcomes: Vec<_> = sides
            .chain(names.into_iter().map(|name| self.remove(name)))
            .collect();
        outcomes.into_iter().collect()
    }

    /// The UDP ports beside ours that the tunnel was opened at, ascending.
    pub(super) fn side_ports(&self) -> BTreeSet<u16> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter_map(|name| name.strip_prefix(SIDE)?.parse().ok())
            .collect()
    }

    /// Removes the directory itself, if it can be: it may be a mount point or hold foreign files.
    pub(super) fn remove_dir(&self) {
        if let Err(error) = fs::remove_dir(&self.dir) {
            tracing::debug!(dir = %self.dir.display(), %error, "BPF directory stays");
        }
    }
}

/// The map written last and read first.
pub(super) const CONFIG: &str = "config";
/// The other maps.
pub(super) const MAPS: [&str; 5] = ["table", "macs", "generations", "events", "counters"];
/// The programs, under their names in the object.
pub(super) const PROGRAMS: [&str; 3] = ["weave_bridge", TUNNEL, "weave_user"];
/// The program for what comes out of the tunnel, at our port and at others.
pub(super) const TUNNEL: &str = "weave_tunnel";
/// The links of the programs, in the same order.
pub(super) const LINKS: [&str; 3] = ["link_bridge", "link_tunnel", "link_user"];

/// The pin that stands for the tunnel at a port beside ours: it is open there while the pin is there.
pub(super) fn side(port: u16) -> String {
    format!("{SIDE}{port}")
}

const SIDE: &str = "side_";
const STANDARD: &str = "/sys/fs/bpf";

fn is_bpf(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

fn prepare(dir: &Path) -> io::Result<()> {
    let standard = Path::new(STANDARD);
    if dir.starts_with(standard) && !is_bpf(standard) {
        mount_at(standard)?;
    }
    fs::create_dir_all(dir)?;
    if is_bpf(dir) {
        return Ok(());
    }
    mount_at(dir)
}

fn mount_at(dir: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), dir, Some("bpf"), flags, none).map_err(io::Error::from)
}
