//! Clusters of some sizes: policies of three shapes in namespaces of equal size, 100 pods a node.

#![allow(dead_code, reason = "each bench uses its own part of this module")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use weave_npc::Labels;
use weave_npc::model::{
    Block, Namespace, NetworkPolicy, Object, ObjectName, Peer, Pod, PodPeer, PortMatch, Ports,
    Protocol, Rule, Scope, Uid, World,
};

/// The size of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pods: u32,
    pub(crate) policies: u32,
    pub(crate) namespaces: u32,
}

/// A middling cluster.
pub(crate) const MIDDLE: Size = Size {
    pods: 10_000,
    policies: 1_000,
    namespaces: 100,
};
/// The size that Antrea publishes figures for.
pub(crate) const LARGE: Size = Size {
    pods: 100_000,
    policies: 75_000,
    namespaces: 25_000,
};
const PODS_PER_NODE: u32 = 100;

/// The whole cluster.
pub(crate) fn world(size: Size) -> World {
    objects(size).collect()
}

/// Its objects.
pub(crate) fn objects(size: Size) -> impl Iterator<Item = Object> {
    let namespaces = (0..size.namespaces).map(|number| {
        let team = format!("team-{}", number % 50);
        let labels: Labels = [("team", team)].into_iter().collect();
        Object::Namespace(Namespace::new(format!("ns-{number}"), labels))
    });
    let pods = (0..size.pods).map(move |number| Object::Pod(pod(size, number, 0)));
    let policies = (0..size.policies).map(move |number| Object::Policy(policy(size, number)));
    namespaces.chain(pods).chain(policies)
}

/// Pod `number`, with the labels it has after `turn` changes.
pub(crate) fn pod(size: Size, number: u32, turn: u32) -> Pod {
    let namespace = format!("ns-{}", number % size.namespaces);
    let app = format!("app-{}", (number / size.namespaces + turn) % 10);
    let labels: Labels = [
        ("app", app),
        ("tier", format!("tier-{}", number % 3)),
        ("pod-template-hash", format!("{:08x}", number / 3)),
    ]
    .into_iter()
    .collect();
    let name = ObjectName::new(namespace, format!("pod-{number}"));
    let address = Ipv4Addr::from(0x0a20_0000 + number);
    Pod::new(name, Uid::new(format!("uid-{number}")))
        .with_labels(labels)
        .with_addresses([address.into()])
        .on_node(format!("node-{}", number / PODS_PER_NODE))
}

/// Policy `number`.
pub(crate) fn policy(size: Size, number: u32) -> NetworkPolicy {
    let namespace: Arc<str> = format!("ns-{}", number % size.namespaces).into();
    let turn = number / size.namespaces;
    let selector = |text: String| text.parse().expect("a selector");
    let ports = vec![PortMatch {
        protocol: Protocol::Tcp,
        ports: Ports::Range(8000, 8000 + u16::try_from(turn % 8).expect("small")),
    }];
    let peer = match number % 3 {
        0 => Peer::Pods(PodPeer {
            namespaces: Scope::Only(namespace.clone()),
            pods: selector(format!("app=app-{}", turn % 10)),
        }),
        1 => Peer::Pods(PodPeer {
            namespaces: Scope::Matching(selector(format!("team=team-{}", number % 50))),
            pods: selector(format!("tier=tier-{}", turn % 3)),
        }),
        _ => Peer::Block(Block {
            cidr: "10.0.0.0/8".parse().expect("a network"),
            except: vec!["10.32.0.0/20".parse().expect("a network")],
        }),
    };
    let rule = Rule {
        peers: vec![peer],
        ports,
    };
    let name = ObjectName::new(namespace, format!("policy-{number}"));
    let policy = NetworkPolicy::new(name, selector(format!("app=app-{}", turn % 10)));
    if number.is_multiple_of(2) {
        policy.with_ingress([rule])
    } else {
        policy.with_egress([rule])
    }
}
