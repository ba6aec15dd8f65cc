use super::*;
use crate::compile::isolated_in;
use crate::model::{NetworkPolicy, Node, Uid};
use crate::ruleset::{Change, Fate, Hook, Packet, Ruleset, Transport, Walk};
use crate::{Labels, Selector};

const MS: Duration = Duration::from_millis(1);
const HOLD: Duration = Duration::from_secs(60);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(name: &str, addresses: &[&str]) -> Pod {
    let labels: Labels = [("app", name)].into_iter().collect();
    Pod::new(
        ObjectName::new("shop", name),
        Uid::new(format!("uid-{name}")),
    )
    .with_labels(labels)
    .with_addresses(addresses.iter().map(|text| address(text)))
    .on_node("n1")
}

fn closed(name: &str) -> Object {
    let selector: Selector = format!("app={name}").parse().unwrap();
    let policy = NetworkPolicy::new(ObjectName::new("shop", name), selector);
    Object::Policy(policy.with_ingress([]))
}

fn refusal(kind: &str, name: &str) -> ObjectError {
    let object = ObjectRef {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    };
    ObjectError::new(object, "spec", "is wrong")
}

/// An engine whose changes are carried out on a value.
struct Scene {
    engine: Engine,
    rules: Ruleset,
    now: Duration,
}

impl Scene {
    fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut scene = Self {
            engine: Engine::new("n1", Options::default()),
            rules: Ruleset::new(),
            now: Duration::from_secs(1),
        };
        let listing = Listing::whole(objects.into_iter().collect(), vec![]);
        scene.event(Event::Listed(listing));
        scene
    }

    fn event(&mut self, event: Event) {
        self.engine.handle_event(self.now, event);
        self.step();
    }

    fn claim(&mut self, claim: Claim) {
        self.engine.handle_claim(self.now, claim, HOLD);
        self.step();
    }

    /// Lets the time pass after which changes come; carries them out.
    fn step(&mut self) {
        self.now += COALESCE;
        let is_first = self.engine.revision() == 0;
        let Some(change) = self.engine.poll_change(self.now) else {
            return;
        };
        let (id, table) = self.engine.table();
        if is_first {
            self.rules = Ruleset::new().with(id.clone(), table.clone());
        } else {
            self.rules.step(&change).unwrap();
        }
        assert_eq!(self.rules.tables.get(id), Some(table));
        self.rules.check().unwrap();
    }

    /// True if a packet to `to` passes.
    fn passes(&self, to: &str) -> bool {
        let packet = Packet::new(
            address("10.32.0.99"),
            address(to),
            6,
            Transport::Ports(1, 80),
        );
        Walk::new(&self.rules).run(Hook::Forward, &packet).fate == Fate::Accept
    }
}

#[test]
fn nothing_comes_out_before_every_kind_was_listed() {
    let mut engine = Engine::new("n1", Options::default());
    for kind in Kind::ALL {
        assert!(engine.poll_change(HOLD).is_none(), "{kind} is not known");
        engine.handle_event(MS, Event::Listed(Listing::of(kind, vec![], vec![])));
    }

    assert!(engine.is_synced());
    assert!(engine.poll_change(MS).is_none(), "too early");
    assert!(engine.poll_change(MS + COALESCE).is_some());
    assert!(engine.poll_change(HOLD).is_none(), "nothing more");
}

#[test]
fn a_kind_that_cannot_be_listed_can_be_done_without() {
    let mut scene = Scene::new([Object::Pod(pod("db", &["10.32.0.1"])), closed("db")]);
    scene.event(Event::Unlisted(Kind::Policy));
    assert!(!scene.passes("10.32.0.1"), "what is known stays");

    let mut engine = Engine::new("n1", Options::default());
    for kind in Kind::ALL {
        engine.handle_event(MS, Event::Unlisted(kind));
    }
    assert!(engine.poll_change(HOLD).is_some());
}

#[test]
fn events_that_belong_together_are_one_change() {
    let mut scene = Scene::new([]);
    let now = scene.now;

    scene.engine.handle_event(now, Event::Applied(closed("db")));
    let db = Object::Pod(pod("db", &["10.32.0.1"]));
    scene.engine.handle_event(now + MS, Event::Applied(db));
    scene.step();

    assert_eq!(scene.engine.revision(), 2);
    assert!(!scene.passes("10.32.0.1"));
}

#[test]
fn what_a_listing_does_not_name_is_gone() {
    let mut scene = Scene::new([Object::Pod(pod("db", &["10.32.0.1"])), closed("db")]);
    assert!(!scene.passes("10.32.0.1"));

    let same = vec![Object::Pod(pod("db", &["10.32.0.1"]))];
    scene.event(Event::Listed(Listing::of(Kind::Pod, same, vec![])));
    assert_eq!(scene.engine.revision(), 1, "nothing changed");

    scene.event(Event::Listed(Listing::of(Kind::Policy, vec![], vec![])));
    assert!(scene.passes("10.32.0.1"));
}

