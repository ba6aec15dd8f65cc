//! Why a connection is allowed or denied, and how that is said.

use std::fmt;
use std::sync::Arc;

use super::{Decision, Side};
use crate::model::{Action, Direction, ObjectName, Tier};
use crate::{Labels, Requirement};

/// What decided at one end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// This end is not a pod of the pod network; nobody is asked.
    NotAPod,
    /// A pod that talks to itself: its own address it reaches without leaving, and NetworkPolicies
    /// cannot forbid it.
    SamePod,
    /// The other end is the pod's own node.
    OwnNode(Arc<str>),
    /// No policy says anything about this pod in this direction.
    NotIsolated(ObjectName),
    /// A rule of a NetworkPolicy allows it.
    Rule(RuleMatch),
    /// NetworkPolicies isolate the pod, and none of their rules matches.
    Isolated {
        /// The pod.
        pod: ObjectName,
        /// The policies that isolate it.
        policies: Vec<ObjectName>,
        /// The rule that came closest.
        closest: Option<Box<Closest>>,
    },
    /// A rule of a ClusterNetworkPolicy decided.
    Cluster(ClusterMatch),
}

/// A rule that matched, with the parts of it that did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleMatch {
    /// The policy.
    pub policy: ObjectName,
    /// Its direction.
    pub direction: Direction,
    /// The index of the rule.
    pub rule: usize,
    /// The index of the peer; `None` if the rule has none and so allows any.
    pub peer: Option<usize>,
    /// The index of the port; `None` if the rule has none and so allows any.
    pub port: Option<usize>,
}

/// A rule of a cluster policy that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterMatch {
    /// The policy.
    pub policy: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Its direction.
    pub direction: Direction,
    /// The index of the rule.
    pub rule: usize,
    /// The rule's own name; can be empty.
    pub name: Arc<str>,
    /// What it did.
    pub action: Action,
    /// The index of the peer; `None` for a rule that was made strict.
    pub peer: Option<usize>,
    /// The index of the port; `None` if the rule has none.
    pub port: Option<usize>,
}

/// The rule that was nearest to a match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closest {
    /// The policy.
    pub policy: ObjectName,
    /// The index of the rule.
    pub rule: usize,
    /// What kept it from matching.
    pub missing: Condition,
}

/// A condition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// A peer of the rule matches; the port does not.
    Port,
    /// The peer's labels: what is asked, and what the peer has for it.
    Label {
        /// Of the pod or of its namespace.
        of: Place,
        /// What is asked.
        requirement: Requirement,
        /// What there is: the value, or nothing.
        found: Option<String>,
    },
    /// The peer is in another namespace than the policy.
    Namespace(Arc<str>),
    /// The peer's address is in none of the rule's networks.
    Address,
    /// The rule speaks of pods, and the peer is none.
    PeerIsNoPod,
}

/// Whose labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The pod's.
    Pod,
    /// Its namespace's.
    Namespace,
}

/// What a policy in audit mode would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WouldDeny {
    /// NetworkPolicies in audit mode would isolate the pod, and none of their rules matches.
    Isolation(Vec<ObjectName>),
    /// A rule of a ClusterNetworkPolicy in audit mode denies it.
    Cluster(ClusterMatch),
}

impl Condition {
    /// The first requirement of `requirements` that `labels` does not meet.
    pub(super) fn label<'a>(
        of: Place,
        mut requirements: impl Iterator<Item = &'a Requirement>,
        labels: &Labels,
    ) -> Option<Self> {
        let requirement = requirements.find(|requirement| !requirement.matches(labels))?;
        let found = labels.value(requirement.key()).map(str::to_owned);
        Some(Self::Label {
            of,
            requirement: requirement.clone(),
            found,
        })
    }

    /// How near to a match: the more conditions hold before this one, the higher.
    pub(super) fn nearness(&self) -> u8 {
        match self {
            Self::Port => 4,
            Self::Label { of: Place::Pod, .. } => 3,
            Self::Label { .. } => 2,
            Self::Namespace(_) => 2,
            Self::Address => 1,
            Self::PeerIsNoPod => 0,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.allowed {
            return write!(f, "allowed: {}; {}", self.egress, self.ingress);
        }
        let denials: Vec<String> = [&self.egress, &self.ingress]
            .into_iter()
            .filter(|side| !side.allowed)
            .map(ToString::to_string)
            .collect();
        write!(f, "denied: {}", denials.join("; "))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = self.direction;
        match &self.reason {
            Reason::NotAPod => write!(f, "{direction} is not asked, no pod")?,
            Reason::SamePod => write!(f, "{direction} is the pod itself")?,
            Reason::OwnNode(node) => write!(f, "{direction} is with its own node {node}")?,
            Reason::NotIsolated(pod) => write!(f, "{direction} of {pod} is not isolated")?,
            Reason::Rule(rule) => write!(f, "{rule}")?,
            Reason::Cluster(rule) => write!(f, "{rule}")?,
            Reason::Isolated {
                pod,
                policies,
                closest,
            } => {
                write!(f, "{direction} of {pod} is isolated by {}", list(policies))?;
                match closest {
                    Some(closest) => write!(f, "; closest is {closest}")?,
                    None if policies.len() == 1 => f.write_str(", which has no rules")?,
                    None => f.write_str(", which have no rules")?,
                }
            }
        }
        for audit in &self.would_deny {
            write!(f, " (audit: {audit})")?;
        }
        Ok(())
    }
}

impl fmt::Display for RuleMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, direction) = (&self.policy, self.direction);
        write!(f, "{policy} allows by {direction}[{}]", self.rule)?;
        let peers = match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        parts(f, peers, self.peer, "ports", self.port)
    }
}

impl fmt::Display for ClusterMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            Action::Accept => "accepts",
            Action::Deny => "denies",
            Action::Pass => "passes",
        };
        let (policy, tier, direction) = (&self.policy, self.tier, self.direction);
        write!(f, "{policy} ({tier}) {verb} by {direction}[{}]", self.rule)?;
        let peers = match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        parts(f, peers, self.peer, "protocols", self.port)?;
        if self.name.is_empty() {
            return Ok(());
        }
        write!(f, " {:?}", self.name)
    }
}

impl fmt::Display for Closest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, rule) = (&self.policy, self.rule);
        write!(f, "{policy} rule {rule}: {}", self.missing)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("the port does not match"),
            Self::Label {
                of,
                requirement,
                found,
            } => {
                let of = match of {
                    Place::Pod => "pod",
                    Place::Namespace => "namespace",
                };
                let key = requirement.key();
                match found {
                    Some(value) => {
                        write!(f, "asks for {of} label {requirement}, has {key}={value}")
                    }
                    None => write!(f, "asks for {of} label {requirement}, has no {key}"),
                }
            }
            Self::Namespace(name) => write!(f, "asks for a pod of namespace {name}"),
            Self::Address => f.write_str("the address is in none of its networks"),
            Self::PeerIsNoPod => f.write_str("asks for a pod, the other end is none"),
        }
    }
}

impl fmt::Display for WouldDeny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolation(policies) => write!(f, "{} would deny", list(policies)),
            Self::Cluster(rule) => write!(f, "{rule}"),
        }
    }
}

fn parts(
    f: &mut fmt::Formatter<'_>,
    peers: &str,
    peer: Option<usize>,
    ports: &str,
    port: Option<usize>,
) -> fmt::Result {
    if let Some(index) = peer {
        write!(f, ".{peers}[{index}]")?;
    }
    if let Some(index) = port {
        write!(f, ".{ports}[{index}]")?;
    }
    Ok(())
}

fn list(names: &[ObjectName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}
