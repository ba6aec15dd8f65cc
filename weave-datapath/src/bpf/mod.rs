//! The fast datapath in the kernel: a VXLAN device and two tc-BPF programs.
//!
//! [`Device`] puts the programs (C sources in `bpf/`, compiled object beside them) in place, writes
//! the tables that [`fastdp::Engine`](crate::fastdp::Engine) wants, and carries heartbeats. Frames
//! are forwarded by the kernel alone.
//!
//! Invariant: programs, links and maps are pinned, so that dropping a [`Device`], or killing its
//! process, changes nothing for the frames. The next [`Device::open`] adopts what is there, if it
//! belongs to the interfaces that are there.
//!
//! Needs Linux 5.19 (source address in tunnel metadata) and `CAP_NET_ADMIN`, `CAP_BPF`,
//! `CAP_SYS_ADMIN` (mounting the BPF file system).

mod abi;
mod cells;
mod counters;
mod device;
mod error;
mod heartbeats;
mod inspect;
mod maps;
mod pins;
mod probe;
mod programs;
mod side;
mod sys;
mod tunnel;

pub use counters::{Counter, Counters};
pub use device::{Config, Device, Opened, remove};
pub use error::Error;
pub use inspect::{Damage, inspect};
pub use maps::{LearnedMac, MAC_AGE};
pub use probe::{Finding, Part, self_test};
pub use programs::Hook;
pub use tunnel::name as tunnel_name;

/// Makes `dir` usable for [`Config`], mounting a BPF file system when it is on none; nothing else
/// is touched. For callers that want to know before they change the host.
///
/// # Errors
/// [`Error::Directory`]: no BPF file system can be there.
pub fn prepare_dir(dir: &std::path::Path) -> Result<(), Error> {
    pins::Pins::open(dir).map(drop)
}

#[cfg(not(target_endian = "little"))]
compile_error!("the feature `bpf` needs a little-endian machine: bpf/weave.bpf.o is built for one");