#[test]
fn an_object_that_becomes_unusable_stays_in_force_as_it_was() {
    let mut scene = Scene::new([Object::Pod(pod("db", &["10.32.0.1"])), closed("db")]);

    let bad = refusal("NetworkPolicy", "db");
    scene.event(Event::Listed(Listing::of(
        Kind::Policy,
        vec![],
        vec![bad.clone()],
    )));
    assert!(!scene.passes("10.32.0.1"));
    assert_eq!(scene.engine.refused().count(), 1);

    scene.event(Event::Refused(bad));
    assert_eq!(scene.engine.refused().count(), 1);
    assert!(!scene.passes("10.32.0.1"));

    scene.event(Event::Applied(closed("db")));
    assert_eq!(scene.engine.refused().count(), 0);
    scene.event(Event::Refused(refusal("NetworkPolicy", "db")));
    scene.event(Event::Removed(Key::Policy(ObjectName::new("shop", "db"))));
    assert_eq!(scene.engine.refused().count(), 0);
    assert!(scene.passes("10.32.0.1"));
}

#[test]
fn a_document_that_might_be_anything_removes_nothing() {
    let mut scene = Scene::new([Object::Pod(pod("db", &["10.32.0.1"])), closed("db")]);

    let torn = ObjectError::new(ObjectRef::default(), "document at line 1", "is cut off");
    scene.event(Event::Listed(Listing::whole(vec![], vec![torn])));
    assert!(!scene.passes("10.32.0.1"));

    scene.event(Event::Listed(Listing::whole(vec![], vec![])));
    assert!(scene.passes("10.32.0.1"));
    assert_eq!(scene.engine.refused().count(), 0);
}

#[test]
fn a_claimed_address_is_closed_until_its_pod_is_known() {
    let mut scene = Scene::new([closed("db")]);
    let name = ObjectName::new("shop", "db");

    scene.claim(Claim::new(name.clone(), [address("10.32.0.1")]));
    assert!(!scene.passes("10.32.0.1"));
    assert!(!scene.engine.is_placed(&name, &[address("10.32.0.1")]));

    scene.event(Event::Applied(Object::Pod(pod("db", &[]))));
    assert!(scene.engine.is_placed(&name, &[address("10.32.0.1")]));
    assert_eq!(scene.engine.held().count(), 0);
    let own = isolated_in(scene.engine.table().1);
    assert_eq!(own, [address("10.32.0.1")].into());

    scene.event(Event::Applied(Object::Pod(pod("db", &["10.32.0.1"]))));
    assert_eq!(scene.engine.claimed().count(), 0);
    assert!(!scene.passes("10.32.0.1"));
}

#[test]
fn a_claim_for_a_known_pod_is_carried_out_at_once() {
    let mut scene = Scene::new([Object::Pod(pod("free", &[])), closed("db")]);
    let name = ObjectName::new("shop", "free");

    scene.claim(Claim::new(name.clone(), [address("10.32.0.1")]).with_uid(Uid::new("uid-free")));

    assert!(scene.engine.is_placed(&name, &[address("10.32.0.1")]));
    assert!(scene.passes("10.32.0.1"), "no policy selects it");
}

#[test]
fn a_claim_for_another_life_of_the_pod_waits() {
    let mut scene = Scene::new([Object::Pod(pod("db", &["10.32.0.7"]))]);
    let name = ObjectName::new("shop", "db");

    scene.claim(Claim::new(name.clone(), [address("10.32.0.1")]).with_uid(Uid::new("next")));
    assert!(!scene.engine.is_placed(&name, &[address("10.32.0.1")]));
    assert!(!scene.passes("10.32.0.1"));

    let mut next = pod("db", &[]);
    next.uid = Uid::new("next");
    scene.event(Event::Applied(Object::Pod(next)));
    assert!(scene.engine.is_placed(&name, &[address("10.32.0.1")]));
}

#[test]
fn an_address_nobody_turned_out_to_have_opens_in_time() {
    let mut scene = Scene::new([]);
    let carried = [address("10.32.0.1"), address("fd00::1")];
    scene.engine.handle_carried(scene.now, carried, HOLD);
    scene.step();
    assert!(!scene.passes("10.32.0.1"));

    scene.event(Event::Applied(Object::Pod(pod("a", &["10.32.0.1"]))));
    assert!(scene.passes("10.32.0.1"), "its owner is known");

    assert_eq!(
        scene.engine.held().collect::<Vec<_>>(),
        [address("fd00::1")]
    );
    scene.now = scene.engine.poll_timeout().unwrap();
    scene.step();
    assert_eq!(scene.engine.held().count(), 0);
}

