//! The cluster's Nodes, as far as the network needs them.
//!
//! Invariant: a Node without an address exists all the same. Such a node is no target, but its
//! peer is never taken for gone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its UID: another one when it was deleted and created again under the same name.
    pub uid: String,
    /// Where its peer is reached.
    pub address: Option<IpAddr>,
    /// Who said that its network is available: the reason of its condition `NetworkUnavailable`
    /// while that is `False`.
    pub available: Option<String>,
}

impl Node {
    /// Whether Weave, old or ours, has said that the network is up.
    pub fn is_up_by_weave(&self) -> bool {
        self.available.as_deref() == Some(super::condition::REASON)
    }
}

/// The Nodes by name, which is the order the API lists them in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(BTreeMap<String, Node>);

impl Nodes {
    /// The Node called `name`.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.0.get(name)
    }

    /// All Nodes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.values()
    }

    /// Adds or replaces a Node.
    pub fn insert(&mut self, node: Node) {
        self.0.insert(node.name.clone(), node);
    }

    /// Removes the Node called `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// How many Nodes have an address, ours included: the number of voters when a ring is to be
    /// agreed on. Weave Net counts the same.
    pub fn voters(&self) -> usize {
        self.iter().filter(|node| node.address.is_some()).count()
    }

    /// Whom the node called `own` connects to: every other node with an address, once. Weave Net
    /// 2.9 dials itself too and shows that as failed for ever; this does not.
    pub fn targets(&self, own: &str, is_local: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
        let mut targets: Vec<IpAddr> = Vec::new();
        for node in self.iter().filter(|node| node.name != own) {
            if let Some(address) = node.address
                && !is_local(address)
                && !targets.contains(&address)
            {
                targets.push(address);
            }
        }
        targets
    }
}

impl FromIterator<Node> for Nodes {
    fn from_iter<T: IntoIterator<Item = Node>>(nodes: T) -> Self {
        let named = nodes.into_iter().map(|node| (node.name.clone(), node));
        Self(named.collect())
    }
}

/// Which of a Node's `addresses`, given as type and text, its peer is reached at.
///
/// The last `InternalIP` that is an IPv4 address, else the last such `ExternalIP` (Weave Net
/// Kubernetes add-on, "Which address of a node"). Weave Net leaves out a node that has none;
/// here the same rule is tried once more with IPv6.
pub fn address<'a>(addresses: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<IpAddr> {
    let mut found = [None; 4];
    for (kind, text) in addresses {
        let rank = match kind {
            "InternalIP" => 0,
            "ExternalIP" => 1,
            _ => continue,
        };
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            found[rank] = Some(IpAddr::V4(v4));
        } else if let Ok(v6) = text.parse::<Ipv6Addr>() {
            found[rank + 2] = Some(IpAddr::V6(v6));
        }
    }
    found.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: Option<&str>) -> Node {
        Node {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            address: address.map(|text| text.parse().unwrap()),
            available: None,
        }
    }

    #[test]
    fn the_last_internal_ipv4_address_wins() {
        type Case = (
            &'static [(&'static str, &'static str)],
            Option<&'static str>,
        );
        let cases: &[Case] = &[
            (&[("InternalIP", "10.0.0.1")], Some("10.0.0.1")),
            (
                &[("InternalIP", "10.0.0.1"), ("InternalIP", "10.0.0.2")],
                Some("10.0.0.2"),
            ),
            (
                &[("InternalIP", "10.0.0.1"), ("ExternalIP", "1.2.3.4")],
                Some("10.0.0.1"),
            ),
            (
                &[("ExternalIP", "1.2.3.4"), ("ExternalIP", "1.2.3.5")],
                Some("1.2.3.5"),
            ),
            (
                &[("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1")],
                Some("10.0.0.1"),
            ),
            (&[("Hostname", "10.0.0.9"), ("InternalDNS", "a")], None),
            (
                &[("InternalIP", "010.0.0.1"), ("ExternalIP", "1.2.3.4")],
                Some("1.2.3.4"),
            ),
            (&[("InternalIP", "fd00::1")], Some("fd00::1")),
            (&[], None),
        ];
        for (given, expected) in cases {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(address(given.iter().copied()), expected, "{given:?}");
        }
    }

    #[test]
    fn targets_are_the_other_nodes_and_voters_are_all() {
        let nodes: Nodes = [
            node("b", Some("10.0.0.2")),
            node("a", Some("10.0.0.1")),
            node("c", None),
            node("d", Some("10.0.0.2")),
            node("e", Some("127.0.0.1")),
        ]
        .into_iter()
        .collect();

        let targets = nodes.targets("a", |address| address.is_loopback());

        assert_eq!(targets, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(nodes.voters(), 4);
    }
}
