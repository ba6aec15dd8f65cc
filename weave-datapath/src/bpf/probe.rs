//! What this kernel lacks for the fast path, found by trying it.
//!
//! Invariant: nothing of the host is touched but the directory for pins: everything is tried in a
//! network namespace of its own, that is gone afterwards.

use std::{
    collections::BTreeMap,
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};

use super::{Config, Device, Error, pins::Pins, programs, tunnel};
use crate::{
    bridge,
    fastdp::{
        DEFAULT_MTU, Entry, PORT, Path as Way, PeerName, Route, ShortId, Tables, Vni, heartbeat,
    },
    netlink::Netlink,
};

/// A part of the system that the fast path stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Network namespaces: without them nothing can be tried out (`CONFIG_NET_NS`, `CAP_SYS_ADMIN`).
    Namespaces,
    /// A file system for pins (`CONFIG_BPF_SYSCALL`).
    BpfFileSystem,
    /// Bridges and veth pairs (`CONFIG_BRIDGE`, `CONFIG_VETH`).
    Bridge,
    /// VXLAN devices that take their headers from metadata (`CONFIG_VXLAN`).
    Vxlan,
    /// BPF programs of the traffic control type, and what ours call.
    Programs,
    /// All of it together: hooks, and metadata that tells both outer addresses (Linux 5.19).
    Tunnel,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "network namespaces",
            Self::BpfFileSystem => "the BPF file system",
            Self::Bridge => "bridges and veth pairs",
            Self::Vxlan => "VXLAN devices with metadata",
            Self::Programs => "BPF programs for traffic control",
            Self::Tunnel => "tunnel metadata at the program hooks",
        })
    }
}

/// Something that does not work here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was tried.
    pub part: Part,
    /// What the system said.
    pub reason: String,
}

impl Finding {
    fn new(part: Part, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self { part, reason }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used: {}", self.part, self.reason)
    }
}

/// Tries whether the fast path works on this kernel; empty when it does. `dir` is the directory for
/// pins, in which a directory of its own serves for the trial. Blocks for about a tenth of a second.
///
/// Each finding is about another part. When a part that others stand on is missing, those are not
/// tried.
#[must_use]
pub fn self_test(dir: &Path) -> Vec<Finding> {
    if let Err(error) = Pins::open(dir) {
        return vec![Finding::new(Part::BpfFileSystem, error)];
    }
    let scratch = dir.join(format!("trial-{}", std::process::id()));
    let outcome = thread::scope(|scope| {
        let trial = thread::Builder::new().name("fastdp-trial".to_owned());
        let trial = trial.spawn_scoped(scope, || apart(scratch.clone()));
        let joined = trial.map(thread::ScopedJoinHandle::join);
        joined.unwrap_or_else(|error| Ok(vec![Finding::new(Part::Namespaces, error)]))
    });
    if let Ok(pins) = Pins::open(&scratch) {
        if let Err(error) = pins.clear() {
            tracing::debug!(%error, "pins of the trial stay");
        }
        pins.remove_dir();
    }
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The trial, on a thread that is in a namespace of its own from here on.
fn apart(dir: PathBuf) -> Vec<Finding> {
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        return vec![Finding::new(Part::Namespaces, errno)];
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(trial(dir)),
        Err(error) => vec![Finding::new(Part::Namespaces, error)],
    }
}

async fn trial(dir: PathBuf) -> Vec<Finding> {
    let netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => return vec![Finding::new(Part::Namespaces, error)],
    };
    let mut findings = Vec::new();
    let bridge = bridge::Config::new(BRIDGE_MAC, DEFAULT_MTU.into());
    if let Err(error) = bridge::ensure(&bridge).await {
        findings.push(Finding::new(Part::Bridge, error));
    }
    if let Err(error) = tunnel::create(&netlink, PORT, DEFAULT_MTU.into()).await {
        findings.push(Finding::new(Part::Vxlan, error));
    }
    if let Err(error) = programs::verify() {
        findings.push(Finding::new(Part::Programs, error));
    }
    if findings.is_empty() {
        let config = Config::new(dir, bridge.datapath);
        if let Err(reason) = round(&config, &netlink).await {
            findings.push(Finding::new(Part::Tunnel, reason));
        }
    }
    findings
}

/// Sends a special frame to ourselves as another peer would, and waits for the program to report it.
async fn round(config: &Config, netlink: &Netlink) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let lo = netlink.require_link("lo").await;
    let lo = lo.map_err(|error| error.to_string())?;
    let up = netlink.set_up(lo.index).await;
    up.map_err(|error| error.to_string())?;
    let mut device = Device::open(config, netlink).await.map_err(text)?;
    let [us, them] = [1_u16, 2].map(ShortId::try_from);
    let (Ok(us), Ok(them)) = (us, them) else {
        return Err("short ids 1 and 2 are none".to_owned());
    };
    device.restore(&tables(us, them)).map_err(text)?;
    let vni = Vni {
        origin: them,
        destination: us,
    };
    let payload = heartbeat::payload(vni, UID, SMALL_MTU);
    let here = Ipv4Addr::LOCALHOST;
    device.send(here, here, PORT, &payload).map_err(text)?;
    let event = tokio::time::timeout(PATIENCE, device.next_event()).await;
    let event = event.map_err(|_| "a frame sent to the tunnel did not arrive".to_owned())?;
    let event = event.map_err(text)?;
    if (event.outer_src, event.outer_dst) != (here, here) {
        return Err("the outer addresses of a frame are not told (Linux 5.19 does)".to_owned());
    }
    (event.uid() == Some(UID))
        .then_some(())
        .ok_or_else(|| "a frame arrived with other bytes".to_owned())
}

fn tables(us: ShortId, them: ShortId) -> Tables {
    let way = Way {
        remote: Ipv4Addr::LOCALHOST,
        local: Ipv4Addr::LOCALHOST,
        port: PORT,
    };
    let entry = |name, route| Entry {
        name: PeerName(name),
        route,
    };
    Tables {
        us: Some(us),
        peers: BTreeMap::from([
            (us, entry(1, Route::Us)),
            (them, entry(2, Route::Fastdp(way))),
        ]),
        ..Tables::default()
    }
}

/// Address of the bridge of the trial: locally administered, and seen by nobody.
const BRIDGE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
/// Uid in the frame of the trial.
const UID: u64 = 0x0123_4567_89ab_cdef;
/// Overlay MTU that the frame of the trial states: smaller than any interface's.
const SMALL_MTU: u16 = 576;
/// How long the frame may be on its way through the loopback device.
const PATIENCE: Duration = Duration::from_secs(1);
