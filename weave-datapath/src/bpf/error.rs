//! Why the fast path cannot be used.

use std::{io, net::Ipv4Addr, path::PathBuf};

use crate::netlink;

/// A failed operation of the kernel edge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A link operation failed.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The interface frames come from is not there. Create the bridge first.
    #[error("interface {name} does not exist; create the bridge before the fast path")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// The interface towards the bridge has no other end here. Create the bridge first.
    #[error("interface {name} is no end of a veth pair; create the bridge before the fast path")]
    NoPair {
        /// Its name.
        name: String,
    },
    /// The other end is no port of a bridge. Create the bridge first.
    #[error("interface {name} is no port of a bridge; create the bridge before the fast path")]
    NoBridge {
        /// Its name.
        name: String,
    },
    /// An interface of the tunnel's name is no VXLAN device, or one of somebody else. Remove or rename
    /// it.
    #[error("interface {name} exists but is no VXLAN device of ours; remove it")]
    Foreign {
        /// Its name.
        name: String,
    },
    /// The UDP port of the tunnel cannot be bound: another VXLAN device or socket has it.
    #[error("VXLAN device {name} cannot be brought up on UDP port {port}: {source}")]
    Port {
        /// Name of the device.
        name: String,
        /// The port.
        port: u16,
        /// What the kernel said.
        source: netlink::Error,
    },
    /// Packets would wait in a queue on the tunnel device, and leave with each other's headers.
    #[error("VXLAN device {name} has queueing discipline {qdisc}; it must have none")]
    Queue {
        /// Name of the device.
        name: String,
        /// What is installed.
        qdisc: String,
    },
    /// The directory for pins cannot be made or is on no BPF file system.
    #[error("BPF directory {dir}: {source}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a BPF operation: too old, not permitted, or out of memory.
    #[error("cannot {operation}: {source}")]
    Kernel {
        /// The operation.
        operation: String,
        /// What the kernel or the loader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object file linked into this program does not have an expected part.
    #[error("the kernel object has no {what}")]
    Object {
        /// The missing part.
        what: &'static str,
    },
    /// A heartbeat cannot leave. With `EMSGSIZE` the path carries less than MTU + 50 bytes.
    #[error("heartbeat from {local} to {remote} cannot be sent: {source}")]
    Send {
        /// Source address.
        local: Ipv4Addr,
        /// Destination address.
        remote: Ipv4Addr,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// A refused BPF operation.
    pub(crate) fn kernel(
        operation: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Kernel {
            operation: operation.into(),
            source: Box::new(source),
        }
    }

    /// Whether a heartbeat was too large for the path: the overlay MTU is too high for it.
    #[must_use]
    pub fn is_too_big(&self) -> bool {
        let Self::Send { source, .. } = self else {
            return false;
        };
        source.raw_os_error() == Some(nix::libc::EMSGSIZE)
    }
}
