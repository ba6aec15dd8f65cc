//! Peers and ports that lead to one verdict, merged and written as rules.
//!
//! Invariant: the rules of a clause match exactly the packets that one of its parts matches; parts
//! with equal peers share their ports, networks with equal ports share one set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build::Builder;
use super::family::Family;
use super::ports::PortSet;
use super::query::{Bearers, Named, Query, span};
use super::ranges::{Ranges, disjoint};
use crate::Selector;
use crate::model::{PodPeer, Protocol};
use crate::ruleset::{Comment, Field, Key, Match, Rule, Set, SetRef, Span, Type, Value, Verdict};

/// The other end, as a part of a clause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Term {
    /// Anybody.
    Anyone,
    /// Pods.
    Pods(PodPeer),
    /// Nodes.
    Nodes(Selector),
    /// Addresses of one family.
    Block(Family, Ranges),
}

/// The ports of a part: numbers, and names that only the destination knows.
#[derive(Clone, Debug, Default)]
pub(super) struct PartPorts {
    /// Numbers.
    pub(super) numbers: PortSet,
    /// Names, each with its protocol or any.
    pub(super) names: Vec<(Arc<str>, Option<Protocol>)>,
}

/// Where parts come from, for comments.
type Origins = BTreeSet<String>;

/// What leads to one verdict.
#[derive(Clone, Debug, Default)]
pub(super) struct Clause {
    terms: BTreeMap<Term, (PortSet, Origins)>,
    /// Networks in no order; they are joined when they are written.
    blocks: BTreeMap<(Family, PortSet), (Vec<Ranges>, Origins)>,
    named: BTreeMap<(Option<Family>, Named), Origins>,
}

impl Clause {
    /// Adds a part: one of `terms` at one of `ports`.
    pub(super) fn add(&mut self, terms: &[Term], ports: &PartPorts, origin: &str) {
        for term in terms {
            if !ports.numbers.is_empty() {
                self.add_numbers(term, &ports.numbers, origin);
            }
            for (name, protocol) in &ports.names {
                let (family, of) = match term {
                    Term::Anyone => (None, Bearers::Anyone),
                    Term::Pods(peer) => (None, Bearers::Pods(peer.clone())),
                    Term::Block(family, ranges) => (Some(*family), Bearers::Block(ranges.clone())),
                    // A node has no named ports.
                    Term::Nodes(_) => continue,
                };
                let named = Named {
                    of,
                    name: name.clone(),
                    protocol: *protocol,
                };
                let origins = self.named.entry((family, named)).or_default();
                origins.insert(origin.to_owned());
            }
        }
    }

    fn add_numbers(&mut self, term: &Term, numbers: &PortSet, origin: &str) {
        if let Term::Block(family, ranges) = term {
            let part = self.blocks.entry((*family, numbers.clone())).or_default();
            part.0.push(ranges.clone());
            part.1.insert(origin.to_owned());
            return;
        }
        let part = self.terms.entry(term.clone()).or_default();
        part.0.join(numbers);
        part.1.insert(origin.to_owned());
    }

    /// Writes the rules.
    pub(super) fn write(&self, builder: &mut Builder<'_>, verdict: &Verdict) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (term, (ports, origins)) in &self.terms {
            for peer in peers(term, builder) {
                rules.extend(with_ports(&peer, ports, origins, verdict));
            }
        }
        for family in builder.families() {
            self.write_blocks(family, builder, verdict, &mut rules);
            for ((only, named), origins) in &self.named {
                if only.is_none_or(|only| only == family) {
                    let set = builder.shared(&Query::Named(named.clone()), family);
                    let fields = [
                        family.peer(builder.direction()),
                        Field::L4Proto,
                        Field::DestPort,
                    ];
                    let rule = Rule::new().when(Match::concat(fields, SetRef::Named(set)));
                    rules.push(end(rule, origins, verdict));
                }
            }
        }
        rules
    }

    fn write_blocks(
        &self,
        family: Family,
        builder: &mut Builder<'_>,
        verdict: &Verdict,
        rules: &mut Vec<Rule>,
    ) {
        let parts: Vec<_> = self
            .blocks
            .iter()
            .filter(|((of, _), _)| *of == family)
            .map(|((_, ports), (ranges, origins))| {
                (Ranges::union(ranges.iter().cloned()), ports, origins)
            })
            .collect();
        let numbered = parts.iter().filter(|(_, ports, _)| !ports.is_all).count();
        let is_boxed = numbered > builder.box_above();
        for (ranges, ports, origins) in &parts {
            if !is_boxed || ports.is_all {
                let peer = block(ranges, family, builder);
                rules.extend(with_ports(&peer, ports, origins, verdict));
            }
        }
        if is_boxed {
            let boxed = parts.iter().filter(|(_, ports, _)| !ports.is_all);
            let origins: Origins = boxed.clone().flat_map(|part| part.2).cloned().collect();
            let set = boxes(family, boxed.map(|(ranges, ports, _)| (ranges, *ports)));
            let name = builder.own_set(family, set);
            let fields = [
                family.peer(builder.direction()),
                Field::L4Proto,
                Field::DestPort,
            ];
            let rule = Rule::new().when(Match::concat(fields, SetRef::Named(name)));
            rules.push(end(rule, &origins, verdict));
        }
    }
}

