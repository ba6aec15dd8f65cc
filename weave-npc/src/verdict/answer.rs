//! Questions people ask about policies, and the answers as records.
//!
//! Invariant: an answer is one decision; nothing is summed up, so a record stands for exactly one
//! flow.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Decision, End, Flow, IpFamily, Options, decide_with};
use crate::model::{ClusterPort, Direction, Ports, Protocol, Transport, World};

/// The decision about one flow, as a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// `namespace/name` of a pod, or an address.
    pub from: String,
    /// The same for the destination.
    pub to: String,
    /// The destination port; nothing for protocols without ports.
    pub port: Option<u16>,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6` or the number of another protocol.
    pub protocol: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// True if both ends allow it.
    pub allowed: bool,
    /// What decided at both ends, in words.
    pub reason: String,
}

/// A flow that two worlds decide differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Before.
    pub old: Answer,
    /// After.
    pub new: Answer,
}

impl Answer {
    fn new(from: &End, to: &End, flow: &Flow, decision: &Decision) -> Self {
        let protocol = match flow.transport {
            Transport::Port(protocol, _) => protocol.to_string(),
            Transport::Other(1) => "ICMP".to_owned(),
            Transport::Other(58) => "ICMPv6".to_owned(),
            Transport::Other(number) => number.to_string(),
        };
        Self {
            from: from.name.clone(),
            to: to.name.clone(),
            port: flow.transport.port().map(|(_, port)| port),
            protocol,
            family: IpFamily::of(flow.source).to_string(),
            allowed: decision.allowed,
            reason: decision.to_string(),
        }
    }
}

/// Decides all flows from one of `sources` to one of `destinations` at one of `transports`, in each
/// family that both ends have.
pub fn ask(
    world: &World,
    sources: &[End],
    destinations: &[End],
    transports: &[Transport],
    options: Options,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    for &transport in transports {
        for family in IpFamily::BOTH {
            for from in sources {
                for to in destinations {
                    let pair = from.address(family).zip(to.address(family));
                    if let Some((source, destination)) = pair {
                        let flow = Flow::new(source, destination, transport);
                        let decision = decide_with(world, &flow, options);
                        answers.push(Answer::new(from, to, &flow, &decision));
                    }
                }
            }
        }
    }
    answers
}

/// The flows between pods that are in both worlds, and between them and `others`, that `new`
/// decides otherwise than `old`.
pub fn compare(
    old: &World,
    new: &World,
    others: &[End],
    transports: &[Transport],
    options: Options,
) -> Vec<Difference> {
    let ends = |world: &World| -> Vec<End> {
        let mut ends = End::all(world);
        ends.extend(others.iter().cloned());
        ends
    };
    let (before, after) = (ends(old), ends(new));
    let names: BTreeSet<&str> = before.iter().map(|end| end.name.as_str()).collect();
    let after: Vec<End> = after
        .into_iter()
        .filter(|end| names.contains(end.name.as_str()))
        .collect();
    let kept: BTreeSet<&str> = after.iter().map(|end| end.name.as_str()).collect();
    let before: Vec<End> = before
        .iter()
        .filter(|end| kept.contains(end.name.as_str()))
        .cloned()
        .collect();
    let key = |answer: &Answer| {
        let port = (answer.port, answer.protocol.clone(), answer.family.clone());
        (answer.from.clone(), answer.to.clone(), port)
    };
    let mut olds: std::collections::BTreeMap<_, Answer> =
        ask(old, &before, &before, transports, options)
            .into_iter()
            .map(|answer| (key(&answer), answer))
            .collect();
    ask(new, &after, &after, transports, options)
        .into_iter()
        .filter_map(|new| {
            let old = olds.remove(&key(&new))?;
            (old.allowed != new.allowed).then_some(Difference { old, new })
        })
        .collect()
}

/// The ports that policies and pods of `world` name: first and last of each range, and port 80 over
/// TCP if there is none at all.
pub fn ports_of_interest(world: &World) -> Vec<Transport> {
    let mut found = BTreeSet::new();
    for pod in world.pods() {
        for port in &pod.ports {
            found.insert(Transport::Port(port.protocol, port.number));
        }
    }
    for policy in world.policies() {
        let rules = Direction::BOTH.into_iter().filter_map(|d| policy.rules(d));
        for port in rules.flatten().flat_map(|rule| &rule.ports) {
            if let Ports::Range(first, last) = port.ports {
                found.insert(Transport::Port(port.protocol, first));
                found.insert(Transport::Port(port.protocol, last));
            }
        }
    }
    for policy in world.cluster_policies() {
        let rules = Direction::BOTH.into_iter().flat_map(|d| policy.rules(d));
        for port in rules.flat_map(|rule| &rule.ports) {
            if let ClusterPort::Range(protocol, first, last) = *port {
                found.insert(Transport::Port(protocol, first));
                found.insert(Transport::Port(protocol, last));
            }
        }
    }
    if found.is_empty() {
        found.insert(Transport::Port(Protocol::Tcp, 80));
    }
    found.into_iter().collect()
}
