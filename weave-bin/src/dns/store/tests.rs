use proptest::prelude::*;

use super::*;

fn name(n: u64) -> PeerName {
    PeerName::try_from(n).unwrap()
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 32, 0, last)
}

fn entry(hostname: &str, origin: u64, version: i64, tombstone: i64) -> Entry {
    Entry {
        key: Key {
            hostname: hostname.into(),
            origin: name(origin),
            container: "c".into(),
            address: address(1),
        },
        life: Life { version, tombstone },
    }
}

/// The store of peer `us` that knows peers 1 to 4.
fn store(us: u64) -> Store {
    let mut store = Store::new(name(us));
    let _ = store.set_known(NOW, (1..=4).map(name).collect());
    store
}

fn all(store: &Store) -> Vec<Entry> {
    let entries = store.iter();
    entries
        .map(|(key, life)| Entry {
            key: key.clone(),
            life,
        })
        .collect()
}

fn lives(store: &Store) -> Vec<(i64, i64)> {
    let entries = store.iter();
    entries
        .map(|(_, life)| (life.version, life.tombstone))
        .collect()
}

const NOW: i64 = 1_795_211_400;

/// Entries of peers 2 to 4, few enough that copies of the same entry meet.
fn copies() -> impl Strategy<Value = Vec<Entry>> {
    let copy = (0..3_usize, 2..5_u64, 0..4_i64, 0..3_i64);
    proptest::collection::vec(copy, 0..24).prop_map(|copies| {
        let entry = |(host, origin, version, dead): (usize, u64, i64, i64)| {
            let names = ["web.weave.local.", "WEB.weave.local.", "db.weave.local."];
            let tombstone = if dead == 0 { 0 } else { NOW - dead };
            entry(names[host], origin, version, tombstone)
        };
        copies.into_iter().map(entry).collect()
    })
}

proptest! {
    /// N1.
    #[test]
    fn copies_agree_in_any_order_and_number(
        (copies, shuffled) in copies().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        cut in 0..24_usize,
    ) {
        let (mut one, mut other, mut third) = (store(1), store(1), store(1));
        let _ = one.merge(NOW, copies.clone());
        for entry in &shuffled {
            let _ = other.merge(NOW, [entry.clone()]);
        }
        let (head, tail) = shuffled.split_at(cut.min(shuffled.len()));
        let mut half = store(1);
        let _ = half.merge(NOW, tail.to_vec());
        let _ = third.merge(NOW, all(&half));
        let _ = third.merge(NOW, head.to_vec());

        prop_assert_eq!(all(&one), all(&other));
        prop_assert_eq!(all(&one), all(&third));
        let revision = one.revision();
        let again = one.merge(NOW, copies);
        prop_assert!(!again.is_news && !again.is_regained);
        prop_assert_eq!(one.revision(), revision);
    }

    /// N1 and N2: however changes, gossip and losses of memory mix, after exchanges until nothing
    /// is news all hold the same, and of each peer what it says itself.
    #[test]
    fn peers_end_up_with_what_each_origin_says(
        steps in proptest::collection::vec((0..5_u8, 0..3_usize, 0..3_usize, 0..3_u8), 1..60),
    ) {
        let mut peers: Vec<Store> = (1..=3).map(store).collect();
        for (at, (step, who, other, what)) in (0_i64..).zip(steps) {
            let (now, host) = (NOW + at, format!("n{what}.weave.local."));
            match step {
                0 | 1 => { peers[who].add(&host, "c", address(what)).unwrap(); }
                2 => { peers[who].remove(now, &Selection { hostname: Some(host), ..Selection::default() }); }
                3 => { let told = all(&peers[other]); let _ = peers[who].merge(now, told); }
                _ => peers[who] = store(u64::try_from(who).unwrap() + 1),
            }
        }
        let said: Vec<Vec<Key>> = (1_u64..).zip(&peers)
            .map(|(own, store)| live(store).into_iter().filter(|key| key.origin == name(own)).collect())
            .collect();
        for _ in 0..8 {
            for (who, other) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
                let told = all(&peers[other]);
                let _ = peers[who].merge(NOW + 100, told);
            }
        }
        let truth: BTreeSet<Key> = said.into_iter().flatten().collect();
        for store in &peers {
            prop_assert_eq!(all(store), all(&peers[0]));
            prop_assert_eq!(live(store).into_iter().collect::<BTreeSet<_>>(), truth.clone());
        }
    }

    /// The index by address tells what a search of everything tells, whatever happened.
    #[test]
    fn both_indexes_agree(told in copies(), gone in 2..5_u64) {
        let mut store = store(1);
        let _ = store.merge(NOW, told);
        store.add("own.weave.local.", "c", address(1)).unwrap();
        let _ = store.set_known(NOW, (2..5).filter(|n| *n != gone).map(name).collect());
        store.sweep(NOW + 1);

        let found: Vec<&str> = store.names(address(1)).collect();
        let searched: Vec<&str> = store.iter()
            .filter(|(_, life)| life.is_live()).map(|(key, _)| &*key.hostname).collect();
        prop_assert_eq!(found, searched);
        prop_assert_eq!(store.by_address.len(), store.entries.len());
        prop_assert_eq!(store.counts.values().sum::<usize>(), store.entries.len());
        prop_assert_eq!(store.weight, store.iter().map(|(key, _)| weight(key)).sum::<usize>());
    }
}

