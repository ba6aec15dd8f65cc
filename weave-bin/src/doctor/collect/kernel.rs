//! Settings and abilities of the kernel.

use std::fs;
use std::path::Path;

#[cfg(feature = "bpf")]
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::doctor::evidence::{Kernel, Lack};

/// The settings that matter; of the network namespace of the calling thread.
pub(super) fn settings() -> Kernel {
    Kernel {
        forward: number("ipv4/ip_forward"),
        forward6: number("ipv6/conf/all/forwarding"),
        no_ipv6: number("ipv6/conf/all/disable_ipv6"),
        bridge_calls: number("bridge/bridge-nf-call-iptables"),
        ..Kernel::default()
    }
}

fn number(name: &str) -> Option<u32> {
    let text = fs::read_to_string(Path::new("/proc/sys/net").join(name)).ok()?;
    text.trim().parse().ok()
}

/// What the fast overlay lacks, found by trying it in a namespace of its own.
#[cfg(feature = "bpf")]
pub(super) async fn lacks(unseen: &mut Vec<String>) -> Vec<Lack> {
    if !nix::unistd::geteuid().is_root() {
        unseen.push("what the kernel can do for the fast overlay: needs root".to_owned());
        return Vec::new();
    }
    let mounted = statfs(PINS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if !mounted {
        return vec![Lack {
            part: "the BPF file system".to_owned(),
            reason: format!("nothing is mounted at {PINS}"),
        }];
    }
    let directory = Path::new(PINS).join(format!("weave-doctor-{}", std::process::id()));
    let trial = tokio::task::spawn_blocking(move || {
        let found = weave_datapath::bpf::self_test(&directory);
        // What is left is an empty directory; one that is not stays for whoever looks.
        let _gone = fs::remove_dir(&directory);
        found
    });
    let found = trial.await.unwrap_or_default().into_iter();
    found
        .map(|one| Lack {
            part: one.part.to_string(),
            reason: one.reason,
        })
        .collect()
}

/// Without the fast overlay nothing is missed of it.
#[cfg(not(feature = "bpf"))]
pub(super) async fn lacks(_unseen: &mut Vec<String>) -> Vec<Lack> {
    Vec::new()
}

/// Where distributions mount it.
#[cfg(feature = "bpf")]
const PINS: &str = "/sys/fs/bpf";
