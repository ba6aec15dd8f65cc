//! Why a lab command could not do its work.

use std::path::PathBuf;

/// A failure of the lab itself, as opposed to one it found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The user must choose something else.
    #[error(transparent)]
    Plan(#[from] super::plan::PlanError),
    /// Not root.
    #[error("weave lab makes network namespaces and needs root: run it with sudo")]
    NeedsRoot,
    /// Another command holds the lab.
    #[error("another weave lab command works on {0:?}; wait for it or choose another --name")]
    Busy(String),
    /// A lab of that name was left running on purpose.
    #[error("lab {name:?} is up; remove it with `weave lab down{suffix}` or choose another --name")]
    IsUp {
        /// The lab's name.
        name: String,
        /// ` --name NAME` where it is not the usual one.
        suffix: String,
    },
    /// No lab of that name is running.
    #[error("lab {0:?} is not up; make it with `weave lab up`")]
    NotUp(String),
    /// A host or pod the lab does not have.
    #[error("the lab has no {what}; it has {there}")]
    NoSuch {
        /// What was asked for.
        what: String,
        /// What there is.
        there: String,
    },
    /// A command that makes no sense in the state the lab is in.
    #[error("{0}")]
    State(String),
    /// A file of the lab.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record that cannot be read.
    #[error("{} is damaged ({reason}); remove the lab with `weave lab down`", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in the kernel could not be made or changed.
    #[error("{what}: {reason}")]
    Kernel {
        /// What was being done.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// A daemon that does not run, or does not do what it must.
    #[error("daemon of host {host}: {reason}")]
    Daemon {
        /// The host's number.
        host: usize,
        /// What is known.
        reason: String,
    },
    /// The CNI plugin failed.
    #[error("CNI {command} of pod {pod}: {reason}")]
    Cni {
        /// `ADD` or `DEL`.
        command: &'static str,
        /// The pod.
        pod: String,
        /// The plugin's words.
        reason: String,
    },
    /// There is no API server, or it refuses.
    #[cfg(feature = "kube")]
    #[error(transparent)]
    Server(#[from] super::cluster::server::ServerError),
    /// Several things went wrong while removing the lab.
    #[error("{}", .0.join("; "))]
    Leftovers(Vec<String>),
}

impl Error {
    /// A kernel failure; `what` says what was being done.
    pub(crate) fn kernel(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Kernel {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// A failure around a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
