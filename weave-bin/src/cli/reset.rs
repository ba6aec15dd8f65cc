//! `weave reset`: hands this host's addresses to another, ends the daemon and removes every trace.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{major, minor};
use nix::unistd::{Pid, geteuid};

use super::run::Outcome;
use super::{Command, Misuse};
use crate::host::plugins;
use crate::host::reset::{self, Extent, Removed};
use crate::http::client::Client;
use crate::pods;
use crate::store::{self, Store};

/// What `weave reset` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reset {
    /// Go on although the addresses cannot be handed over.
    force: bool,
    /// Where state files may be.
    prefixes: Vec<PathBuf>,
    /// Where programs and maps are pinned.
    bpf_dir: PathBuf,
    /// Name of the bridge.
    bridge: String,
    /// Only the bridge and what joins it to other hosts.
    bridge_only: bool,
    /// Root directories of hosts that lose their CNI plugins.
    cni_roots: Vec<PathBuf>,
}

pub(super) fn parse(arguments: &[String]) -> Result<Command, Misuse> {
    let mut reset = Reset {
        force: false,
        prefixes: Vec::new(),
        bpf_dir: BPF_DIR.into(),
        bridge: "weave".to_owned(),
        bridge_only: false,
        cni_roots: Vec::new(),
    };
    for word in arguments {
        match word.split_once('=') {
            None if word == "--force" => reset.force = true,
            None if word == "--bridge-only" => reset.bridge_only = true,
            None if word == "--cni" => reset.cni_roots.extend(ROOTS.map(PathBuf::from)),
            Some(("--cni", root)) => reset.cni_roots.push(root.into()),
            Some(("--db-prefix", prefix)) => reset.prefixes.push(prefix.into()),
            Some(("--bpf-dir", dir)) => reset.bpf_dir = dir.into(),
            Some(("--weave-bridge", name)) => name.clone_into(&mut reset.bridge),
            _ => return Err(Misuse::Usage),
        }
    }
    if reset.bridge_only && !reset.cni_roots.is_empty() {
        return Err(Misuse::Usage);
    }
    if reset.prefixes.is_empty() {
        reset.prefixes = PREFIXES.map(PathBuf::from).into();
    }
    Ok(Command::Reset(reset))
}

/// Does it.
pub(super) async fn run(client: &Client, reset: &Reset) -> Outcome {
    if !geteuid().is_root() {
        return Outcome::failure(
            1,
            "weave reset removes interfaces: run it as root".to_owned(),
        );
    }
    let mut said = Vec::new();
    // The addresses of a daemon that comes back stay its own.
    if !reset.force && !reset.bridge_only {
        match Outcome::of(client.delete("/peer").await).into_body() {
            // Time for the others to hear of it.
            Ok(_) => tokio::time::sleep(HAND_OVER).await,
            Err(failure) if failure.is_unreachable() => said.push(NO_DAEMON.to_owned()),
            // A daemon without address allocation has nothing to hand over.
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => return failure,
        }
    }
    for prefix in &reset.prefixes {
        if let Err(error) = end_daemon(prefix).await {
            return Outcome::failure(1, error);
        }
    }
    let extent = if reset.bridge_only {
        Extent::Bridge
    } else {
        Extent::All
    };
    let mut removed = reset::remove(&reset.bridge, &reset.bpf_dir, extent).await;
    for prefix in reset.prefixes.iter().filter(|_| !reset.bridge_only) {
        remove_state(prefix, &mut removed);
    }
    for root in &reset.cni_roots {
        plugins::remove(root, &mut removed);
    }
    said.extend(removed.done.iter().map(|what| format!("removed {what}")));
    let text: String = said.iter().map(|line| format!("{line}\n")).collect();
    if removed.left.is_empty() {
        Outcome::success(text)
    } else {
        let left: Vec<String> = removed
            .left
            .iter()
            .map(|one| format!("left {one}"))
            .collect();
        Outcome::failure(1, left.join("\n")).with_output(text)
    }
}

