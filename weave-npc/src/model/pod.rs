//! Namespaces, pods and nodes: who can send and receive.
//!
//! Invariant: only a pod for which [`Pod::is_endpoint`] holds is ever selected, is ever a peer, or
//! owns an address.

use std::net::IpAddr;
use std::sync::Arc;

use super::{ObjectName, Protocol, Uid};
use crate::Labels;

/// A namespace with its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Namespace {
    /// The name.
    pub name: Arc<str>,
    /// The labels; `kubernetes.io/metadata.name` is always among them.
    pub labels: Labels,
}

impl Namespace {
    /// The label that holds a namespace's own name, set by the API server on each namespace.
    pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

    /// The namespace `name`, with the label that every namespace carries added to `labels`.
    pub fn new(name: impl Into<Arc<str>>, mut labels: Labels) -> Self {
        let name = name.into();
        labels.insert(Self::NAME_LABEL, &*name);
        Self { name, labels }
    }
}

/// A node with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The name.
    pub name: Arc<str>,
    /// The labels.
    pub labels: Labels,
    /// The addresses of `status.addresses` that are IP addresses, without repetition.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    /// The node `name` without addresses.
    pub fn new(name: impl Into<Arc<str>>, labels: Labels) -> Self {
        Self {
            name: name.into(),
            labels,
            addresses: Vec::new(),
        }
    }

    /// Replaces the addresses.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = unique(addresses);
        self
    }
}

/// Where a pod is in its life (`status.phase`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Accepted, not all containers run.
    Pending,
    /// Bound to a node, containers run.
    #[default]
    Running,
    /// All containers ended well. The address is given up.
    Succeeded,
    /// All containers ended, one of them badly. The address is given up.
    Failed,
    /// The node cannot be asked. The pod keeps its address.
    Unknown,
}

/// A container port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// The name.
    pub name: Arc<str>,
    /// The protocol. One name can stand for several protocols of a pod.
    pub protocol: Protocol,
    /// The number.
    pub number: u16,
}

/// A pod, as far as policy is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Identity over its life.
    pub uid: Uid,
    /// The labels.
    pub labels: Labels,
    /// The node it is bound to; empty before it is scheduled.
    pub node: Arc<str>,
    /// Its addresses of all families (`status.podIPs`), without repetition.
    pub addresses: Vec<IpAddr>,
    /// True if it uses the node's network: its traffic is the node's.
    pub host_network: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// True once deletion was asked for. It stays an endpoint until it is gone.
    pub is_terminating: bool,
    /// Named ports of all containers, init containers included.
    pub ports: Vec<NamedPort>,
}

impl Pod {
    /// A running pod with no labels, addresses or node.
    pub fn new(name: ObjectName, uid: Uid) -> Self {
        Self {
            name,
            uid,
            labels: Labels::new(),
            node: Arc::from(""),
            addresses: Vec::new(),
            host_network: false,
            phase: Phase::Running,
            is_terminating: false,
            ports: Vec::new(),
        }
    }

    /// Replaces the labels.
    #[must_use]
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// Binds the pod to a node.
    #[must_use]
    pub fn on_node(mut self, node: impl Into<Arc<str>>) -> Self {
        self.node = node.into();
        self
    }

    /// Replaces the addresses.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = unique(addresses);
        self
    }

    /// True if the pod takes part in the pod network: it has an address of its own and has not
    /// ended (network policy document, endpoints section).
    pub fn is_endpoint(&self) -> bool {
        !self.host_network
            && !self.addresses.is_empty()
            && !matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// `addresses` without repetition; IPv4 addresses written as IPv6 become IPv4.
fn unique(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = Vec::new();
    for address in addresses {
        let address = address.to_canonical();
        if !kept.contains(&address) {
            kept.push(address);
        }
    }
    kept
}
