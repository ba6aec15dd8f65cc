//! `ClusterNetworkPolicy` (`policy.networking.k8s.io/v1alpha2`), normalised.
//!
//! Invariant: what the policy asks for and this crate cannot do has already been made strict: an
//! Accept rule has lost such peers, a Deny or Pass rule with such a peer denies everything. Each
//! case is named in [`ClusterNetworkPolicy::notices`].

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Direction, Mode, PodPeer, Protocol};
use crate::Selector;

/// When a cluster policy is asked, relative to NetworkPolicies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before them; cannot be overridden.
    Admin,
    /// After them, and only for pods that none of them isolates in this direction.
    Baseline,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
        })
    }
}

/// What a rule does with traffic it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Allowed in this direction; nothing else is asked.
    Accept,
    /// Dropped; nothing else is asked.
    Deny,
    /// The rest of the tier is skipped.
    Pass,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "Accept",
            Self::Deny => "Deny",
            Self::Pass => "Pass",
        })
    }
}

/// A cluster-wide policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterNetworkPolicy {
    /// The name.
    pub name: Arc<str>,
    /// When it is asked.
    pub tier: Tier,
    /// 0 to 1000; lower is asked first.
    pub priority: u16,
    /// The pods it is about.
    pub subject: PodPeer,
    /// Rules for traffic to the pods, in order; the first that matches acts.
    pub ingress: Vec<ClusterRule>,
    /// Rules for traffic from the pods, in order.
    pub egress: Vec<ClusterRule>,
    /// Whether it acts or only reports.
    pub mode: Mode,
    /// What was made strict because it is not supported.
    pub notices: Vec<Notice>,
}

impl ClusterNetworkPolicy {
    /// A policy about `subject` without rules.
    pub fn new(name: impl Into<Arc<str>>, tier: Tier, priority: u16, subject: PodPeer) -> Self {
        Self {
            name: name.into(),
            tier,
            priority,
            subject,
            ingress: Vec::new(),
            egress: Vec::new(),
            mode: Mode::Enforce,
            notices: Vec::new(),
        }
    }

    /// Sets the rules of one direction.
    #[must_use]
    pub fn with_rules(mut self, direction: Direction, rules: Vec<ClusterRule>) -> Self {
        match direction {
            Direction::Ingress => self.ingress = rules,
            Direction::Egress => self.egress = rules,
        }
        self
    }

    /// Sets whether the policy acts or only reports.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The rules of `direction`.
    pub fn rules(&self, direction: Direction) -> &[ClusterRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The order in which policies are asked: by tier, priority, and name. The text leaves policies
    /// of one priority unordered; the name makes every node answer alike.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        (self.tier, self.priority, &self.name).cmp(&(other.tier, other.priority, &other.name))
    }
}

/// One rule of a cluster policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterRule {
    /// The rule's own name; can be empty.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
    /// The other ends.
    pub peers: ClusterPeers,
    /// The destination ports; empty means any, also protocols without ports.
    pub ports: Vec<ClusterPort>,
}

/// The other ends a cluster rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPeers {
    /// Everybody: a rule that was made strict.
    Everybody,
    /// Those that one of the peers matches.
    AnyOf(Vec<ClusterPeer>),
}

/// One kind of other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPeer {
    /// Pods by label of namespace and pod.
    Pods(PodPeer),
    /// Addresses by value, whoever has them. Egress only.
    Networks(Vec<IpNet>),
    /// Addresses of nodes by the nodes' labels. Egress only.
    Nodes(Selector),
}

/// Destination ports of a cluster rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPort {
    /// Every port of a protocol.
    All(Protocol),
    /// `first..=last` of a protocol.
    Range(Protocol, u16, u16),
    /// What the destination pod calls so, whatever the protocol.
    Named(Arc<str>),
}

/// Something in a policy that is not supported and was made strict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Notice {
    /// Where in the object, for example `spec.egress[0].to[1].domainNames`.
    pub path: String,
    /// What was done about it.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}
