//! Joining a pod to the bridge, and taking it off.
//!
//! [`attach`] observes host and pod, [`plan()`] says what is missing, each step is applied, and a
//! failure takes back what this call did. [`detach`] removes what it can, reports every error, and
//! is content when there is nothing left to remove.
//!
//! Invariant: the pod's interface appears with one request, directly under its final name, and the
//! host end carries the container id as its alias from then on: an interface is either absent or
//! attributable, never nameless debris. The host end comes up after the pod's settings and
//! addresses are in place, so no frame reaches a pod that believes router advertisements.

mod apply;
mod detach;
mod error;
mod names;
mod plan;
mod request;

#[cfg(test)]
mod tests;

pub use self::{
    apply::{attach, attach_from, preview, preview_from},
    detach::{detach, detach_from},
    error::{Error, StepError},
    names::host_names,
    plan::{Existing, Observed, Side, Step, plan, undo},
    request::{Request, Route, Routes},
};

/// What [`attach`] leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The end on the host, a port of the bridge.
    pub host: Interface,
    /// The end in the pod.
    pub pod: Interface,
    /// Largest packet in bytes on both ends.
    pub mtu: u32,
    /// Whether this call created the interface; `false` when it was there already.
    pub created: bool,
    /// What had to be done, in order; empty when everything was in place.
    pub changes: Vec<Step>,
}

/// One end of the veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interface {
    /// Interface name.
    pub name: String,
    /// Hardware address; [`mac_text`](crate::netlink::mac_text) writes it out.
    pub mac: [u8; 6],
    /// Interface index within its namespace.
    pub index: u32,
}