/// The conditions that a peer is, one list per family where that matters.
fn peers(term: &Term, builder: &mut Builder<'_>) -> Vec<Vec<Match>> {
    let query = match term {
        Term::Anyone => return vec![Vec::new()],
        Term::Pods(peer) => Query::Pods(peer.clone()),
        Term::Nodes(selector) => Query::Nodes(selector.clone()),
        Term::Block(family, ranges) => return vec![block(ranges, *family, builder)],
    };
    let families: Vec<Family> = builder.families().collect();
    families
        .into_iter()
        .map(|family| {
            let set = builder.shared(&query, family);
            vec![family.peer(builder.direction()).in_set(&set)]
        })
        .collect()
}

/// The conditions that a network is.
fn block(ranges: &Ranges, family: Family, builder: &mut Builder<'_>) -> Vec<Match> {
    let field = family.peer(builder.direction());
    match ranges.as_net(family) {
        Some(net) if net.prefix_len() == 0 => vec![Field::NfProto.is(family.proto())],
        Some(net) => vec![field.in_net(net)],
        None => {
            let set = builder.shared(&Query::Block(ranges.clone()), family);
            vec![field.in_set(&set)]
        }
    }
}

/// One rule for everything, or one per protocol.
fn with_ports(peer: &[Match], ports: &PortSet, origins: &Origins, verdict: &Verdict) -> Vec<Rule> {
    let start = || {
        let rule = Rule::new();
        peer.iter().cloned().fold(rule, Rule::when)
    };
    if ports.is_all {
        return vec![end(start(), origins, verdict)];
    }
    let is_whole = |ranges: &[(u16, u16)]| ranges == [(0, u16::MAX)];
    let whole: Vec<Value> = ports
        .by_protocol()
        .filter(|(_, ranges)| is_whole(ranges))
        .map(|(protocol, _)| Value::Proto(protocol.number()))
        .collect();
    let mut rules = Vec::new();
    if !whole.is_empty() {
        let rule = start().when(Field::L4Proto.one_of(whole));
        rules.push(end(rule, origins, verdict));
    }
    for (protocol, ranges) in ports.by_protocol() {
        if !is_whole(ranges) {
            let keys = ranges.iter().map(|&range| port_span(range));
            let rule = start()
                .when(Field::L4Proto.is(Value::Proto(protocol.number())))
                .when(Field::DestPort.one_of(keys));
            rules.push(end(rule, origins, verdict));
        }
    }
    rules
}

fn end(rule: Rule, origins: &Origins, verdict: &Verdict) -> Rule {
    let text: Vec<&str> = origins.iter().map(String::as_str).collect();
    rule.counter()
        .verdict(verdict.clone())
        .comment(Comment::lossy(&text.join(" ")))
}

/// Disjoint boxes of addresses, protocols and ports.
fn boxes<'a>(family: Family, parts: impl IntoIterator<Item = (&'a Ranges, &'a PortSet)>) -> Set {
    let mut set = Set::of([family.kind(), Type::Proto, Type::Port]).interval();
    for ((from, to), ports) in disjoint(parts) {
        for (protocol, ranges) in ports.by_protocol() {
            let protocol = Value::Proto(protocol.number());
            for &range in ranges {
                set.insert(Key::concat([
                    span(family, from, to),
                    protocol.into(),
                    port_span(range),
                ]));
            }
        }
    }
    set
}

fn port_span((first, last): (u16, u16)) -> Span {
    Span::new(Value::Port(first), Value::Port(last))
        .expect("invariant: ranges of ports are in order")
}
