//! Why a namespace could not be opened, entered, created or removed.

use std::{io, path::PathBuf};

/// A failed namespace operation. Nothing is left behind by a failed one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path cannot be opened; the namespace is gone or was never there.
    #[error("cannot open network namespace {}: {source}", path.display())]
    Open {
        /// The path asked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The path is a file, but not a namespace. Remove it, or give the right path.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// The path asked for.
        path: PathBuf,
    },
    /// The kernel refused to move a thread there; usually `CAP_SYS_ADMIN` is missing.
    #[error("cannot enter network namespace {}: {source}", path.display())]
    Enter {
        /// The path it was opened by.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread could be started, or its closure panicked.
    #[error("cannot run a thread for a network namespace: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The name has a slash, is empty, `.` or `..`, or is too long for a file name.
    #[error("network namespace name {name:?} is not a plain file name")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// A namespace of this name exists. Delete it first, or open it.
    #[error("network namespace {name} exists")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// A step of creating or deleting failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Mount {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the namespace does not exist (any more), as opposed to being out of reach.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::NotANamespace { .. } => true,
            _ => false,
        }
    }
}
