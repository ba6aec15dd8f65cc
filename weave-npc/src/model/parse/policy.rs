//! NetworkPolicies.

use std::sync::Arc;

use super::super::raw::{IntOrString, IpBlock, NetworkPolicyPeer, NetworkPolicyPort};
use super::super::{
    Block, Direction, NetworkPolicy, ObjectName, Peer, PodPeer, PortMatch, Ports, Protocol, Rule,
    Scope, raw,
};
use super::{At, Problem, labels, place};

/// A NetworkPolicy with its directions defaulted (network policy document, evaluation section).
pub(super) fn policy(raw: &raw::NetworkPolicy) -> Result<NetworkPolicy, Problem> {
    let metadata = &raw.metadata;
    let name = ObjectName::new(metadata.home(), metadata.checked_name()?);
    let at = At::root("spec");
    let Some(spec) = &raw.spec else {
        return Err(at.wrong("is missing"));
    };
    let pods = labels::selector(spec.pod_selector.as_ref(), at.field("podSelector"))?;
    let mut policy = NetworkPolicy::new(name, pods).with_mode(metadata.mode()?);
    let ingress = rules(spec, Direction::Ingress, policy.name.namespace(), &at)?;
    let egress = rules(spec, Direction::Egress, policy.name.namespace(), &at)?;
    let (has_ingress, has_egress) = directions(spec, &at)?;
    policy.ingress = has_ingress.then_some(ingress);
    policy.egress = has_egress.then_some(egress);
    Ok(policy)
}

/// Whether a policy isolates for ingress and for egress.
fn directions(spec: &raw::NetworkPolicySpec, at: &At<'_>) -> Result<(bool, bool), Problem> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        return Ok((true, has_egress));
    }
    let at = at.field("policyTypes");
    for (index, text) in types.iter().enumerate() {
        if !matches!(text.as_str(), "Ingress" | "Egress") {
            let reason = format!("is {text:?}: write Ingress or Egress");
            return Err(at.index(index).wrong(reason));
        }
    }
    let has = |name: &str| types.iter().any(|text| text == name);
    Ok((has("Ingress"), has("Egress")))
}

fn rules(
    spec: &raw::NetworkPolicySpec,
    direction: Direction,
    namespace: &Arc<str>,
    at: &At<'_>,
) -> Result<Vec<Rule>, Problem> {
    let at = at.field(direction.as_str());
    let list = match direction {
        Direction::Ingress => &spec.ingress,
        Direction::Egress => &spec.egress,
    };
    let mut rules = Vec::new();
    for (index, raw) in list.iter().flatten().enumerate() {
        let at = at.index(index);
        let (own, other) = match direction {
            Direction::Ingress => (("from", &raw.from), ("to", &raw.to)),
            Direction::Egress => (("to", &raw.to), ("from", &raw.from)),
        };
        if other.1.is_some() {
            let reason = format!("does not belong to an {direction} rule: write {:?}", own.0);
            return Err(at.field(other.0).wrong(reason));
        }
        let peers_at = at.field(own.0);
        let ports_at = at.field("ports");
        let mut rule = Rule::default();
        for (index, raw) in own.1.iter().flatten().enumerate() {
            rule.peers
                .push(peer(raw, namespace, peers_at.index(index))?);
        }
        for (index, raw) in raw.ports.iter().flatten().enumerate() {
            rule.ports.push(port(raw, ports_at.index(index))?);
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn peer(raw: &NetworkPolicyPeer, namespace: &Arc<str>, at: At<'_>) -> Result<Peer, Problem> {
    let has_selector = raw.pod_selector.is_some() || raw.namespace_selector.is_some();
    if let Some(raw) = &raw.ip_block {
        if has_selector {
            let reason = "excludes podSelector and namespaceSelector in the same peer";
            return Err(at.field("ipBlock").wrong(reason));
        }
        return block(raw, at.field("ipBlock")).map(Peer::Block);
    }
    if !has_selector {
        return Err(at.wrong("must hold podSelector, namespaceSelector or ipBlock"));
    }
    let pods = labels::selector(raw.pod_selector.as_ref(), at.field("podSelector"))?;
    let namespaces = match &raw.namespace_selector {
        None => Scope::Only(namespace.clone()),
        Some(raw) => Scope::Matching(labels::selector(Some(raw), at.field("namespaceSelector"))?),
    };
    Ok(Peer::Pods(PodPeer { namespaces, pods }))
}

fn block(raw: &IpBlock, at: At<'_>) -> Result<Block, Problem> {
    let cidr = place::network(&raw.cidr, at.field("cidr"))?;
    let list = at.field("except");
    let mut except = Vec::new();
    for (index, text) in raw.except.iter().flatten().enumerate() {
        let at = list.index(index);
        let hole = place::network(text, at)?;
        if !cidr.contains(&hole) || hole.prefix_len() <= cidr.prefix_len() {
            return Err(at.wrong(format!("{text} is not a part of {cidr}")));
        }
        except.push(hole);
    }
    except.sort();
    except.dedup();
    Ok(Block { cidr, except })
}

fn port(raw: &NetworkPolicyPort, at: At<'_>) -> Result<PortMatch, Problem> {
    let protocol = match raw.protocol.as_deref() {
        None | Some("") => Protocol::Tcp,
        Some(text) => text
            .parse()
            .map_err(|error| at.field("protocol").wrong(format!("{error}")))?,
    };
    let ports = match (&raw.port, raw.end_port) {
        (None, None) => Ports::All,
        (Some(IntOrString::Int(first)), end) => {
            let first = port_number(*first, at.field("port"))?;
            let last = match end {
                None => first,
                Some(end) => port_number(end, at.field("endPort"))?,
            };
            if last < first {
                return Err(at.field("endPort").wrong("must not be less than port"));
            }
            Ports::Range(first, last)
        }
        (Some(IntOrString::String(name)), None) => {
            labels::check_port_name(name, at.field("port"))?;
            Ports::Named(Arc::from(name.as_str()))
        }
        (_, Some(_)) => return Err(at.field("endPort").wrong("needs a port that is a number")),
    };
    Ok(PortMatch { protocol, ports })
}

/// A port number, 1 to 65535.
pub(super) fn port_number(number: i64, at: At<'_>) -> Result<u16, Problem> {
    u16::try_from(number)
        .ok()
        .filter(|&port| port > 0)
        .ok_or_else(|| at.wrong(format!("is {number}: ports go from 1 to 65535")))
}
