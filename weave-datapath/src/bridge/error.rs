//! Why the bridge is not as it should be.

use std::io;

use crate::{netlink, netns};

/// A failed [`ensure`](super::ensure) or [`remove`](super::remove).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be meant; nothing was changed. Correct it.
    #[error("bridge {name}: MTU {mtu} is not between 68 and 65535")]
    Mtu {
        /// The bridge asked for.
        name: String,
        /// The MTU asked for.
        mtu: u32,
    },
    /// The hardware address is zero or a multicast one; nothing was changed.
    #[error("bridge {name}: {mac} cannot be the address of a host")]
    Mac {
        /// The bridge asked for.
        name: String,
        /// The address asked for.
        mac: String,
    },
    /// A name is not an interface name, or two objects have the same; nothing was changed.
    #[error("{name:?} cannot be used as an interface name here")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// An interface of our name is something else; nothing was changed. Remove it or rename it.
    #[error("interface {name} exists and is a {found}, not a {wanted}: remove it first")]
    Foreign {
        /// The interface.
        name: String,
        /// Its kind.
        found: String,
        /// The kind it should be.
        wanted: &'static str,
    },
    /// A step failed. What this call had created is removed again, unless `left` says otherwise.
    #[error("bridge {name}: {source}{}", left.as_ref().map(|error| format!("; and {error}")).unwrap_or_default())]
    Netlink {
        /// The bridge.
        name: String,
        /// What the kernel refused.
        source: netlink::Error,
        /// Why something was left behind.
        left: Option<Box<netlink::Error>>,
    },
    /// A setting under `/proc/sys/net` cannot be written; is it mounted read-only?
    #[error("cannot write {setting} below /proc/sys/net: {source}")]
    Setting {
        /// The setting and the value it was to get.
        setting: String,
        /// What the system said.
        source: io::Error,
    },
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
}
