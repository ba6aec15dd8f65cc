use super::*;
use crate::model::{Key, Mode, NetworkPolicy, Node, Object, ObjectName, Pod, Protocol, Rule, Uid};
use crate::{Labels, Selector};

const TCP_80: Transport = Transport::Port(Protocol::Tcp, 80);

fn address(last: u8) -> IpAddr {
    [10, 32, 0, last].into()
}

fn pod(name: &str, last: u8, node: &str) -> Pod {
    Pod::new(ObjectName::new("x", name), Uid::new(name))
        .with_addresses([address(last)])
        .with_labels([("pod", name)].into_iter().collect())
        .on_node(node)
}

fn policy(name: &str) -> NetworkPolicy {
    NetworkPolicy::new(ObjectName::new("x", name), Selector::everything())
}

fn world(policies: impl IntoIterator<Item = NetworkPolicy>) -> World {
    let node = Node::new("n1", Labels::new()).with_addresses([address(200)]);
    [
        Object::Pod(pod("a", 1, "n1")),
        Object::Pod(pod("b", 2, "n2")),
        Object::Node(node),
    ]
    .into_iter()
    .chain(policies.into_iter().map(Object::Policy))
    .collect()
}

fn flow(source: u8, destination: u8) -> Flow {
    Flow::new(address(source), address(destination), TCP_80)
}

#[test]
fn without_policies_everything_is_allowed() {
    let decision = decide(&world([]), &flow(1, 2));

    assert!(decision.allowed);
    assert_eq!(
        decision.to_string(),
        "allowed: egress of x/a is not isolated; ingress of x/b is not isolated"
    );
}

#[test]
fn both_ends_are_asked_and_told() {
    let closed = policy("closed")
        .with_ingress([])
        .with_egress([Rule::default()]);

    let decision = decide(&world([closed]), &flow(1, 2));

    assert!(!decision.allowed && decision.egress.allowed);
    assert_eq!(decision.egress.to_string(), "x/closed allows by egress[0]");
}

#[test]
fn a_pod_is_open_to_its_own_node_and_closed_to_others() {
    let world = world([policy("closed").with_ingress([]).with_egress([])]);

    assert!(decide(&world, &flow(200, 1)).allowed);
    assert!(decide(&world, &flow(1, 200)).allowed);
    assert!(!decide(&world, &flow(200, 2)).allowed, "another node's pod");
    let options = Options {
        filter_own_node: true,
        ..Options::default()
    };
    assert!(!decide_with(&world, &flow(1, 200), options).allowed);
    assert!(decide_with(&world, &flow(200, 1), options).allowed);
}

#[test]
fn a_pod_reaches_itself() {
    let world = world([policy("closed").with_ingress([]).with_egress([])]);

    assert!(decide(&world, &flow(1, 1)).allowed);
    assert!(decide(&world, &flow(1, 1).through_service()).allowed);
}

#[test]
fn an_audited_policy_reports_and_changes_nothing() {
    let audited = policy("audited").with_ingress([]).with_mode(Mode::Audit);

    let decision = decide(&world([audited.clone()]), &flow(1, 2));
    assert!(decision.allowed);
    assert_eq!(
        decision.ingress.to_string(),
        "ingress of x/b is not isolated (audit: x/audited would deny)"
    );

    let open = policy("open").with_ingress([Rule::default()]);
    let decision = decide(&world([audited, open]), &flow(1, 2));
    assert!(
        decision.ingress.would_deny.is_empty(),
        "another policy allows it"
    );
}

#[test]
fn the_missing_label_is_named() {
    let rule = Rule {
        peers: vec![crate::model::Peer::Pods(crate::model::PodPeer {
            namespaces: crate::model::Scope::Only("x".into()),
            pods: "pod=c".parse().unwrap(),
        })],
        ports: vec![],
    };

    let decision = decide(&world([policy("p").with_ingress([rule])]), &flow(1, 2));

    assert_eq!(
        decision.to_string(),
        "denied: ingress of x/b is isolated by x/p; closest is x/p rule 0: \
         asks for pod label pod=c, has pod=a"
    );
}

#[test]
fn an_address_speaks_for_its_last_owner() {
    let mut world = world([policy("closed").with_ingress([])]);
    let moved = Pod::new(ObjectName::new("y", "new"), Uid::new("new"));
    let _ = world.apply(Object::Pod(moved.with_addresses([address(2)])));

    assert!(decide(&world, &flow(1, 2)).allowed, "y has no policy");
    let _ = world.remove(&Key::Pod(Uid::new("new")));
    assert!(!decide(&world, &flow(1, 2)).allowed);
}
