//! Why a daemon does not start, or ends by itself.

use std::io;

use crate::actor::keeper::SaveError;
use crate::store;

use super::host::HostError;
use super::passwords::PasswordError;

/// Why a daemon does not start, or ends by itself. Nothing that worked before is undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state file cannot be used. It is left as it is.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The state cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The bridge cannot be made, or the range is in use.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The only range is IPv6, which this host has not. Nothing was changed.
    #[error(
        "--ipalloc-range {range} cannot be used: {reason}; give an IPv4 range, or switch IPv6 on"
    )]
    NoIpv6 {
        /// The range.
        range: String,
        /// Why not, in words.
        reason: String,
    },
    /// The overlay in user space cannot be started.
    #[error("sleeve: {0}")]
    Sleeve(String),
    /// The kernel cannot run the fast data path.
    #[error("fast data path: {0}")]
    Kernel(String),
    /// The fast data path cannot be set up.
    #[error("fast data path: {0}; start with --no-fastdp to run without it")]
    Datapath(String),
    /// The allocator refuses its configuration or its saved state.
    #[error(transparent)]
    Ipam(#[from] weave_ipam::Error),
    /// The passwords cannot be used.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    /// The mesh cannot start.
    #[error("mesh: {0}")]
    Mesh(String),
    /// An HTTP address cannot be listened on.
    #[error(transparent)]
    Http(io::Error),
    /// The address of the name server cannot be listened on.
    #[error(transparent)]
    Dns(io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    /// The system gives no randomness or no thread.
    #[error("cannot start: {0}")]
    System(io::Error),
    /// A task has ended while the daemon runs.
    #[error("the {0} task has ended")]
    Ended(&'static str),
}
