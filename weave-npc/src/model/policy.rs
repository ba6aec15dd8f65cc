//! Kubernetes `NetworkPolicy` (`networking.k8s.io/v1`), normalised.
//!
//! Invariant: defaults are applied. A direction that is `None` is not isolated by the policy; a
//! protocol is always named; networks have no host bits.

use std::sync::Arc;

use ipnet::IpNet;

use super::{ObjectName, Protocol};
use crate::Selector;

/// Annotation on a policy that sets its [`Mode`]: `audit` or `enforce`.
pub const MODE_ANNOTATION: &str = "policy.weave.works/mode";

/// The two directions of traffic as a pod sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Towards the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// `ingress` or `egress`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a policy acts or only reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// What it denies is dropped.
    #[default]
    Enforce,
    /// What it would deny is logged and let through; it changes no verdict.
    Audit,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// The pods of the namespace it selects.
    pub pods: Selector,
    /// Rules for traffic to the pods; `None` if it does not isolate them for ingress.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for traffic from the pods; `None` if it does not isolate them for egress.
    pub egress: Option<Vec<Rule>>,
    /// Whether it acts or only reports.
    pub mode: Mode,
}

impl NetworkPolicy {
    /// A policy that selects `pods` and isolates them for neither direction.
    pub fn new(name: ObjectName, pods: Selector) -> Self {
        Self {
            name,
            pods,
            ingress: None,
            egress: None,
            mode: Mode::Enforce,
        }
    }

    /// Isolates for ingress, and allows what one of `rules` matches.
    #[must_use]
    pub fn with_ingress(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.ingress = Some(rules.into_iter().collect());
        self
    }

    /// Isolates for egress, and allows what one of `rules` matches.
    #[must_use]
    pub fn with_egress(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.egress = Some(rules.into_iter().collect());
        self
    }

    /// Sets whether the policy acts or only reports.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The rules of `direction`, or `None` if the policy does not isolate for it.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// One rule: allows traffic that matches a peer and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The other ends; empty means any, also outside the cluster.
    pub peers: Vec<Peer>,
    /// The destination ports; empty means any, also protocols without ports.
    pub ports: Vec<PortMatch>,
}

/// The other end of allowed traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods by label.
    Pods(PodPeer),
    /// Addresses by value, whoever has them.
    Block(Block),
}

/// Pods of some namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodPeer {
    /// The namespaces.
    pub namespaces: Scope,
    /// The pods in them.
    pub pods: Selector,
}

/// Some namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The one with this name: the policy's own.
    Only(Arc<str>),
    /// Those whose labels match.
    Matching(Selector),
}

/// A network with holes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The network.
    pub cidr: IpNet,
    /// Parts of it that do not match this peer. Another peer can still match them.
    pub except: Vec<IpNet>,
}

/// Destination ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMatch {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub ports: Ports,
}

/// Some destination ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// Every port.
    All,
    /// `first..=last`; one port if they are equal.
    Range(u16, u16),
    /// What the destination pod calls so. Nothing, if the destination is not a pod.
    Named(Arc<str>),
}
