//! The two tiers of ClusterNetworkPolicies: the first rule that matches decides.

use super::matching::miss_of_pod;
use super::{ClusterMatch, Ends, WouldDeny};
use crate::model::{
    Action, ClusterNetworkPolicy, ClusterPeers, ClusterRule, Direction, Mode, Pod, Tier,
};

impl Ends<'_> {
    /// The rule of `tier` that decides about `pod`, if one matches. What policies in audit mode
    /// would deny on the way is added to `would_deny`.
    pub(super) fn ask_tier(
        &self,
        tier: Tier,
        direction: Direction,
        pod: &Pod,
        would_deny: &mut Vec<WouldDeny>,
    ) -> Option<ClusterMatch> {
        let mut policies: Vec<&ClusterNetworkPolicy> = self
            .world
            .cluster_policies()
            .filter(|policy| policy.tier == tier)
            .filter(|policy| miss_of_pod(self.world, &policy.subject, pod).is_none())
            .collect();
        policies.sort_by(|a, b| a.cmp_precedence(b));
        for policy in policies {
            let Some(found) = self.first_match(direction, policy) else {
                continue;
            };
            match policy.mode {
                Mode::Enforce => return Some(found),
                Mode::Audit if found.action == Action::Deny => {
                    would_deny.push(WouldDeny::Cluster(found));
                }
                Mode::Audit => {}
            }
        }
        None
    }

    fn first_match(
        &self,
        direction: Direction,
        policy: &ClusterNetworkPolicy,
    ) -> Option<ClusterMatch> {
        for (index, rule) in policy.rules(direction).iter().enumerate() {
            if let Some((peer, port)) = self.try_cluster_rule(direction, rule) {
                return Some(ClusterMatch {
                    policy: policy.name.clone(),
                    tier: policy.tier,
                    direction,
                    rule: index,
                    name: rule.name.clone(),
                    action: rule.action,
                    peer,
                    port,
                });
            }
        }
        None
    }

    /// The peer and the port that match.
    fn try_cluster_rule(
        &self,
        direction: Direction,
        rule: &ClusterRule,
    ) -> Option<(Option<usize>, Option<usize>)> {
        let peer = match &rule.peers {
            ClusterPeers::Everybody => None,
            ClusterPeers::AnyOf(peers) => Some(
                peers
                    .iter()
                    .position(|peer| self.is_cluster_peer(direction, peer))?,
            ),
        };
        if rule.ports.is_empty() {
            return Some((peer, None));
        }
        let port = rule
            .ports
            .iter()
            .position(|port| self.is_cluster_port(port))?;
        Some((peer, Some(port)))
    }
}