#[test]
fn a_claim_whose_pod_never_comes_is_forgotten() {
    let mut scene = Scene::new([]);
    scene.claim(Claim::new(
        ObjectName::new("shop", "db"),
        [address("10.32.0.1")],
    ));
    assert_eq!(scene.engine.claimed().count(), 1);

    scene.now += HOLD;
    scene.step();

    assert_eq!(scene.engine.claimed().count(), 0);
    assert!(scene.passes("10.32.0.1"));
}

#[test]
fn a_claim_that_is_taken_back_leaves_nothing() {
    let mut scene = Scene::new([Object::Pod(pod("db", &[])), closed("db")]);
    let (name, own) = (ObjectName::new("shop", "db"), [address("10.32.0.1")]);
    scene.claim(Claim::new(name.clone(), own));
    assert!(!scene.passes("10.32.0.1"));

    scene.engine.handle_release(scene.now, &name, &own);
    scene.step();

    assert!(scene.passes("10.32.0.1"));
    assert_eq!(scene.engine.claimed().count(), 0);
}

#[test]
fn a_claim_ends_with_its_pod() {
    let mut scene = Scene::new([Object::Pod(pod("db", &[])), closed("db")]);
    scene.claim(Claim::new(
        ObjectName::new("shop", "db"),
        [address("10.32.0.1")],
    ));

    scene.event(Event::Removed(Key::Pod(Uid::new("uid-db"))));

    assert_eq!(scene.engine.claimed().count(), 0);
    assert!(scene.passes("10.32.0.1"));
}

#[test]
fn only_changes_that_may_forbid_are_told() {
    let mut engine = Engine::new("n1", Options::default());
    let listing = Listing::whole(vec![Object::Pod(pod("db", &["10.32.0.1"]))], vec![]);
    engine.handle_event(MS, Event::Listed(listing));
    engine.poll_change(HOLD).unwrap();
    let mut told = |event| {
        engine.handle_event(HOLD, event);
        engine
            .poll_change(HOLD * 2)
            .map(|change| may_tighten(&change))
    };

    assert_eq!(told(Event::Applied(closed("db"))), Some(true));
    let gone = Event::Removed(Key::Pod(Uid::new("uid-db")));
    assert_eq!(told(gone), Some(true), "the chain goes with its last user");
    let node = Node::new("n2", Labels::new());
    assert_eq!(told(Event::Applied(Object::Node(node))), None);
    let only_opens = Transaction {
        changes: vec![Change::AddTable(engine.table().0.clone())],
    };
    assert!(!may_tighten(&only_opens));
}

/// One of a few objects, in one of two states.
fn drawn(which: u8, is_other: bool) -> Object {
    let name = ["a", "b", "c"][usize::from(which % 3)];
    if which < 3 {
        let address = format!("10.32.0.{}", which + 1);
        let own = [address.as_str()];
        let mut pod = pod(name, if is_other { &[] } else { &own });
        pod.labels = [("app", ["a", "b"][usize::from(is_other)])]
            .into_iter()
            .collect();
        return Object::Pod(pod);
    }
    let Object::Policy(policy) = closed(name) else {
        unreachable!("it makes policies");
    };
    Object::Policy(if is_other {
        policy.with_egress([])
    } else {
        policy
    })
}

proptest::proptest! {
    #[test]
    fn the_rules_are_those_of_the_world_that_the_events_describe(
        steps in proptest::collection::vec((0u8..7, 0u8..6, proptest::bool::ANY), 1..40),
    ) {
        let mut scene = Scene::new([]);
        let mut there: BTreeMap<Key, Object> = BTreeMap::new();
        for (deed, which, is_other) in steps {
            let object = drawn(which, is_other);
            match deed {
                0..=2 => {
                    there.insert(object.key(), object.clone());
                    scene.event(Event::Applied(object));
                }
                3 | 4 => {
                    there.remove(&object.key());
                    scene.event(Event::Removed(object.key()));
                }
                5 => {
                    let kind = Kind::of_key(&object.key());
                    there.retain(|key, _| Kind::of_key(key) != kind);
                    there.insert(object.key(), object.clone());
                    let listing = Listing::of(kind, vec![object], vec![]);
                    scene.event(Event::Listed(listing));
                }
                _ => {
                    let name = reference(&object);
                    let refused = ObjectError::new(name, "spec", "is wrong");
                    scene.event(Event::Refused(refused));
                }
            }
        }

        let world = World::from_iter(there.into_values());
        let wanted = Compiler::of("n1", &world, Options::default());
        proptest::prop_assert_eq!(&scene.rules, wanted.ruleset());
    }
}
