use super::*;
use crate::kube::nodes::Node;

fn me(name: &str) -> Me {
    Me {
        peer: format!("peer-{name}"),
        node: name.to_owned(),
        uid: Some(format!("uid-{name}")),
    }
}

fn nodes(names: &[&str]) -> Nodes {
    let node = |name: &&str| Node {
        name: (*name).to_owned(),
        uid: format!("uid-{name}"),
        address: None,
        available: None,
    };
    names.iter().map(node).collect()
}

fn record(names: &[&str]) -> Record {
    let mut record = Record::default();
    for name in names {
        record.join(&me(name));
    }
    record
}

fn view(names: &[&str]) -> View {
    View {
        connected: names.iter().map(|name| format!("peer-{name}")).collect(),
        has_ring: true,
    }
}

fn take_over_c() -> Step {
    Step::TakeOver {
        peer: "peer-c".to_owned(),
        node: "c".to_owned(),
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn left(step: Step) -> Vec<String> {
    match step {
        Step::Rest(left) => left.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lost_peer_is_locked_taken_over_twice_and_removed() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let (nodes, view) = (nodes(&["a", "b"]), view(&["a", "b"]));
    let Step::Lock { peer, record } =
        reclaimer.next(at(0), &record(&["a", "b", "c"]), &nodes, &view)
    else {
        panic!("no lock")
    };
    assert_eq!(peer, "peer-c");
    assert_eq!(record.lock("peer-c"), Some("peer-a"));
    reclaimer.handle_locked("peer-c");

    let again = take_over_c();
    assert_eq!(reclaimer.next(at(1), &record, &nodes, &view), again);
    reclaimer.handle_taken(at(1), "peer-c", 64);
    let wait = reclaimer.next(at(1), &record, &nodes, &view);
    assert_eq!(wait, Step::Wait(at(1) + SETTLE));
    assert_eq!(reclaimer.next(at(4), &record, &nodes, &view), again);
    reclaimer.handle_taken(at(4), "peer-c", 0);

    let Step::Remove { record, .. } = reclaimer.next(at(4), &record, &nodes, &view) else {
        panic!("not removed")
    };
    assert!(record.entry("peer-c").is_none() && record.lock("peer-c").is_none());
    assert!(left(reclaimer.next(at(5), &record, &nodes, &view)).is_empty());
}

#[test]
fn what_the_mesh_sees_is_left_alone() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let record = record(&["a", "b", "c"]);

    let step = reclaimer.next(at(0), &record, &nodes(&["a", "b"]), &view(&["a", "b", "c"]));

    assert_eq!(left(step), ["peer-c is connected"]);
}

#[test]
fn a_locked_peer_is_left_to_its_holder_while_that_is_listed() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let (nodes, view) = (nodes(&["a", "b"]), view(&["a", "b"]));
    let mut record = record(&["a", "b", "c"]);
    record.set_lock("peer-c", "peer-b");

    let step = reclaimer.next(at(0), &record, &nodes, &view);
    assert_eq!(left(step), ["peer-c is being removed by peer-b"]);

    record.set_lock("peer-c", "peer-gone");
    let step = reclaimer.next(at(0), &record, &nodes, &view);
    assert!(matches!(step, Step::Lock { .. }), "{step:?}");
}

#[test]
fn an_interrupted_removal_of_ours_goes_on() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let mut record = record(&["a", "c"]);
    record.set_lock("peer-c", "peer-a");

    let step = reclaimer.next(at(0), &record, &nodes(&["a"]), &view(&["a"]));

    assert_eq!(step, take_over_c());
}

#[test]
fn a_node_that_came_back_is_unlocked() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let mut record = record(&["a", "c"]);
    record.set_lock("peer-c", "peer-a");

    let step = reclaimer.next(at(0), &record, &nodes(&["a", "c"]), &view(&["a"]));

    let Step::Unlock { peer, record } = step else {
        panic!("{step:?}")
    };
    assert_eq!((peer.as_str(), record.lock("peer-c")), ("peer-c", None));
}

#[test]
fn a_node_created_again_under_its_name_does_not_keep_the_old_peer() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let record = record(&["a", "c"]);
    let mut nodes = nodes(&["a", "c"]);
    let mut again = nodes.find("c").unwrap().clone();
    again.uid = "uid-of-another".to_owned();
    nodes.insert(again);

    let step = reclaimer.next(at(0), &record, &nodes, &view(&["a"]));

    assert!(matches!(step, Step::Lock { .. }), "{step:?}");
}

#[test]
fn an_old_entry_without_a_uid_is_judged_by_its_node_name() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let (annotations, _) = record(&["a", "c"]).into_parts();
    let record = Record::read(annotations, BTreeMap::new()).unwrap();
    let mut nodes = nodes(&["a", "c"]);
    let mut again = nodes.find("c").unwrap().clone();
    again.uid = "uid-of-another".to_owned();
    nodes.insert(again);

    let step = reclaimer.next(at(0), &record, &nodes, &view(&["a"]));

    assert!(left(step).is_empty());
}

#[test]
fn the_peer_this_machine_was_before_is_lost() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let mut record = record(&["a"]);
    record.join(&Me {
        peer: "peer-before".to_owned(),
        ..me("a")
    });

    let step = reclaimer.next(at(0), &record, &nodes(&["a"]), &view(&["a"]));

    assert!(matches!(step, Step::Lock { .. }), "{step:?}");
}

#[test]
fn nothing_is_taken_without_a_ring_or_alone() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let record = record(&["a", "b", "c"]);
    let nodes = nodes(&["a", "b"]);
    let no_ring = View {
        has_ring: false,
        ..view(&["a", "b"])
    };

    let step = reclaimer.next(at(0), &record, &nodes, &no_ring);
    assert_eq!(left(step), ["peer-c waits for the ring"]);
    let step = reclaimer.next(at(0), &record, &nodes, &view(&["a"]));
    assert_eq!(
        left(step),
        ["peer-c waits for a connection to another peer"]
    );
}

#[test]
fn a_refusal_is_tried_again_in_the_next_round() {
    let mut reclaimer = Reclaimer::new(me("a"));
    let (nodes, view) = (nodes(&["a"]), view(&["a"]));
    let mut record = record(&["a", "c"]);
    record.set_lock("peer-c", "peer-a");

    reclaimer.handle_refused("peer-c", "it is connected");
    let step = reclaimer.next(at(0), &record, &nodes, &view);
    assert_eq!(left(step), ["peer-c: it is connected"]);
    reclaimer.begin();

    let step = reclaimer.next(at(9), &record, &nodes, &view);
    assert_eq!(step, take_over_c());
}

#[test]
fn whoever_is_not_listed_removes_nobody() {
    let mut reclaimer = Reclaimer::new(me("a"));

    let step = reclaimer.next(at(0), &record(&["c"]), &nodes(&["a"]), &view(&["a"]));

    assert!(left(step).is_empty());
}
