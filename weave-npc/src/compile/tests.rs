use super::*;
use crate::Labels;
use crate::model::{
    Key as ObjectKey, NetworkPolicy, Object, ObjectName, Peer, Pod, PodPeer, Rule, Scope,
};
use crate::ruleset::{Change, Fate, Hook, Packet, Transport, Walk};

fn pod(name: &str, last: u8) -> Pod {
    let labels: Labels = [("pod", name)].into_iter().collect();
    Pod::new(ObjectName::new("x", name), Uid::new(name))
        .with_addresses([[10, 0, 0, last].into()])
        .with_labels(labels)
        .on_node("n1")
}

fn policy(name: &str, pods: &str, peers: &str) -> NetworkPolicy {
    let peer = Peer::Pods(PodPeer {
        namespaces: Scope::Only("x".into()),
        pods: peers.parse().unwrap(),
    });
    let rule = Rule {
        peers: vec![peer],
        ports: vec![],
    };
    NetworkPolicy::new(ObjectName::new("x", name), pods.parse().unwrap()).with_ingress([rule])
}

fn passes(compiler: &Compiler, source: u8, destination: u8) -> bool {
    let packet = Packet::new(
        [10, 0, 0, source].into(),
        [10, 0, 0, destination].into(),
        6,
        Transport::Ports(40000, 80),
    );
    compiler.ruleset().check().unwrap();
    Walk::new(compiler.ruleset())
        .run(Hook::Forward, &packet)
        .fate
        == Fate::Accept
}

fn three() -> (World, Compiler) {
    let mut world = World::new();
    for (name, last) in [("a", 1), ("b", 2), ("c", 3)] {
        let _ = world.apply(Object::Pod(pod(name, last)));
    }
    let _ = world.apply(Object::Policy(policy("p", "pod=a", "pod=b")));
    let compiler = Compiler::of("n1", &world, Options::default());
    (world, compiler)
}

#[test]
fn a_policy_lets_its_peer_through_and_nobody_else() {
    let (_, compiler) = three();

    assert!(passes(&compiler, 2, 1));
    assert!(!passes(&compiler, 3, 1));
    assert!(passes(&compiler, 1, 3), "c is not isolated");
    assert!(passes(&compiler, 1, 1), "a reaches itself");
}

#[test]
fn a_label_costs_one_element() {
    let (mut world, mut compiler) = three();

    let touched = world.apply(Object::Pod(pod("c", 3).with_labels(pod("b", 0).labels)));
    let transaction = compiler.update(&world, &touched);

    assert!(passes(&compiler, 3, 1));
    assert!(
        matches!(&transaction.changes[..], [Change::AddElements { elements, .. }] if elements.len() == 1),
        "{transaction:?}"
    );
}

#[test]
fn an_object_that_says_nothing_new_changes_nothing() {
    let (mut world, mut compiler) = three();

    let mut touched = world.apply(Object::Pod(pod("c", 3)));
    touched.merge(world.apply(Object::Policy(policy("p", "pod=a", "pod=b"))));

    assert!(compiler.update(&world, &touched).is_empty());
}

#[test]
fn pods_with_the_same_policies_share_a_chain() {
    let (mut world, mut compiler) = three();
    let chains = |compiler: &Compiler| compiler.ruleset().tables[compiler.table()].chains.len();
    let before = chains(&compiler);

    let touched = world.apply(Object::Pod(pod("d", 4).with_labels(pod("a", 0).labels)));
    let _ = compiler.update(&world, &touched);

    assert_eq!(chains(&compiler), before);
    assert!(passes(&compiler, 2, 4) && !passes(&compiler, 3, 4));
}

#[test]
fn pods_of_other_nodes_get_no_chains_but_are_peers() {
    let (mut world, _) = three();
    let far = pod("b", 2).on_node("n2");
    let _ = world.apply(Object::Pod(far));

    let compiler = Compiler::of("n2", &world, Options::default());
    let near = Compiler::of("n1", &world, Options::default());

    assert!(compiler.ruleset().tables[compiler.table()].chains.len() == 1);
    assert!(passes(&near, 2, 1));
}

#[test]
fn a_log_prefix_leads_back_to_the_policies() {
    let (_, compiler) = three();
    let packet = Packet::new(
        [10, 0, 0, 3].into(),
        [10, 0, 0, 1].into(),
        6,
        Transport::Ports(40000, 80),
    );
    let outcome = Walk::new(compiler.ruleset()).run(Hook::Forward, &packet);

    let prefix = outcome.logged().next().unwrap();

    let denial = compiler.denial(prefix).unwrap();
    assert_eq!(denial.to_string(), "ingress denied by x/p");
    assert_eq!(compiler.denial("deny in-0000000000000000-d"), None);
    assert_eq!(compiler.denial("nonsense"), None);
}

#[test]
fn an_address_is_closed_until_its_pod_is_known() {
    let (mut world, mut compiler) = three();

    let transaction = compiler.hold([10, 0, 0, 9].into(), Some(Duration::from_secs(60)));
    assert_eq!(transaction.changes.len(), 1);
    assert!(!passes(&compiler, 3, 9) && !passes(&compiler, 9, 3));
    let touched = world.apply(Object::Pod(pod("new", 9)));
    let _ = compiler.update(&world, &touched);
    assert!(passes(&compiler, 3, 9));

    let _ = compiler.hold([10, 0, 0, 8].into(), None);
    let _ = compiler.release([10, 0, 0, 8].into());
    assert!(passes(&compiler, 3, 8));
}

#[test]
fn everything_that_was_made_is_removed_again() {
    let (mut world, mut compiler) = three();
    let empty = Compiler::new("n1", Options::default());

    let mut touched = world.remove(&ObjectKey::Policy(ObjectName::new("x", "p")));
    let _ = compiler.update(&world, &touched);
    assert_eq!(compiler.ruleset(), empty.ruleset());

    touched = Touched::default();
    for uid in ["a", "b", "c"] {
        touched.merge(world.remove(&ObjectKey::Pod(Uid::new(uid))));
    }
    assert!(compiler.update(&world, &touched).is_empty());
}