fn live(store: &Store) -> Vec<Key> {
    let entries = store.iter().filter(|(_, life)| life.is_live());
    entries.map(|(key, _)| key.clone()).collect()
}

#[test]
fn a_name_has_all_its_addresses_in_any_case() {
    let mut store = store(1);
    store.add("web.weave.local.", "c1", address(11)).unwrap();
    store.add("WEB.weave.local.", "c2", address(12)).unwrap();
    store.add("web.weave.local.", "c3", address(11)).unwrap();
    store.add("web2.weave.local.", "c4", address(13)).unwrap();

    let found = store.addresses("Web.Weave.LOCAL.");

    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [address(11), address(12)]
    );
    let names: Vec<&str> = store.names(address(12)).collect();
    assert_eq!(names, ["WEB.weave.local."]);
    assert_eq!(store.own(), 4);
}

#[test]
fn a_deletion_is_a_new_version_with_a_tombstone_and_so_is_a_return() {
    let mut store = store(1);
    assert_eq!(store.add("a.weave.local.", "c", address(1)), Ok(true));
    assert_eq!(store.add("a.weave.local.", "c", address(1)), Ok(false));
    assert_eq!(lives(&store), [(0, 0)]);

    let by = |container: &str| Selection {
        container: Some(container.to_owned()),
        ..Selection::default()
    };
    assert_eq!(store.remove(NOW, &by("other")), 0);
    assert_eq!(store.remove(NOW, &by("c")), 1);
    assert_eq!(store.remove(NOW + 5, &by("c")), 0, "it is deleted already");
    assert_eq!(lives(&store), [(1, NOW)]);
    assert!(store.addresses("a.weave.local.").is_empty());

    assert_eq!(store.add("a.weave.local.", "c", address(1)), Ok(true));
    assert_eq!(lives(&store), [(2, 0)]);
}

#[test]
fn entries_of_others_are_not_ours_to_delete() {
    let mut store = store(1);
    let _ = store.merge(NOW, [entry("a.weave.local.", 2, 0, 0)]);

    assert_eq!(store.remove(NOW, &Selection::default()), 0);
    assert_eq!(store.addresses("a.weave.local.").len(), 1);
}

/// N2.
#[test]
fn a_peer_that_lost_its_memory_has_its_word_again() {
    let mut store = store(1);
    store.add("kept.weave.local.", "c", address(1)).unwrap();

    // Others remember an earlier life: one name that is gone, one that was deleted since.
    let told = [
        entry("gone.weave.local.", 1, 4, 0),
        entry("kept.weave.local.", 1, 3, NOW - 9),
    ];
    let merged = store.merge(NOW, told);

    assert!(merged.is_regained);
    assert_eq!(lives(&store), [(5, NOW), (4, 0)]);
    let again = store.merge(NOW, all(&store));
    assert_eq!(again, Merged::default());
}

