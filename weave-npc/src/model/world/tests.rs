use std::net::IpAddr;

use super::*;
use crate::model::Phase;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(uid: &str, addresses: &[&str]) -> Pod {
    Pod::new(ObjectName::new("x", format!("pod-{uid}")), Uid::new(uid))
        .with_addresses(addresses.iter().map(|text| address(text)))
        .on_node("n1")
}

fn apply(world: &mut World, pod: &Pod) -> BTreeSet<Uid> {
    world.apply(Object::Pod(pod.clone())).pods
}

fn owner(world: &World, text: &str) -> String {
    match world.host(address(text)) {
        Host::Pod(pod) => pod.uid.to_string(),
        Host::Node(name) => format!("node {name}"),
        Host::Outside => "outside".to_owned(),
    }
}

#[test]
fn the_last_claim_wins_an_address_until_it_ends() {
    let mut world = World::new();
    apply(&mut world, &pod("old", &["10.0.0.1"]));

    let touched = apply(&mut world, &pod("new", &["10.0.0.1"]));

    assert_eq!(owner(&world, "10.0.0.1"), "new");
    assert!(touched.contains(&Uid::new("old")), "the loser is named");
    let touched = world.remove(&Key::Pod(Uid::new("new")));
    assert_eq!(owner(&world, "10.0.0.1"), "old");
    assert!(touched.pods.contains(&Uid::new("old")));
}

#[test]
fn the_end_of_the_old_pod_may_be_heard_late() {
    let mut world = World::new();
    apply(&mut world, &pod("old", &["10.0.0.1"]));
    apply(&mut world, &pod("new", &["10.0.0.1"]));

    apply(&mut world, &pod("old", &["10.0.0.1"]));
    assert_eq!(
        owner(&world, "10.0.0.1"),
        "new",
        "a repeated event claims nothing"
    );

    let _ = world.remove(&Key::Pod(Uid::new("old")));
    assert_eq!(owner(&world, "10.0.0.1"), "new");
}

#[test]
fn a_pod_that_stays_goes_before_one_that_is_terminating() {
    let mut world = World::new();
    let mut dying = pod("dying", &["10.0.0.1"]);
    dying.is_terminating = true;

    apply(&mut world, &pod("staying", &["10.0.0.1"]));
    apply(&mut world, &dying);

    assert_eq!(owner(&world, "10.0.0.1"), "staying");
}

#[test]
fn a_finished_pod_gives_its_address_up() {
    let mut world = World::new();
    let mut job = pod("job", &["10.0.0.1"]);
    apply(&mut world, &job);

    job.phase = Phase::Succeeded;
    let touched = apply(&mut world, &job);

    assert_eq!(owner(&world, "10.0.0.1"), "outside");
    assert!(touched.contains(&Uid::new("job")));
}

#[test]
fn a_pod_owns_each_of_its_addresses_on_its_own() {
    let mut world = World::new();
    let dual = pod("dual", &["10.0.0.1", "fd00::1"]);
    apply(&mut world, &dual);

    apply(&mut world, &pod("other", &["fd00::1"]));

    let owned: Vec<_> = world.owned_addresses(&dual).collect();
    assert_eq!(owned, [address("10.0.0.1")]);
}

#[test]
fn a_pod_on_the_nodes_network_has_the_nodes_addresses() {
    let mut world = World::new();
    let mut agent = pod("agent", &["192.168.0.1"]);
    agent.host_network = true;

    apply(&mut world, &agent);
    assert_eq!(owner(&world, "192.168.0.1"), "node n1");
    let node = Node::new("n1", Labels::new()).with_addresses([address("192.168.0.1")]);
    let _ = world.apply(Object::Node(node));
    let _ = world.remove(&Key::Pod(Uid::new("agent")));
    assert_eq!(
        owner(&world, "192.168.0.1"),
        "node n1",
        "the node says so itself"
    );

    let _ = world.remove(&Key::Node("n1".into()));
    assert_eq!(owner(&world, "192.168.0.1"), "outside");
}

#[test]
fn a_pod_that_leaves_the_nodes_network_is_an_endpoint() {
    let mut world = World::new();
    let mut agent = pod("agent", &["10.0.0.9"]);
    agent.host_network = true;
    apply(&mut world, &agent);

    agent.host_network = false;
    apply(&mut world, &agent);

    assert_eq!(owner(&world, "10.0.0.9"), "agent");
}

#[test]
fn policies_of_a_namespace_are_found_without_those_of_its_neighbours() {
    use crate::Selector;
    let policy = |namespace: &str, name: &str| {
        let name = ObjectName::new(namespace, name);
        Object::Policy(NetworkPolicy::new(name, Selector::everything()))
    };
    let world: World = [
        policy("x", "b"),
        policy("x-y", "c"),
        policy("x", "a"),
        policy("w", "a"),
    ]
    .into_iter()
    .collect();

    let namespace = Arc::from("x");
    let names: Vec<_> = world
        .policies_in(&namespace)
        .map(|p| p.name.to_string())
        .collect();

    assert_eq!(names, ["x/a", "x/b"]);
}

#[test]
fn a_namespace_that_is_not_known_carries_its_name() {
    let world = World::new();

    let labels = world.namespace_labels(&Arc::from("x"));

    assert_eq!(labels.value(Namespace::NAME_LABEL), Some("x"));
}
