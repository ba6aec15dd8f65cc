//! What a shared set holds, said so that it can be shared, named and kept.
//!
//! Invariant: the elements of a query are the union of what each pod (or node) gives on its own, so
//! one pod's change is one pod's elements.

use std::sync::Arc;

use super::canon::Canon;
use super::family::Family;
use super::ranges::Ranges;
use crate::Selector;
use crate::index::{Index, View};
use crate::model::{PodPeer, Protocol, Scope, World};
use crate::ruleset::{Key, Set, Span, Type, Value};

/// The elements of one shared set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Query {
    /// Addresses of pods.
    Pods(PodPeer),
    /// Address, protocol and number of what pods call by a name.
    Named(Named),
    /// Addresses of nodes.
    Nodes(Selector),
    /// Addresses by value.
    Block(Ranges),
}

/// Named ports of some pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Named {
    /// Of which pods.
    pub(super) of: Bearers,
    /// The name.
    pub(super) name: Arc<str>,
    /// The protocol; `None` for any.
    pub(super) protocol: Option<Protocol>,
}

/// Some pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Bearers {
    /// All.
    Anyone,
    /// Those of a peer.
    Pods(PodPeer),
    /// Those with an address among these.
    Block(Ranges),
}

impl Query {
    /// The set without elements.
    pub(super) fn empty_set(&self, family: Family) -> Set {
        match self {
            Self::Pods(_) | Self::Nodes(_) => Set::of([family.kind()]),
            Self::Named(_) => Set::of([family.kind(), Type::Proto, Type::Port]),
            Self::Block(_) => Set::of([family.kind()]).interval(),
        }
    }

    /// The first part of the set's name.
    pub(super) fn prefix(&self, family: Family) -> String {
        let letter = match self {
            Self::Pods(_) => 's',
            Self::Named(_) => 'n',
            Self::Nodes(_) => 'h',
            Self::Block(_) => 'b',
        };
        format!("{letter}{}", family.digit())
    }

    /// What the set's name is made of.
    pub(super) fn canon(&self) -> Canon {
        match self {
            Self::Pods(peer) => pods(Canon::new("pods"), peer),
            Self::Nodes(selector) => requirements(Canon::new("nodes"), selector),
            Self::Block(ranges) => block(Canon::new("block"), ranges),
            Self::Named(named) => {
                let protocol = named.protocol.map_or(0, Protocol::number);
                let canon = Canon::new("named").text(&named.name).part(protocol);
                match &named.of {
                    Bearers::Anyone => canon.text("anyone"),
                    Bearers::Pods(peer) => pods(canon.text("pods"), peer),
                    Bearers::Block(ranges) => block(canon.text("block"), ranges),
                }
            }
        }
    }

    /// The peer under which the query is found again when a pod changes; nothing at all if pods do
    /// not matter to it.
    pub(super) fn pivot(&self) -> Option<Option<&PodPeer>> {
        match self {
            Self::Pods(peer) => Some(Some(peer)),
            Self::Named(named) => Some(match &named.of {
                Bearers::Pods(peer) => Some(peer),
                Bearers::Anyone | Bearers::Block(_) => None,
            }),
            Self::Nodes(_) | Self::Block(_) => None,
        }
    }

    /// The labels of namespaces that it asks for.
    pub(super) fn namespaces(&self) -> Option<&Selector> {
        match &self.pivot()??.namespaces {
            Scope::Matching(selector) => Some(selector),
            Scope::Only(_) => None,
        }
    }

    /// The keys that a pod gives, whether or not its labels match.
    pub(super) fn keys_of(&self, family: Family, view: &View) -> Vec<Key> {
        let addresses = view.addresses.iter().copied();
        let addresses = addresses.filter(|&address| Family::of(address) == family);
        match self {
            Self::Pods(_) => addresses.map(|a| Key::from(Value::from(a))).collect(),
            Self::Named(named) => {
                let is_meant = |address| match &named.of {
                    Bearers::Block(ranges) => ranges.contains(address),
                    Bearers::Anyone | Bearers::Pods(_) => true,
                };
                let mut keys = Vec::new();
                for address in addresses.filter(|&address| is_meant(address)) {
                    for (protocol, number) in named.numbers(view) {
                        keys.push(named_key(Value::from(address), protocol, number));
                    }
                }
                keys
            }
            Self::Nodes(_) | Self::Block(_) => Vec::new(),
        }
    }

    /// True if the labels of `view` match, where the query asks for labels.
    pub(super) fn holds(&self, index: &Index, view: &View) -> bool {
        match self.pivot() {
            Some(Some(peer)) => index.is_member(peer, view),
            Some(None) => true,
            None => false,
        }
    }

    /// The whole set.
    pub(super) fn fill(&self, family: Family, index: &Index, world: &World) -> Set {
        let mut set = self.empty_set(family);
        match self {
            Self::Pods(_) | Self::Named(_) => {
                let views: Vec<&View> = match self.pivot().flatten() {
                    Some(peer) => index.members(peer),
                    None => index.views().collect(),
                };
                for view in views {
                    for key in self.keys_of(family, view) {
                        set.insert(key);
                    }
                }
            }
            Self::Nodes(selector) => {
                let nodes = world.nodes().filter(|node| selector.matches(&node.labels));
                let addresses = nodes.flat_map(|node| &node.addresses);
                for &address in addresses.filter(|&&address| Family::of(address) == family) {
                    set.insert(Value::from(address));
                }
            }
            Self::Block(ranges) => {
                for (from, to) in ranges.iter() {
                    set.insert(span(family, from, to));
                }
            }
        }
        set
    }
}

impl Named {
    /// The protocols and numbers that the pod calls by the name.
    pub(super) fn numbers(&self, view: &View) -> Vec<(Protocol, u16)> {
        numbers(view, &self.name, self.protocol)
    }
}

/// The protocols and numbers that the pod calls `name`; of one protocol if it is given.
pub(super) fn numbers(view: &View, name: &str, protocol: Option<Protocol>) -> Vec<(Protocol, u16)> {
    view.pod
        .ports
        .iter()
        .filter(|port| *port.name == *name && protocol.is_none_or(|p| p == port.protocol))
        .map(|port| (port.protocol, port.number))
        .collect()
}

/// The key of an address range.
pub(super) fn span(family: Family, from: u128, to: u128) -> Span {
    let (from, to) = (family.address(from).into(), family.address(to).into());
    Span::new(from, to).expect("invariant: ranges of addresses of one family are in order")
}

fn named_key(address: Value, protocol: Protocol, number: u16) -> Key {
    let protocol = Value::Proto(protocol.number());
    Key::concat([address.into(), protocol.into(), Value::Port(number).into()])
}

fn pods(canon: Canon, peer: &PodPeer) -> Canon {
    let canon = match &peer.namespaces {
        Scope::Only(name) => canon.text("only").text(name),
        Scope::Matching(selector) => requirements(canon.text("matching"), selector),
    };
    requirements(canon, &peer.pods)
}

fn requirements(canon: Canon, selector: &Selector) -> Canon {
    canon.list(selector.requirements())
}

fn block(canon: Canon, ranges: &Ranges) -> Canon {
    canon.list(ranges.iter().map(|(from, to)| format!("{from}-{to}")))
}
