//! What the kernel refused, and about which object.

use std::io;

use crate::netns;

/// A failed netlink operation. The kernel changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused one request.
    #[error("cannot {operation} {object}: {source}")]
    Refused {
        /// The verb, as in `add address to`.
        operation: &'static str,
        /// The object, as in `interface 12`.
        object: String,
        /// The error number the kernel sent.
        source: io::Error,
    },
    /// A listing changed under us several times in a row; try again.
    #[error("cannot {operation} {object}: the list keeps changing")]
    Unstable {
        /// The verb.
        operation: &'static str,
        /// The object.
        object: String,
    },
    /// The connection task is gone: its runtime was shut down.
    #[error("cannot {operation} {object}: the netlink connection is closed")]
    Closed {
        /// The verb.
        operation: &'static str,
        /// The object.
        object: String,
    },
    /// No socket could be opened, or no tokio runtime is running here.
    #[error("cannot open a netlink socket: {source}")]
    Open {
        /// What the system said.
        source: io::Error,
    },
    /// The namespace to open the socket in cannot be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
}

impl Error {
    /// The kernel's error number, when the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The object is there already (`EEXIST`).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(nix::libc::EEXIST)
    }

    /// The object is not there (`ENODEV`, `ENOENT`, `ESRCH`, `EADDRNOTAVAIL`).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        use nix::libc::{EADDRNOTAVAIL, ENODEV, ENOENT, ESRCH};
        self.errno()
            .is_some_and(|errno| [ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL].contains(&errno))
    }
}
