//! Removing a lab, whole or half made, also one whose maker was killed.
//!
//! Looks for what is really there (process files, namespaces by name, mounts) and goes on after
//! every error. Removing what is not there is no error.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::mount::{MntFlags, umount2};
use weave_datapath::netns::{Namespace, list_named, named_path};

use super::error::Error;
use super::process::Process;
use super::record::StateDir;

/// Removes the lab. Returns whether there was anything.
///
/// # Errors
/// [`Error::Leftovers`] with everything that could not be removed.
pub(crate) fn remove(state: &StateDir) -> Result<bool, Error> {
    let mut trouble = Vec::new();
    let mut found = state.path().exists();
    for file in process_files(state) {
        if let Some(process) = Process::written(&file) {
            note(&mut trouble, process.kill());
        }
    }
    restore_settings(state, &mut trouble);
    let names: Vec<String> = match list_named() {
        Ok(names) => names
            .into_iter()
            .filter(|name| belongs(name, state.name()))
            .collect(),
        Err(error) => {
            trouble.push(error.to_string());
            Vec::new()
        }
    };
    found |= !names.is_empty();
    kill_inhabitants(&names, &mut trouble);
    for name in &names {
        note(&mut trouble, Namespace::delete_named(name));
    }
    for disk in disks(state) {
        note(&mut trouble, umount2(&disk, MntFlags::MNT_DETACH));
    }
    let bpf = state.bpf();
    if is_mounted(&bpf) {
        note(&mut trouble, umount2(&bpf, MntFlags::MNT_DETACH));
    }
    // Not before the mount is off: what is pinned there is not ours to delete one by one.
    if state.path().exists() && !is_mounted(&bpf) {
        note(&mut trouble, fs::remove_dir_all(state.path()));
    }
    if trouble.is_empty() {
        Ok(found)
    } else {
        Err(Error::Leftovers(trouble))
    }
}

/// Whether the namespace `name` is of the lab `lab`: `LAB-switch`, `LAB-N`, `LAB-N-nat` or
/// `LAB-N-pod-M`. A lab whose name begins with ours is another lab.
fn belongs(name: &str, lab: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = name
        .strip_prefix(lab)
        .and_then(|rest| rest.strip_prefix('-'))
    else {
        return false;
    };
    rest == "switch"
        || number(rest.strip_suffix("-nat").unwrap_or(rest))
        || rest
            .split_once("-pod-")
            .is_some_and(|(host, pod)| number(host) && number(pod))
}

/// Disks of hosts: file systems on directories of theirs.
fn disks(state: &StateDir) -> Vec<std::path::PathBuf> {
    let hosts = fs::read_dir(state.path()).into_iter().flatten().flatten();
    let hosts = hosts.filter(|entry| entry.file_name().to_string_lossy().starts_with("host-"));
    let inside = hosts.flat_map(|host| fs::read_dir(host.path()).into_iter().flatten().flatten());
    inside
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && is_mounted(path))
        .collect()
}

fn process_files(state: &StateDir) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(state.path()).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path().join("daemon.pid"))
        .filter(|file| file.is_file())
        .collect()
}

/// Puts back what the lab raised; a damaged record knows nothing to put back.
fn restore_settings(state: &StateDir, trouble: &mut Vec<String>) {
    let Ok(Some(record)) = state.load() else {
        return;
    };
    for (path, before) in record.raised.iter().rev() {
        if let Err(error) = fs::write(path, before) {
            trouble.push(format!("{}: {error}", path.display()));
        }
    }
}

/// Ends processes that live in the namespaces `names`: plugins of a killed lab, commands of
/// `weave lab exec`. Names are of a lab, so everything in them is.
fn kill_inhabitants(names: &[String], trouble: &mut Vec<String>) {
    let ids: Vec<(u64, u64)> = names
        .iter()
        .filter_map(|name| identity(&named_path(name)))
        .collect();
    if ids.is_empty() {
        return;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let inside = identity(&entry.path().join("ns/net")).is_some_and(|ns| ids.contains(&ns));
        if let Some(process) = Process::of(id).filter(|_| inside) {
            note(trouble, process.kill());
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Whether something is mounted at `path`: it is on another device than the directory around it.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
    match (device(path), path.parent().and_then(device)) {
        (Some(inner), Some(outer)) => inner != outer,
        _ => false,
    }
}

fn note<T, E: std::fmt::Display>(trouble: &mut Vec<String>, outcome: Result<T, E>) {
    if let Err(error) = outcome {
        trouble.push(error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_of_other_labs_are_left_alone() {
        for name in ["lab-1", "lab-12", "lab-switch", "lab-1-pod-2", "lab-3-nat"] {
            assert!(belongs(name, "lab"), "{name}");
        }
        for name in [
            "lab",
            "lab-",
            "lab-x",
            "lab-b-1",
            "lab-1-pod-",
            "lab-1-pod-x",
            "lab2-1",
            "lab-1-2",
            "lab-x-nat",
        ] {
            assert!(!belongs(name, "lab"), "{name}");
        }
    }

    #[test]
    fn an_ordinary_directory_is_not_mounted() {
        assert!(!is_mounted(Path::new("/etc")) || is_mounted(Path::new("/proc")));
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/nonexistent")));
    }
}
