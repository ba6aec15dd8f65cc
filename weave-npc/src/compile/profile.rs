//! Profiles: which policies speak about a pod in one direction.
//!
//! Invariant: pods with equal profiles have equal verdicts in that direction, but for who they are
//! themselves; so they share one chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Options;
use super::canon::Canon;
use super::family::Family;
use crate::index::{Index, View};
use crate::model::{
    ClusterNetworkPolicy, ClusterPort, Direction, Mode, NetworkPolicy, ObjectName, Ports, Protocol,
    Tier, World,
};

/// What decides about a pod in one direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Profile {
    pub(super) direction: Direction,
    /// The families of the pod's addresses.
    pub(super) families: Vec<Family>,
    /// Cluster policies of the Admin tier, in order.
    pub(super) admin: Vec<Arc<str>>,
    /// NetworkPolicies in force that isolate the pod, by name.
    pub(super) policies: Vec<ObjectName>,
    /// NetworkPolicies in audit mode that would isolate it; only where none in force does.
    pub(super) audited: Vec<ObjectName>,
    /// Cluster policies of the Baseline tier, in order; only where no NetworkPolicy decides.
    pub(super) baseline: Vec<Arc<str>>,
    /// For ingress: the pod's own ports whose names the policies use.
    pub(super) ports: Vec<(Arc<str>, Protocol, u16)>,
    /// True if cluster policies speak about the pod, so that what it sends to itself is looked at.
    pub(super) is_self_judged: bool,
}

impl Profile {
    /// The name's hash.
    pub(super) fn id(&self) -> String {
        let ports = self.ports.iter();
        Canon::new("profile")
            .text(self.direction.as_str())
            .list(self.families.iter().map(|family| family.digit()))
            .list(&self.admin)
            .list(&self.policies)
            .list(&self.audited)
            .list(&self.baseline)
            .list(ports.map(|(name, protocol, number)| format!("{number} {protocol} {name}")))
            .part(self.is_self_judged)
            .id()
    }

    /// True if one of the policies is among these.
    pub(super) fn involves(
        &self,
        policies: &BTreeSet<ObjectName>,
        cluster_policies: &BTreeSet<Arc<str>>,
    ) -> bool {
        let mut own = self.policies.iter().chain(&self.audited);
        let mut cluster = self.admin.iter().chain(&self.baseline);
        own.any(|name| policies.contains(name))
            || cluster.any(|name| cluster_policies.contains(name))
    }
}

/// The profiles of a pod for both directions; `None` where no policy speaks about it.
pub(super) fn of(
    world: &World,
    index: &Index,
    view: &View,
    options: &Options,
) -> [Option<Profile>; 2] {
    let selecting: Vec<&NetworkPolicy> = world
        .policies_in(view.pod.name.namespace())
        .filter(|policy| policy.pods.matches(&view.pod.labels))
        .collect();
    let mut cluster: Vec<&ClusterNetworkPolicy> = world
        .cluster_policies()
        .filter(|policy| index.is_member(&policy.subject, view))
        .collect();
    cluster.sort_by(|a, b| a.cmp_precedence(b));
    let is_self_judged = Direction::BOTH.into_iter().any(|direction| {
        cluster
            .iter()
            .any(|policy| !policy.rules(direction).is_empty())
    });
    let isolates = |direction: Direction, mode: Mode| -> Vec<&NetworkPolicy> {
        selecting
            .iter()
            .copied()
            .filter(|policy| policy.mode == mode && policy.rules(direction).is_some())
            .collect()
    };
    Direction::BOTH.map(|direction| {
        let policies = isolates(direction, Mode::Enforce);
        let audited = if policies.is_empty() {
            isolates(direction, Mode::Audit)
        } else {
            Vec::new()
        };
        let is_decided = !policies.is_empty()
            || options.verdict.isolation_covers_both
                && Direction::BOTH
                    .into_iter()
                    .any(|direction| !isolates(direction, Mode::Enforce).is_empty());
        let tier = |tier: Tier| -> Vec<&ClusterNetworkPolicy> {
            cluster
                .iter()
                .copied()
                .filter(|policy| policy.tier == tier && !policy.rules(direction).is_empty())
                .collect()
        };
        let admin = tier(Tier::Admin);
        let baseline = if is_decided {
            Vec::new()
        } else {
            tier(Tier::Baseline)
        };
        if policies.is_empty() && audited.is_empty() && admin.is_empty() && baseline.is_empty() {
            return None;
        }
        let ports = match direction {
            Direction::Ingress => {
                let all = policies.iter().chain(&audited);
                own_ports(
                    view,
                    &names(all.copied(), admin.iter().chain(&baseline).copied()),
                )
            }
            Direction::Egress => Vec::new(),
        };
        let named = |list: Vec<&NetworkPolicy>| list.iter().map(|p| p.name.clone()).collect();
        let titled = |list: &[&ClusterNetworkPolicy]| list.iter().map(|p| p.name.clone()).collect();
        Some(Profile {
            direction,
            families: families(view),
            admin: titled(&admin),
            baseline: titled(&baseline),
            policies: named(policies),
            audited: named(audited),
            ports,
            is_self_judged,
        })
    })
}

/// The names of ports that ingress rules use.
fn names<'a>(
    policies: impl Iterator<Item = &'a NetworkPolicy>,
    cluster: impl Iterator<Item = &'a ClusterNetworkPolicy>,
) -> BTreeSet<&'a str> {
    let rules = policies.flat_map(|policy| policy.rules(Direction::Ingress).unwrap_or_default());
    let ports = rules.flat_map(|rule| &rule.ports);
    let mut names: BTreeSet<&str> = ports
        .filter_map(|port| match &port.ports {
            Ports::Named(name) => Some(&**name),
            Ports::All | Ports::Range(..) => None,
        })
        .collect();
    let rules = cluster.flat_map(|policy| policy.rules(Direction::Ingress));
    names.extend(
        rules
            .flat_map(|rule| &rule.ports)
            .filter_map(|port| match port {
                ClusterPort::Named(name) => Some(&**name),
                ClusterPort::All(_) | ClusterPort::Range(..) => None,
            }),
    );
    names
}

fn own_ports(view: &View, names: &BTreeSet<&str>) -> Vec<(Arc<str>, Protocol, u16)> {
    view.pod
        .ports
        .iter()
        .filter(|port| names.contains(&*port.name))
        .map(|port| (port.name.clone(), port.protocol, port.number))
        .collect()
}

fn families(view: &View) -> Vec<Family> {
    let has = |family| {
        view.addresses
            .iter()
            .any(|&address| Family::of(address) == family)
    };
    Family::BOTH
        .into_iter()
        .filter(|&family| has(family))
        .collect()
}