/// Ends the daemon that has the state file of `prefix`, if there is one.
pub(super) async fn end_daemon(prefix: &Path) -> Result<(), String> {
    let store = Store::new(prefix);
    let mut asked = None;
    for _ in 0..ROUNDS {
        // Opening would make the file.
        if !store.path().exists() {
            return Ok(());
        }
        match store.open() {
            Err(store::Error::Locked(path)) => {
                // One that ends at this moment is not found any more.
                if let Some(holder) = holder(&path).filter(|_| asked.is_none()) {
                    kill(Pid::from_raw(holder), Signal::SIGTERM)
                        .map_err(|errno| format!("cannot end process {holder}: {errno}"))?;
                    asked = Some(holder);
                }
            }
            // A file that cannot be read is no reason to keep the rest.
            _ => return Ok(()),
        }
        tokio::time::sleep(ROUND).await;
    }
    let shown = store.path().display();
    Err(match asked {
        Some(holder) => format!("process {holder}, which uses {shown}, does not end"),
        None => format!("some daemon uses {shown}: end it first"),
    })
}

fn remove_state(prefix: &Path, removed: &mut Removed) {
    let store = Store::new(prefix);
    let what = format!("state {}", store.path().display());
    removed.note(&what, is_removed(fs::remove_file(store.path())));
    let ledger = pods::ledger_path(prefix);
    let what = format!("list of pods {}", ledger.display());
    removed.note(&what, is_removed(fs::remove_file(&ledger)));
    let spool = pods::spool::beside(prefix);
    let what = format!("releases in {}", spool.display());
    removed.note(&what, is_removed(fs::remove_dir_all(&spool)));
}

/// Whether there was something to remove.
fn is_removed(outcome: std::io::Result<()>) -> std::io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The process that has locked `path`.
fn holder(path: &Path) -> Option<i32> {
    let file = fs::metadata(path).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let (device, inode) = ((major(file.dev()), minor(file.dev())), file.ino());
    holder_in(&locks, device, inode)
}

/// The process in a line such as `1: FLOCK  ADVISORY  WRITE 708 fd:01:1234 0 EOF` (`proc_locks(5)`).
fn holder_in(locks: &str, device: (u64, u64), inode: u64) -> Option<i32> {
    let wanted = format!("{:02x}:{:02x}:{inode}", device.0, device.1);
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, _, process, file, ..] if *file == wanted => {
                process.parse().ok().filter(|process| *process > 0)
            }
            _ => None,
        }
    })
}

const BPF_DIR: &str = "/sys/fs/bpf/weave";
/// Where daemons in containers and on hosts keep their state by default.
pub(super) const PREFIXES: [&str; 4] = [
    "/weavedb/weave-net",
    "/weavedb/weave",
    "/var/lib/weave/weave-net",
    "/var/lib/weave/weave",
];
/// The root directory of the host, for a command that runs on it, and as the container has it.
const ROOTS: [&str; 2] = ["/", "/host"];
const NO_DAEMON: &str = "no daemon answers, so its addresses are not handed over: run \
                         'weave rmpeer' for this host on another";
const HAND_OVER: Duration = Duration::from_millis(500);
const ROUND: Duration = Duration::from_millis(50);
const ROUNDS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Reset, Misuse> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&words)? {
            Command::Reset(reset) => Ok(reset),
            _ => Err(Misuse::Usage),
        }
    }

    #[test]
    fn without_arguments_every_usual_place_is_looked_at() {
        let reset = parsed("").unwrap();

        assert_eq!(reset.prefixes.len(), 4);
        assert!(!reset.force);
        assert_eq!(reset.bridge, "weave");
    }

    #[test]
    fn a_place_that_is_named_is_the_only_one() {
        let reset = parsed("--force --db-prefix=/x/y --bpf-dir=/z --weave-bridge=w").unwrap();

        assert!(reset.force);
        assert_eq!(reset.prefixes, [PathBuf::from("/x/y")]);
        assert_eq!((reset.bpf_dir, reset.bridge), ("/z".into(), "w".to_owned()));
        assert_eq!(parsed("now"), Err(Misuse::Usage));
    }

    #[test]
    fn plugins_stay_unless_asked_for() {
        assert_eq!(parsed("").unwrap().cni_roots, [""; 0].map(PathBuf::from));
        let roots = |line: &str| parsed(line).unwrap().cni_roots;
        assert_eq!(roots("--cni"), ["/", "/host"].map(PathBuf::from));
        assert_eq!(roots("--cni=/mnt"), [PathBuf::from("/mnt")]);
        assert!(parsed("--bridge-only").unwrap().bridge_only);
        assert_eq!(parsed("--bridge-only --cni"), Err(Misuse::Usage));
    }

    #[test]
    fn the_holder_of_a_lock_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fd:01:78 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fd:01:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 14 fd:01:77 0 EOF\n";

        assert_eq!(holder_in(locks, (0xfd, 1), 77), Some(13));
        assert_eq!(holder_in(locks, (0xfd, 2), 77), None);
    }
}