/// N3.
#[test]
fn entries_of_a_peer_that_left_are_gone_and_those_of_a_stranger_wait_for_it() {
    let mut store = store(1);
    store.add("own.weave.local.", "c", address(9)).unwrap();
    let told = [
        entry("two.weave.local.", 2, 0, 0),
        entry("new.weave.local.", 7, 0, 0),
    ];
    assert_eq!(store.merge(NOW, told.clone()).refused, 0);
    assert_eq!(
        store.addresses("new.weave.local.").len(),
        0,
        "nobody knows peer 7"
    );

    let known = [1, 7].map(name).into();
    assert!(store.set_known(NOW + PATIENCE, known).is_news);
    assert_eq!(store.addresses("two.weave.local.").len(), 0, "peer 2 left");
    assert_eq!(store.addresses("new.weave.local.").len(), 1);
    assert_eq!(store.addresses("own.weave.local.").len(), 1);

    let _ = store.set_known(NOW, [name(1)].into());
    let _ = store.merge(NOW, told);
    let late = store.set_known(NOW + PATIENCE + 1, [1, 2, 7].map(name).into());
    assert_eq!(late, Merged::default(), "what waited too long is not taken");
}

/// N4.
#[test]
fn tombstones_end_and_do_not_come_back() {
    let mut store = store(1);
    let dead = entry("a.weave.local.", 2, 1, NOW);
    let _ = store.merge(NOW, [dead.clone()]);

    store.sweep(NOW + TOMBSTONE_SECONDS);
    assert_eq!(store.iter().count(), 1, "half an hour is not over");
    store.sweep(NOW + TOMBSTONE_SECONDS + 1);
    assert!(store.is_empty());

    let later = NOW + TOMBSTONE_SECONDS + 2;
    assert!(!store.merge(later, [dead.clone()]).is_news);
    assert!(store.is_empty());
    // It still ends what it was the end of.
    let _ = store.merge(later, [entry("a.weave.local.", 2, 0, 0)]);
    assert!(store.merge(later, [dead]).is_news);
    assert!(store.addresses("a.weave.local.").is_empty());
}

/// N6.
#[test]
fn a_peer_with_too_many_names_keeps_the_first_ones() {
    let mut store = store(1);
    let many = (0..PER_ORIGIN + 10).map(|n| entry(&format!("n{n}.weave.local."), 2, 0, 0));
    let merged = store.merge(NOW, many);

    assert_eq!((merged.refused, store.iter().count()), (10, PER_ORIGIN));
    assert_eq!(store.addresses("n0.weave.local.").len(), 1);
    assert!(store.merge(NOW, [entry("a.weave.local.", 3, 0, 0)]).is_news);
    assert_eq!(store.add("mine.weave.local.", "c", address(1)), Ok(true));

    let strangers = (0..WAITING + 3).map(|n| entry(&format!("n{n}.weave.local."), 9, 0, 0));
    assert_eq!(store.merge(NOW, strangers).refused, 3);
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let mut store = store(1);
    let mut long = entry("a.weave.local.", 2, 0, 0);
    long.key.container = "x".repeat(256).into();
    let told = [
        entry("", 2, 0, 0),
        entry(&"x".repeat(256), 2, 0, 0),
        entry("\u{fffd}.weave.local.", 2, 0, 0),
        entry("a.weave.local.", 2, -1, 0),
        entry("a.weave.local.", 1, i64::MAX, 0),
        entry("a.weave.local.", 2, 0, -1),
        entry("a.weave.local.", 0, 0, 0),
        long,
    ];

    let merged = store.merge(NOW, told.clone());

    assert_eq!(merged.refused, told.len());
    assert!(store.is_empty());
}
