use super::*;
use crate::model::{Key, Namespace, Object, ObjectName};

fn pod(namespace: &str, name: &str, last: u8, labels: &[(&str, &str)]) -> Pod {
    let uid = format!("{namespace}/{name}");
    Pod::new(ObjectName::new(namespace, name), Uid::new(uid))
        .with_addresses([[10, 0, 0, last].into()])
        .with_labels(labels.iter().copied().collect())
}

struct Indexed {
    world: World,
    index: Index,
}

impl Indexed {
    fn new() -> Self {
        let mut indexed = Self {
            world: World::new(),
            index: Index::default(),
        };
        for namespace in ["x", "y"] {
            let labels = [("ns", namespace)].into_iter().collect();
            indexed.apply(Object::Namespace(Namespace::new(namespace, labels)));
        }
        indexed
    }

    fn apply(&mut self, object: Object) -> Changes {
        let touched = self.world.apply(object);
        self.index.update(&self.world, &touched)
    }

    fn members(&self, namespaces: &str, pods: &str) -> Vec<String> {
        let peer = PodPeer {
            namespaces: Scope::Matching(namespaces.parse().unwrap()),
            pods: pods.parse().unwrap(),
        };
        let mut names: Vec<_> = self
            .index
            .members(&peer)
            .iter()
            .map(|view| view.pod.name.to_string())
            .collect();
        names.sort();
        names
    }
}

fn filled() -> Indexed {
    let mut indexed = Indexed::new();
    for namespace in ["x", "y"] {
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            let last = u8::try_from(number).unwrap() + if namespace == "x" { 10 } else { 20 };
            indexed.apply(Object::Pod(pod(namespace, name, last, &[("pod", name)])));
        }
    }
    indexed
}

#[test]
fn members_follow_selectors_of_both_kinds() {
    let indexed = filled();

    assert_eq!(indexed.members("", "pod=a"), ["x/a", "y/a"]);
    assert_eq!(indexed.members("ns=x", "pod in (a,b)"), ["x/a", "x/b"]);
    assert_eq!(indexed.members("ns notin (x)", "pod!=a"), ["y/b", "y/c"]);
    assert_eq!(indexed.members("ns=z", ""), Vec::<String>::new());
    assert_eq!(indexed.members("ns", "!pod"), Vec::<String>::new());
    assert_eq!(indexed.members("", "pod").len(), 6);
}

#[test]
fn a_change_of_labels_tells_before_and_after() {
    let mut indexed = filled();

    let changes = indexed.apply(Object::Pod(pod("x", "a", 10, &[("pod", "z")])));

    let change = &changes.pods[0];
    assert_eq!(
        change.before.as_ref().unwrap().pod.labels.value("pod"),
        Some("a")
    );
    assert_eq!(
        change.after.as_ref().unwrap().pod.labels.value("pod"),
        Some("z")
    );
    assert_eq!(indexed.members("", "pod=a"), ["y/a"]);
    assert_eq!(indexed.members("", "pod=z"), ["x/a"]);
}

#[test]
fn a_repeated_object_changes_nothing() {
    let mut indexed = filled();

    let changes = indexed.apply(Object::Pod(pod("x", "a", 10, &[("pod", "a")])));

    assert!(changes.pods.is_empty());
    assert_eq!(indexed.members("", "pod=a"), ["x/a", "y/a"]);
}

#[test]
fn labels_of_a_namespace_move_all_its_pods() {
    let mut indexed = filled();

    let labels = [("ns", "y")].into_iter().collect();
    let changes = indexed.apply(Object::Namespace(Namespace::new("x", labels)));

    assert_eq!(changes.namespaces.len(), 1);
    assert_eq!(indexed.members("ns=y", "pod=a"), ["x/a", "y/a"]);
    assert_eq!(indexed.members("ns=x", ""), Vec::<String>::new());
}

#[test]
fn a_pod_that_loses_its_address_is_no_member() {
    let mut indexed = filled();

    indexed.apply(Object::Pod(pod("y", "thief", 10, &[])));
    assert_eq!(indexed.members("", "pod=a"), ["y/a"]);
    let touched = indexed.world.remove(&Key::Pod(Uid::new("y/thief")));
    indexed.index.update(&indexed.world, &touched);

    assert_eq!(indexed.members("", "pod=a"), ["x/a", "y/a"]);
    assert_eq!(indexed.index.views().count(), 6);
}

#[test]
fn candidates_miss_no_peer_and_are_forgotten() {
    let texts = [
        "",
        "pod=a",
        "pod in (a,b)",
        "pod",
        "!other",
        "pod!=b",
        "pod=b",
    ];
    let peers: Vec<PodPeer> = texts
        .iter()
        .flat_map(|text| {
            [
                Scope::Only("x".into()),
                Scope::Matching(Selector::everything()),
            ]
            .map(|namespaces| PodPeer {
                namespaces,
                pods: text.parse().unwrap(),
            })
        })
        .collect();
    let mut queries = Queries::default();
    for (token, peer) in peers.iter().enumerate() {
        queries.insert(Some(peer), &token);
    }
    queries.insert(None, &99);
    let indexed = filled();

    for view in indexed.index.views() {
        let found: BTreeSet<usize> = queries.candidates(&view.pod).copied().collect();
        for (token, peer) in peers.iter().enumerate() {
            let is_found = found.contains(&token);
            assert!(is_found || !indexed.index.is_member(peer, view), "{peer:?}");
        }
        assert!(found.contains(&99));
    }

    for (token, peer) in peers.iter().enumerate() {
        queries.remove(Some(peer), &token);
    }
    queries.remove(None, &99);
    assert!(queries.is_empty());
}
