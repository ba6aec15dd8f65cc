//! Making a lab: files, namespaces, cables, daemons, pods, in this order.
//!
//! The record is written before anything else exists, and again whenever something that only the
//! record knows was added. Whatever fails or is killed, [`teardown`](super::teardown) finds what
//! was made.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::error::Error;
use super::progress::Progress;
use super::record::{Record, StateDir};
use super::{daemons, pods, process, underlay};

/// Makes everything `record` plans. With `die_with_parent` the daemons end with this process.
///
/// # Errors
/// The first thing that could not be made. What was made stays for
/// [`teardown`](super::teardown::remove).
pub(crate) async fn build(
    state: &StateDir,
    record: &mut Record,
    die_with_parent: bool,
    progress: &Progress,
) -> Result<(), Error> {
    let hosts = record.plan.hosts.len();
    let topology = record.plan.topology;
    progress.step(&format!("making {hosts} hosts, topology {topology}"));
    make_files(state, record)?;
    state.save(record)?;
    make_room_for_neighbours(record, progress);
    state.save(record)?;
    underlay::build(&record.plan).await?;
    progress.step(&format!("starting {hosts} daemons"));
    for number in 1..=hosts {
        // Nobody waits for the children: the lab knows them by their numbers.
        drop(process::start_daemon(
            state,
            record,
            number,
            die_with_parent,
        )?);
    }
    progress.step("waiting for the daemons to be one network");
    daemons::wait_ready(state, record, progress).await?;
    let wanted = record.plan.pods_per_host;
    progress.step(&format!(
        "attaching {} pods through the CNI plugin",
        wanted * hosts
    ));
    for pod in 1..=wanted {
        for host in 1..=hosts {
            progress.update(&format!(
                "attaching pod {pod} of {wanted} on host {host} of {hosts}"
            ));
            pods::add(state, record, host).await?;
        }
    }
    state.save(record)
}

pub(crate) fn make_files(state: &StateDir, record: &Record) -> Result<(), Error> {
    let bin = state.bin();
    make_dir(&bin)?;
    let program = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
    for plugin in ["weave-net", "weave-ipam"] {
        let link = bin.join(plugin);
        symlink(&program, &link).map_err(Error::file(&link))?;
    }
    let bpf = state.bpf();
    make_dir(&bpf)?;
    // One file system for the lab alone: unmounting it lets go of every pinned program and map.
    mount(
        Some("bpf"),
        &bpf,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|error| Error::kernel(format!("mount bpf at {}", bpf.display()), error))?;
    for host in &record.plan.hosts {
        let etc = state.host(host.number).join("root/etc");
        make_dir(&etc)?;
        let id = pods::fresh_id().map_err(|error| Error::kernel("random numbers", error))?;
        let file = etc.join("machine-id");
        fs::write(&file, format!("{}\n", &id[..32])).map_err(Error::file(&file))?;
        if let Some(password) = &record.password {
            write_secret(&state.passwords(host.number), password)?;
        }
    }
    Ok(())
}

fn write_secret(file: &Path, secret: &str) -> Result<(), Error> {
    let mut options = fs::OpenOptions::new();
    let opened = options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(file);
    let written = opened.and_then(|mut opened| writeln!(opened, "{secret}"));
    written.map_err(Error::file(file))
}

pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::file(path))
}

/// Every pod asks for every other: the neighbour tables of all namespaces of the machine share one
/// limit, and beyond it the kernel drops packets. Raised for the time of the lab where it is too
/// low; where it cannot be raised, the lab goes on and says so.
pub(crate) fn make_room_for_neighbours(record: &mut Record, progress: &Progress) {
    let needed = neighbours(record.plan.hosts.len(), record.plan.pods_per_host) * 2;
    for name in ["gc_thresh3", "gc_thresh2", "gc_thresh1"] {
        let path = PathBuf::from("/proc/sys/net/ipv4/neigh/default").join(name);
        let Ok(before) = fs::read_to_string(&path) else {
            continue;
        };
        let before = before.trim().to_owned();
        if before.parse::<usize>().is_ok_and(|limit| limit >= needed) {
            continue;
        }
        if let Err(error) = fs::write(&path, needed.to_string()) {
            progress.say(&format!("note: cannot raise {}: {error}", path.display()));
            continue;
        }
        record.raised.push((path, before));
    }
}

/// Neighbour entries when every place of a lab has talked to every other.
fn neighbours(hosts: usize, pods: usize) -> usize {
    let places = hosts * (pods + 1);
    places * places.saturating_sub(1) + hosts * hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbour_entries_grow_with_the_square_of_the_places() {
        assert_eq!(neighbours(1, 0), 1);
        assert_eq!(neighbours(3, 2), 9 * 8 + 9);
        assert_eq!(neighbours(10, 4), 50 * 49 + 100);
    }
}
