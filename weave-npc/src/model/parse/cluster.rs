//! ClusterNetworkPolicies.
//!
//! A peer or protocol that is not understood is not an error: the object was accepted by a server
//! with a later version of the type. Its rule is made strict, and a notice says so.

use std::sync::Arc;

use super::super::raw::{self, ClusterProtocol, NamespacedPod, PortField};
use super::super::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPeers, ClusterPort, ClusterRule, Direction,
    Notice, PodPeer, Protocol, Scope, Tier,
};
use super::{At, Problem, labels, place, policy::port_number};
use crate::Selector;

/// Most rules per direction, peers and protocols per rule, networks per peer (type definition).
const MOST_ITEMS: usize = 25;
/// Highest priority number.
const LAST_PRIORITY: u16 = 1000;

/// A ClusterNetworkPolicy.
pub(super) fn policy(raw: &raw::ClusterNetworkPolicy) -> Result<ClusterNetworkPolicy, Problem> {
    let name = raw.metadata.checked_name()?;
    let at = At::root("spec");
    let Some(spec) = &raw.spec else {
        return Err(at.wrong("is missing"));
    };
    let tier = match spec.tier.as_str() {
        "Admin" => Tier::Admin,
        "Baseline" => Tier::Baseline,
        other => {
            let reason = format!("is {other:?}: write Admin or Baseline");
            return Err(at.field("tier").wrong(reason));
        }
    };
    let priority = spec
        .priority
        .and_then(|priority| u16::try_from(priority).ok())
        .filter(|&priority| priority <= LAST_PRIORITY)
        .ok_or_else(|| {
            at.field("priority")
                .wrong("must be a number from 0 to 1000")
        })?;
    let subject = subject(spec.subject.as_ref(), at.field("subject"))?;
    let mut policy =
        ClusterNetworkPolicy::new(name, tier, priority, subject).with_mode(raw.metadata.mode()?);
    let mut notices = Vec::new();
    policy.ingress = rules(spec, Direction::Ingress, at, &mut notices)?;
    policy.egress = rules(spec, Direction::Egress, at, &mut notices)?;
    policy.notices = notices;
    Ok(policy)
}

fn subject(raw: Option<&raw::Subject>, at: At<'_>) -> Result<PodPeer, Problem> {
    match raw {
        Some(raw::Subject {
            namespaces: Some(namespaces),
            pods: None,
        }) => all_pods(namespaces, at.field("namespaces")),
        Some(raw::Subject {
            namespaces: None,
            pods: Some(pods),
        }) => some_pods(pods, at.field("pods")),
        _ => Err(at.wrong("must hold either namespaces or pods")),
    }
}

fn all_pods(namespaces: &raw::LabelSelector, at: At<'_>) -> Result<PodPeer, Problem> {
    Ok(PodPeer {
        namespaces: Scope::Matching(labels::selector(Some(namespaces), at)?),
        pods: Selector::everything(),
    })
}

fn some_pods(raw: &NamespacedPod, at: At<'_>) -> Result<PodPeer, Problem> {
    let namespaces = labels::selector(
        raw.namespace_selector.as_ref(),
        at.field("namespaceSelector"),
    )?;
    let pods = labels::selector(raw.pod_selector.as_ref(), at.field("podSelector"))?;
    Ok(PodPeer {
        namespaces: Scope::Matching(namespaces),
        pods,
    })
}

fn rules(
    spec: &raw::ClusterNetworkPolicySpec,
    direction: Direction,
    at: At<'_>,
    notices: &mut Vec<Notice>,
) -> Result<Vec<ClusterRule>, Problem> {
    let at = at.field(direction.as_str());
    let list = match direction {
        Direction::Ingress => &spec.ingress,
        Direction::Egress => &spec.egress,
    };
    let list = list.as_deref().unwrap_or_default();
    check_count(list.len(), at)?;
    list.iter()
        .enumerate()
        .map(|(index, raw)| rule(raw, direction, at.index(index), notices))
        .collect()
}

fn rule(
    raw: &raw::ClusterRule,
    direction: Direction,
    at: At<'_>,
    notices: &mut Vec<Notice>,
) -> Result<ClusterRule, Problem> {
    let action = match raw.action.as_str() {
        "Accept" => Action::Accept,
        "Deny" => Action::Deny,
        "Pass" => Action::Pass,
        other => {
            let reason = format!("is {other:?}: write Accept, Deny or Pass");
            return Err(at.field("action").wrong(reason));
        }
    };
    let (field, peers, foreign) = match direction {
        Direction::Ingress => ("from", &raw.from, raw.to.is_some()),
        Direction::Egress => ("to", &raw.to, raw.from.is_some()),
    };
    if foreign {
        return Err(at.wrong(format!("an {direction} rule has {field:?} only")));
    }
    let name: Arc<str> = raw.name.as_deref().unwrap_or_default().into();
    let (peers, unknown_peer) = peers_of(peers.as_deref(), direction, action, at.field(field))?;
    let (ports, unknown_port) = ports_of(raw.protocols.as_deref(), at.field("protocols"))?;
    let named_at = at.field("protocols");
    if ports
        .iter()
        .any(|port| matches!(port, ClusterPort::Named(_)))
        && peers
            .iter()
            .any(|peer| !matches!(peer, ClusterPeer::Pods(_)))
    {
        return Err(named_at.wrong("a named port needs peers that are pods"));
    }
    let mut rule = ClusterRule {
        name,
        action,
        peers: ClusterPeers::AnyOf(peers),
        ports,
    };
    if let Some((path, what)) = unknown_peer.or(unknown_port) {
        let effect = if action == Action::Accept {
            rule.peers = ClusterPeers::AnyOf(Vec::new());
            "the rule accepts nothing"
        } else {
            rule.action = Action::Deny;
            rule.peers = ClusterPeers::Everybody;
            rule.ports = Vec::new();
            "the rule denies everything"
        };
        notices.push(Notice {
            path,
            text: format!("{what}: {effect}"),
        });
    }
    Ok(rule)
}

