//! Random objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weave_npc::model::{
    Action, Block, ClusterNetworkPolicy, ClusterPeer, ClusterPeers, ClusterPort, ClusterRule,
    Direction, Key, Mode, NamedPort, Namespace, NetworkPolicy, Node, Object, ObjectName, Peer,
    Phase, Pod, PodPeer, PortMatch, Ports, Protocol, Rule, Scope, Tier, Uid, World,
};
use weave_npc::{Labels, Requirement, Selector};

use super::draw::Draw;

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const NODES: [&str; 2] = ["n1", "n2"];
const PODS: usize = 12;
const PORTS: [u16; 6] = [53, 79, 80, 81, 82, 90];
const NAMES: [&str; 3] = ["http", "dns", "alt"];

/// A world of some objects of each kind.
pub(crate) fn any_world(draw: &mut Draw) -> World {
    let mut world = World::new();
    for name in NODES {
        let _ = world.apply(Object::Node(node(draw, name)));
    }
    for _ in 0..4 + draw.below(12) {
        let _ = world.apply(Object::Pod(pod(draw)));
    }
    for _ in 0..draw.below(4) {
        let _ = world.apply(Object::Namespace(namespace(draw)));
    }
    for _ in 0..2 + draw.below(8) {
        let _ = world.apply(Object::Policy(policy(draw)));
    }
    if draw.chance(50) {
        for _ in 0..draw.below(5) {
            let _ = world.apply(Object::ClusterPolicy(cluster_policy(draw)));
        }
    }
    world
}

/// An object that is new or replaces one.
pub(crate) fn any_object(draw: &mut Draw) -> Object {
    match draw.below(10) {
        0 => Object::Namespace(namespace(draw)),
        1 => {
            let name = draw.pick(&NODES);
            Object::Node(node(draw, name))
        }
        2..6 => Object::Pod(pod(draw)),
        6..9 => Object::Policy(policy(draw)),
        _ => Object::ClusterPolicy(cluster_policy(draw)),
    }
}

/// The key of an object of `world`, if it has one of the kind that was drawn.
pub(crate) fn any_removal(draw: &mut Draw, world: &World) -> Option<Key> {
    let keys: Vec<Key> = match draw.below(8) {
        0 => world
            .namespaces()
            .map(|n| Key::Namespace(n.name.clone()))
            .collect(),
        1 => world.nodes().map(|n| Key::Node(n.name.clone())).collect(),
        2..5 => world.pods().map(|p| Key::Pod(p.uid.clone())).collect(),
        5..7 => world
            .policies()
            .map(|p| Key::Policy(p.name.clone()))
            .collect(),
        _ => {
            let policies = world.cluster_policies();
            policies
                .map(|p| Key::ClusterPolicy(p.name.clone()))
                .collect()
        }
    };
    (!keys.is_empty()).then(|| draw.pick(&keys))
}

/// An address of pods: few, so that pods take them over from each other.
pub(crate) fn pod_address(draw: &mut Draw, is_v4: bool) -> IpAddr {
    let last = 1 + u8::try_from(draw.below(PODS + 2)).expect("small");
    if is_v4 {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()))
    }
}

/// An address that no pod has.
pub(crate) fn other_address(draw: &mut Draw, is_v4: bool) -> IpAddr {
    let last = 1 + u8::try_from(draw.below(4)).expect("small");
    match (is_v4, draw.chance(50)) {
        (true, true) => Ipv4Addr::new(192, 168, 0, last).into(),
        (true, false) => Ipv4Addr::new(10, 0, 1, last * 60).into(),
        (false, true) => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, last.into()).into(),
        (false, false) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

fn labels(draw: &mut Draw) -> Labels {
    let mut labels = Labels::new();
    for key in ["pod", "tier"] {
        if draw.chance(75) {
            labels.insert(key, draw.pick(&["a", "b", "c"]));
        }
    }
    labels
}

fn namespace(draw: &mut Draw) -> Namespace {
    let name = draw.pick(&NAMESPACES);
    let mut labels = Labels::new();
    if draw.chance(80) {
        labels.insert("ns", draw.pick(&NAMESPACES));
    }
    Namespace::new(name, labels)
}

fn node(draw: &mut Draw, name: &str) -> Node {
    let mut labels = Labels::new();
    labels.insert("role", draw.pick(&["edge", "core"]));
    let last = if name == "n1" { 1 } else { 2 };
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::new(192, 168, 0, last).into()];
    if draw.chance(50) {
        addresses.push(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, last.into()).into());
    }
    Node::new(name, labels).with_addresses(addresses)
}

