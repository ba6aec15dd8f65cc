//! What a chain that shows packets denies: the way back from a log prefix to policies.

use std::fmt;
use std::sync::Arc;

use crate::model::{Direction, ObjectName, Tier};

/// Why packets with some log prefix are denied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// In which direction, as the pod of this node sees it.
    pub direction: Direction,
    /// By whom.
    pub by: DeniedBy,
    /// True if the packets pass, because the policies are in audit mode.
    pub is_audit: bool,
}

/// Who denies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeniedBy {
    /// NetworkPolicies that isolate the pod, none of which allows the packet.
    Isolation(Vec<ObjectName>),
    /// A rule of a ClusterNetworkPolicy.
    Cluster {
        /// The policy.
        policy: Arc<str>,
        /// Its tier.
        tier: Tier,
        /// The index of the rule.
        rule: usize,
    },
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_audit {
            "would be denied"
        } else {
            "denied"
        };
        write!(f, "{} {verb} by ", self.direction)?;
        match &self.by {
            DeniedBy::Isolation(policies) => {
                let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(" "))
            }
            DeniedBy::Cluster { policy, tier, rule } => write!(f, "{policy} ({tier}) rule {rule}"),
        }
    }
}
