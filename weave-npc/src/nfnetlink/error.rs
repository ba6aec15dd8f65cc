//! Why talking to the kernel failed.

use std::io;

/// Talking to netfilter failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// A system call on the socket failed. `EPERM` and `EAFNOSUPPORT` mean that the process lacks
    /// `CAP_NET_ADMIN` or the kernel lacks `nf_tables`; nothing was changed.
    #[error("netfilter socket: {step}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a change; nothing of the batch took effect. Read back and try again if
    /// [`NetlinkError::is_stale`], else the ruleset does not fit this kernel.
    #[error("{object}: {source}{}", hint(.reason))]
    Refused {
        /// The object that was refused, for example `table inet weave-npc chain forward rule 3`.
        object: String,
        /// The error.
        source: io::Error,
        /// What the kernel says beyond the error, if anything.
        reason: Option<String>,
    },
    /// Somebody changed a ruleset since ours was read; nothing of the batch took effect. Read back
    /// and try again.
    #[error("the kernel's rulesets changed meanwhile: read back and try again")]
    Stale,
    /// The kernel had more to say than the socket could hold: messages are lost. Read back.
    #[error("the kernel's messages overran the socket: read back")]
    Overrun,
    /// The kernel did not answer in time.
    #[error("the kernel did not answer within {0} seconds")]
    Silent(u64),
    /// The kernel sent something that is not understood; a message of a newer kernel, perhaps.
    #[error("message of the kernel about {0} is not understood")]
    Malformed(&'static str),
    /// Something cannot be said to the kernel; nothing was changed.
    #[error("{0} cannot be encoded")]
    Encode(String),
}

impl NetlinkError {
    /// True if the kernel's state is not what the change was made for, so that reading back and
    /// making the change anew may help: another writer, or an object that came or went.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Stale | Self::Overrun => true,
            Self::Refused { source, .. } => {
                matches!(source.raw_os_error(), Some(EBUSY | EEXIST | ENOENT))
            }
            _ => false,
        }
    }

    /// True if what was asked for is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(ENOENT))
    }

    pub(crate) fn io(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
}

fn hint(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map(|text| format!(" ({text})"))
        .unwrap_or_default()
}

/// Numbers of `asm-generic/errno-base.h`.
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