fn pod(draw: &mut Draw) -> Pod {
    let number = draw.below(PODS);
    let namespace = NAMESPACES[number % NAMESPACES.len()];
    let name = ObjectName::new(namespace, format!("p{number}"));
    // Now and then a pod of the same name is another one.
    let uid = Uid::new(format!("{number}-{}", draw.below(2)));
    let mut addresses = vec![pod_address(draw, true)];
    if draw.chance(50) {
        addresses.push(pod_address(draw, false));
    }
    if draw.chance(5) {
        addresses.clear();
    }
    let mut pod = Pod::new(name, uid)
        .with_labels(labels(draw))
        .on_node(draw.pick(&NODES))
        .with_addresses(addresses);
    pod.is_terminating = draw.chance(10);
    if draw.chance(10) {
        pod.phase = draw.pick(&[
            Phase::Succeeded,
            Phase::Failed,
            Phase::Pending,
            Phase::Unknown,
        ]);
    }
    if draw.chance(5) {
        pod.host_network = true;
        let last = if &*pod.node == "n1" { 1 } else { 2 };
        pod.addresses = vec![Ipv4Addr::new(192, 168, 0, last).into()];
    }
    pod.ports = draw.list(3, |draw| NamedPort {
        name: draw.pick(&NAMES).into(),
        protocol: protocol(draw),
        number: draw.pick(&PORTS),
    });
    pod
}