/// Path and description of something that is not supported.
type Unknown = Option<(String, &'static str)>;

fn peers_of(
    raw: Option<&[raw::ClusterPeer]>,
    direction: Direction,
    action: Action,
    at: At<'_>,
) -> Result<(Vec<ClusterPeer>, Unknown), Problem> {
    let raw = raw.unwrap_or_default();
    if raw.is_empty() {
        return Err(at.wrong("must hold a peer"));
    }
    check_count(raw.len(), at)?;
    let mut peers = Vec::new();
    let mut unknown = None;
    for (index, raw) in raw.iter().enumerate() {
        let at = at.index(index);
        let fields = [
            raw.namespaces.is_some(),
            raw.pods.is_some(),
            raw.nodes.is_some(),
            raw.networks.is_some(),
            raw.domain_names.is_some(),
        ];
        if fields.into_iter().filter(|&is_set| is_set).count() > 1 {
            return Err(at.wrong("must hold exactly one kind of peer"));
        }
        let is_egress = direction == Direction::Egress;
        if let Some(raw) = &raw.namespaces {
            peers.push(ClusterPeer::Pods(all_pods(raw, at.field("namespaces"))?));
        } else if let Some(raw) = &raw.pods {
            peers.push(ClusterPeer::Pods(some_pods(raw, at.field("pods"))?));
        } else if let (Some(raw), true) = (&raw.nodes, is_egress) {
            let nodes = labels::selector(Some(raw), at.field("nodes"))?;
            peers.push(ClusterPeer::Nodes(nodes));
        } else if let (Some(raw), true) = (&raw.networks, is_egress) {
            peers.push(ClusterPeer::Networks(networks(raw, at.field("networks"))?));
        } else if raw.domain_names.is_some() && is_egress {
            let at = at.field("domainNames");
            if action != Action::Accept {
                return Err(at.wrong("is for Accept rules only"));
            }
            unknown = Some((at.to_string(), "domain names are not supported"));
        } else {
            unknown = Some((at.to_string(), "a kind of peer that is not known"));
        }
    }
    Ok((peers, unknown))
}

fn networks(raw: &[String], at: At<'_>) -> Result<Vec<ipnet::IpNet>, Problem> {
    if raw.is_empty() {
        return Err(at.wrong("must hold a network"));
    }
    check_count(raw.len(), at)?;
    raw.iter()
        .enumerate()
        .map(|(index, text)| place::network(text, at.index(index)))
        .collect()
}

fn ports_of(
    raw: Option<&[ClusterProtocol]>,
    at: At<'_>,
) -> Result<(Vec<ClusterPort>, Unknown), Problem> {
    let Some(raw) = raw else {
        return Ok((Vec::new(), None));
    };
    if raw.is_empty() {
        return Err(at.wrong("must hold a protocol or be left out"));
    }
    check_count(raw.len(), at)?;
    let mut ports = Vec::new();
    let mut unknown = None;
    for (index, raw) in raw.iter().enumerate() {
        let at = at.index(index);
        let numbered = [
            ("tcp", Protocol::Tcp, &raw.tcp),
            ("udp", Protocol::Udp, &raw.udp),
            ("sctp", Protocol::Sctp, &raw.sctp),
        ];
        let mut found = Vec::new();
        for (field, protocol, raw) in numbered {
            if let Some(raw) = raw {
                found.push(port(protocol, raw, at.field(field))?);
            }
        }
        if let Some(name) = &raw.destination_named_port {
            labels::check_port_name(name, at.field("destinationNamedPort"))?;
            found.push(ClusterPort::Named(Arc::from(name.as_str())));
        }
        match found.len() {
            0 => unknown = Some((at.to_string(), "a protocol that is not known")),
            1 => ports.extend(found),
            _ => return Err(at.wrong("must hold exactly one protocol")),
        }
    }
    Ok((ports, unknown))
}

fn port(protocol: Protocol, raw: &PortField, at: At<'_>) -> Result<ClusterPort, Problem> {
    let Some(raw) = &raw.destination_port else {
        return Ok(ClusterPort::All(protocol));
    };
    let at = at.field("destinationPort");
    match (raw.number, &raw.range) {
        (Some(number), None) => {
            let number = port_number(number, at.field("number"))?;
            Ok(ClusterPort::Range(protocol, number, number))
        }
        (None, Some(range)) => {
            let at = at.field("range");
            let start = port_number(range.start, at.field("start"))?;
            let end = port_number(range.end, at.field("end"))?;
            if start >= end {
                return Err(at.wrong("start must be less than end"));
            }
            Ok(ClusterPort::Range(protocol, start, end))
        }
        _ => Err(at.wrong("must hold either number or range")),
    }
}

fn check_count(count: usize, at: At<'_>) -> Result<(), Problem> {
    if count > MOST_ITEMS {
        return Err(at.wrong(format!("holds {count} items, at most {MOST_ITEMS} are")));
    }
    Ok(())
}
