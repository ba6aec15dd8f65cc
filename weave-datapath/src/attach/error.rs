//! Why a pod could not be attached or detached.

use std::io;

use crate::{netlink, netns};

/// A failed [`attach`](super::attach) or [`detach`](super::detach).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container id is empty, too long or has other characters. Nothing was changed.
    #[error(
        "container id {id:?} is not letters, digits, '_', '.' and '-' starting with a letter or digit"
    )]
    ContainerId {
        /// The id given.
        id: String,
    },
    /// A name is not one the kernel takes. Nothing was changed.
    #[error("{name:?} cannot be an interface name")]
    Name {
        /// The name given.
        name: String,
    },
    /// The MTU is too small for an IPv6 address. Nothing was changed.
    #[error("MTU {mtu} is less than the 1280 bytes that IPv6 needs")]
    MtuForIpv6 {
        /// The MTU given, or the bridge's.
        mtu: u32,
    },
    /// The MTU is out of range. Nothing was changed.
    #[error("MTU {mtu} is not between 68 and 65535")]
    Mtu {
        /// The MTU given.
        mtu: u32,
    },
    /// The pod's namespace is the host's. Nothing was changed. Text of Weave Net.
    #[error(
        "can not specify host network namespace as network namespace to which container should be added"
    )]
    HostNamespace,
    /// There is no such bridge; the daemon makes it. Nothing was changed. Text of Weave Net.
    #[error("bridge {name:?} not present; did you launch weave?")]
    NoBridge {
        /// The bridge asked for.
        name: String,
    },
    /// The interface to attach to is not a bridge. Nothing was changed.
    #[error("interface {name} is a {found}, not a bridge")]
    NotABridge {
        /// The interface asked for.
        name: String,
        /// Its kind.
        found: String,
    },
    /// The pod has an interface of this name that we did not make. Nothing was changed.
    #[error("interface {ifname} in {netns} exists and {why}")]
    Occupied {
        /// The interface in the pod.
        ifname: String,
        /// The namespace, as it was opened.
        netns: String,
        /// Whose it is.
        why: String,
    },
    /// Every name for the host end is taken. Nothing was changed.
    #[error("no free interface name for container {container_id}: all of vethwepl… are taken")]
    NoName {
        /// The container.
        container_id: String,
    },
    /// Looking at host or pod failed. Nothing was changed.
    #[error("container {container_id}: {source}")]
    Observe {
        /// The container.
        container_id: String,
        /// What failed.
        source: StepError,
    },
    /// A step failed; what this call had done is taken back, but for what `left` reports.
    #[error("container {container_id}: cannot {step}: {source}{}", list(left))]
    Step {
        /// The container.
        container_id: String,
        /// The step.
        step: String,
        /// Why it failed.
        source: Box<StepError>,
        /// What could not be taken back.
        left: Vec<StepError>,
    },
    /// Removing something failed; everything else was removed. Try again.
    #[error(
        "container {container_id}: cannot remove its interface{}",
        list(errors)
    )]
    Detach {
        /// The container.
        container_id: String,
        /// Every failure.
        errors: Vec<StepError>,
    },
}

/// What one kernel operation said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// A netlink request.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// Entering a namespace.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// Writing below `/proc/sys/net`.
    #[error("cannot write {setting} below /proc/sys/net: {source}")]
    Setting {
        /// The setting and the value it was to get.
        setting: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StepError {
    /// Somebody else took a name between our look and our request.
    pub(super) fn is_exists(&self) -> bool {
        matches!(self, Self::Netlink(error) if error.is_exists())
    }
}

fn list(errors: &[StepError]) -> String {
    errors.iter().map(|error| format!("; {error}")).collect()
}
