//! The disk with the state file, and the configurations of CNI plugins.

use crate::doctor::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(disk(evidence));
    found.extend(plugins(evidence));
    found
}

fn disk(evidence: &Evidence) -> Option<Finding> {
    let disk = evidence.disk.as_ref()?;
    let directory = &disk.directory;
    let why = "an address is given only when it is on disk, so no pod can start";
    if disk.read_only {
        let what = format!("{directory} is mounted for reading only");
        let finding = Finding::error("disk", what).why(why).fix(format!(
            "mount -o remount,rw $(df --output=target {directory} | tail -1)"
        ));
        return Some(finding);
    }
    let is_out_of_files = disk.files == Some(0);
    if disk.free >= ROOM && !is_out_of_files {
        return None;
    }
    let what = if is_out_of_files {
        format!("no file can be made in {directory}: the file system has no inodes left")
    } else {
        format!(
            "the file system of {directory} is full: {} KiB are free",
            disk.free / 1024
        )
    };
    let finding = Finding::error("disk", what)
        .why(why)
        .fix(format!("du -xah {directory} | sort -h | tail"));
    Some(finding)
}

fn plugins(evidence: &Evidence) -> Option<Finding> {
    let mut before = evidence.plugins.iter();
    let first = before.next().filter(|plugin| !plugin.is_ours())?;
    let ours = before.find(|plugin| plugin.is_ours())?;
    let what = format!(
        "{} ({}) comes before {}",
        first.file,
        first.kinds.join(", "),
        ours.file
    );
    let finding = Finding::error("conflist", what)
        .why("runtimes use the first configuration only: new pods do not come to this network")
        .fix(format!("mv {0} {0}.off", first.file));
    Some(finding)
}

/// Bytes that the state file and its copies take while they are written.
const ROOM: u64 = 256 << 10;