fn protocol(draw: &mut Draw) -> Protocol {
    draw.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn selector(draw: &mut Draw, keys: &[&str], values: &[&str]) -> Selector {
    let mut selector = Selector::everything();
    for _ in 0..draw.pick(&[0, 1, 1, 1, 2]) {
        let key = draw.pick(keys).to_owned();
        let set = (0..1 + draw.below(2))
            .map(|_| draw.pick(values).to_owned())
            .collect();
        selector = selector.and(match draw.below(6) {
            0..3 => Requirement::In(key, set),
            3 => Requirement::NotIn(key, set),
            4 => Requirement::Exists(key),
            _ => Requirement::DoesNotExist(key),
        });
    }
    selector
}

fn pod_selector(draw: &mut Draw) -> Selector {
    selector(draw, &["pod", "tier"], &["a", "b", "c"])
}

fn namespace_selector(draw: &mut Draw) -> Selector {
    selector(draw, &["ns", Namespace::NAME_LABEL], &NAMESPACES)
}

fn pod_peer(draw: &mut Draw, own: Option<&str>) -> PodPeer {
    let namespaces = match own {
        Some(own) if draw.chance(40) => Scope::Only(own.into()),
        _ => Scope::Matching(namespace_selector(draw)),
    };
    PodPeer {
        namespaces,
        pods: pod_selector(draw),
    }
}

fn block(draw: &mut Draw) -> Block {
    let (cidr, holes): (&str, &[&str]) = draw.pick(&[
        (
            "0.0.0.0/0",
            &["10.0.0.0/8", "10.0.0.4/30", "192.168.0.2/32"][..],
        ),
        (
            "10.0.0.0/24",
            &["10.0.0.0/29", "10.0.0.8/30", "10.0.0.6/32", "10.0.0.128/25"],
        ),
        ("10.0.0.0/16", &["10.0.0.0/24", "10.0.1.0/25"]),
        ("10.0.0.4/30", &["10.0.0.5/32"]),
        ("10.0.0.6/32", &[]),
        ("192.168.0.0/24", &["192.168.0.1/32"]),
        ("::/0", &["fd00::/16", "fd00::4/126"]),
        ("fd00::/64", &["fd00::8/125", "fd00::2/128"]),
        ("2001:db8::/32", &[]),
    ]);
    let mut except: Vec<_> = holes.iter().filter(|_| draw.chance(40)).collect();
    except.sort();
    Block {
        cidr: cidr.parse().expect("a network"),
        except: except
            .iter()
            .map(|hole| hole.parse().expect("a network"))
            .collect(),
    }
}

fn rule(draw: &mut Draw, namespace: &str) -> Rule {
    let peers = draw.list(3, |draw| {
        if draw.chance(65) {
            Peer::Pods(pod_peer(draw, Some(namespace)))
        } else {
            Peer::Block(block(draw))
        }
    });
    let ports = draw.list(3, |draw| PortMatch {
        protocol: protocol(draw),
        ports: match draw.below(6) {
            0 => Ports::All,
            1..3 => Ports::Named(draw.pick(&NAMES).into()),
            _ => {
                let (first, last) = range(draw);
                Ports::Range(first, last)
            }
        },
    });
    Rule { peers, ports }
}

fn range(draw: &mut Draw) -> (u16, u16) {
    let (a, b) = (draw.pick(&PORTS), draw.pick(&PORTS));
    if draw.chance(60) {
        (a, a)
    } else {
        (a.min(b), a.max(b))
    }
}

fn mode(draw: &mut Draw) -> Mode {
    if draw.chance(15) {
        Mode::Audit
    } else {
        Mode::Enforce
    }
}

fn policy(draw: &mut Draw) -> NetworkPolicy {
    let namespace = draw.pick(&NAMESPACES);
    let name = ObjectName::new(namespace, draw.pick(&["p", "q", "r"]));
    let mut policy = NetworkPolicy::new(name, pod_selector(draw)).with_mode(mode(draw));
    if draw.chance(65) {
        policy = policy.with_ingress(draw.list(3, |draw| rule(draw, namespace)));
    }
    if draw.chance(65) {
        policy = policy.with_egress(draw.list(3, |draw| rule(draw, namespace)));
    }
    policy
}

fn cluster_policy(draw: &mut Draw) -> ClusterNetworkPolicy {
    let name: Arc<str> = draw.pick(&["c", "d", "e", "f"]).into();
    let tier = draw.pick(&[Tier::Admin, Tier::Baseline]);
    let priority = draw.pick(&[0, 5, 5, 1000]);
    let mut policy =
        ClusterNetworkPolicy::new(name, tier, priority, pod_peer(draw, None)).with_mode(mode(draw));
    for direction in Direction::BOTH {
        let rules = draw.list(3, |draw| cluster_rule(draw, direction));
        policy = policy.with_rules(direction, rules);
    }
    policy
}

fn cluster_rule(draw: &mut Draw, direction: Direction) -> ClusterRule {
    let peers = (0..draw.below(3)).map(|_| match draw.below(6) {
        0 | 1 if direction == Direction::Egress => {
            let networks = (0..1 + draw.below(2)).map(|_| block(draw).cidr).collect();
            ClusterPeer::Networks(networks)
        }
        2 if direction == Direction::Egress => {
            ClusterPeer::Nodes(selector(draw, &["role"], &["edge", "core"]))
        }
        _ => ClusterPeer::Pods(pod_peer(draw, None)),
    });
    let peers = ClusterPeers::AnyOf(peers.collect());
    let ports = draw.list(2, |draw| match draw.below(4) {
        0 => ClusterPort::All(protocol(draw)),
        1 => ClusterPort::Named(draw.pick(&NAMES).into()),
        _ => {
            let (first, last) = range(draw);
            ClusterPort::Range(protocol(draw), first, last)
        }
    });
    ClusterRule {
        name: "".into(),
        action: draw.pick(&[Action::Accept, Action::Deny, Action::Pass]),
        peers: if draw.chance(5) {
            ClusterPeers::Everybody
        } else {
            peers
        },
        ports,
    }
}

/// Protocol and port of a flow: near the ones that rules name.
pub(crate) fn transport(draw: &mut Draw) -> weave_npc::model::Transport {
    use weave_npc::model::Transport;
    if draw.chance(8) {
        return Transport::Other(draw.pick(&[1, 47, 58]));
    }
    Transport::Port(protocol(draw), draw.pick(&PORTS))
}
