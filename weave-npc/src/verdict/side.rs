//! One end of a flow: first the Admin tier, then NetworkPolicies, then the Baseline tier.

use super::{Closest, Condition, Ends, Reason, RuleMatch, Side, WouldDeny};
use crate::model::{Action, Direction, Host, Mode, NetworkPolicy, Pod, Rule, Tier};

impl Ends<'_> {
    /// What the policies of the end that `direction` speaks for say.
    pub(super) fn ask(&self, direction: Direction) -> Side {
        let mut side = Side {
            direction,
            allowed: true,
            reason: Reason::NotAPod,
            would_deny: Vec::new(),
        };
        let Host::Pod(pod) = self.subject(direction) else {
            return side;
        };
        if self.is_self() && !self.flow.is_through_service {
            side.reason = Reason::SamePod;
            return side;
        }
        if let Some(node) = self.exempt_node(direction, pod) {
            side.reason = Reason::OwnNode(node);
            return side;
        }
        (side.allowed, side.reason) = self.verdict(direction, pod, &mut side.would_deny);
        side
    }

    /// The pod's own node, if it is the other end and therefore nobody is asked.
    fn exempt_node(&self, direction: Direction, pod: &Pod) -> Option<std::sync::Arc<str>> {
        let Host::Node(node) = self.peer(direction) else {
            return None;
        };
        let is_asked = direction == Direction::Egress && self.options.filter_own_node;
        (*node == pod.node && !is_asked).then(|| node.clone())
    }

    fn verdict(
        &self,
        direction: Direction,
        pod: &Pod,
        would_deny: &mut Vec<WouldDeny>,
    ) -> (bool, Reason) {
        if let Some(found) = self.ask_tier(Tier::Admin, direction, pod, would_deny)
            && found.action != Action::Pass
        {
            return (found.action == Action::Accept, Reason::Cluster(found));
        }
        if let Some(decided) = self.ask_policies(direction, pod, would_deny) {
            return decided;
        }
        if let Some(found) = self.ask_tier(Tier::Baseline, direction, pod, would_deny)
            && found.action != Action::Pass
        {
            return (found.action == Action::Accept, Reason::Cluster(found));
        }
        (true, Reason::NotIsolated(pod.name.clone()))
    }

    /// What the NetworkPolicies decide; `None` if none of those in force isolates the pod.
    fn ask_policies(
        &self,
        direction: Direction,
        pod: &Pod,
        would_deny: &mut Vec<WouldDeny>,
    ) -> Option<(bool, Reason)> {
        let selecting = |mode: Mode, direction: Direction| -> Vec<&NetworkPolicy> {
            self.world
                .policies_in(pod.name.namespace())
                .filter(|policy| policy.mode == mode && policy.pods.matches(&pod.labels))
                .filter(|policy| policy.rules(direction).is_some())
                .collect()
        };
        let enforced = selecting(Mode::Enforce, direction);
        if enforced.is_empty() {
            let audited = selecting(Mode::Audit, direction);
            let is_allowed = self.is_self() || self.find_rule(direction, &audited).is_ok();
            if !audited.is_empty() && !is_allowed {
                would_deny.push(WouldDeny::Isolation(names(&audited)));
            }
            let both = self.options.isolation_covers_both
                && Direction::BOTH
                    .into_iter()
                    .any(|direction| !selecting(Mode::Enforce, direction).is_empty());
            return both.then(|| (true, Reason::NotIsolated(pod.name.clone())));
        }
        if self.is_self() {
            return Some((true, Reason::SamePod));
        }
        Some(match self.find_rule(direction, &enforced) {
            Ok(found) => (true, Reason::Rule(found)),
            Err(closest) => {
                let reason = Reason::Isolated {
                    pod: pod.name.clone(),
                    policies: names(&enforced),
                    closest,
                };
                (false, reason)
            }
        })
    }

    /// The first rule that matches, or the one that is nearest to it.
    fn find_rule(
        &self,
        direction: Direction,
        policies: &[&NetworkPolicy],
    ) -> Result<RuleMatch, Option<Box<Closest>>> {
        let mut closest: Option<Box<Closest>> = None;
        for policy in policies {
            let rules = policy.rules(direction).unwrap_or_default();
            for (index, rule) in rules.iter().enumerate() {
                match self.try_rule(direction, rule) {
                    Ok((peer, port)) => {
                        return Ok(RuleMatch {
                            policy: policy.name.clone(),
                            direction,
                            rule: index,
                            peer,
                            port,
                        });
                    }
                    Err(missing) => {
                        let is_nearer = closest
                            .as_ref()
                            .is_none_or(|closest| closest.missing.nearness() < missing.nearness());
                        if is_nearer {
                            closest = Some(Box::new(Closest {
                                policy: policy.name.clone(),
                                rule: index,
                                missing,
                            }));
                        }
                    }
                }
            }
        }
        Err(closest)
    }

    /// The peer and the port of `rule` that match, or what is missing.
    fn try_rule(
        &self,
        direction: Direction,
        rule: &Rule,
    ) -> Result<(Option<usize>, Option<usize>), Condition> {
        let mut peer = None;
        if !rule.peers.is_empty() {
            let mut nearest = Condition::PeerIsNoPod;
            for (index, candidate) in rule.peers.iter().enumerate() {
                match self.miss_of_peer(direction, candidate) {
                    None => {
                        peer = Some(index);
                        break;
                    }
                    Some(missing) if missing.nearness() > nearest.nearness() => nearest = missing,
                    Some(_) => {}
                }
            }
            if peer.is_none() {
                return Err(nearest);
            }
        }
        if rule.ports.is_empty() {
            return Ok((peer, None));
        }
        match rule.ports.iter().position(|port| self.is_port(port)) {
            Some(port) => Ok((peer, Some(port))),
            None => Err(Condition::Port),
        }
    }
}

fn names(policies: &[&NetworkPolicy]) -> Vec<crate::model::ObjectName> {
    policies.iter().map(|policy| policy.name.clone()).collect()
}
