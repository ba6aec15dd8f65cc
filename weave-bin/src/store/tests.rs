use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory of a test's own, gone when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weave-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn state() -> State {
    State {
        range: Some("10.32.0.0/12".parse().unwrap()),
        peers: vec!["host-2".to_owned()],
        ..State::new("00:00:00:00:00:01")
    }
}

/// The range of [`state`].
fn ranges() -> Vec<IpNet> {
    state().range.into_iter().collect()
}

#[test]
fn a_state_survives_saving_and_loading() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("deep/er/weave"));

    assert!(store.load().unwrap().is_none());
    let mut file = store.open().unwrap();
    assert_eq!(file.stored(), None);
    file.save(&state()).unwrap();
    drop(file);

    let loaded = store.load().unwrap().unwrap();
    assert_eq!(loaded, state());
    assert_eq!(store.open().unwrap().stored(), Some(&state()));
    assert!(
        loaded
            .check(store.path(), &state().peer_name, &ranges())
            .is_ok()
    );
    assert!(store.path().ends_with("weavedata.db"));
}

#[test]
fn another_name_or_range_is_refused_with_a_remedy() {
    let path = Path::new("/db/weave.state");
    let other: IpNet = "10.0.0.0/16".parse().unwrap();

    let name = state()
        .check(path, "00:00:00:00:00:02", &ranges())
        .unwrap_err()
        .to_string();
    let range = state()
        .check(path, &state().peer_name, &[other])
        .unwrap_err()
        .to_string();

    assert!(name.contains("belongs to peer 00:00:00:00:00:01"), "{name}");
    assert!(
        name.contains("start with --name 00:00:00:00:00:01"),
        "{name}"
    );
    assert!(
        range.contains("start with --ipalloc-range 10.32.0.0/12"),
        "{range}"
    );
}

#[test]
fn a_state_without_range_fits_any_range() {
    let plain = State {
        range: None,
        ..state()
    };

    assert!(
        plain
            .check(Path::new("x"), &plain.peer_name, &ranges())
            .is_ok()
    );
    assert!(state().check(Path::new("x"), &plain.peer_name, &[]).is_ok());
}

/// The state of a host with both families.
fn dual() -> State {
    let mut state = state();
    for (range, ident) in [("10.32.0.0/12", "four"), ("fd00:32::/64", "six")] {
        let range: IpNet = range.parse().unwrap();
        let mut snapshot = Snapshot::new(range, weave_ipam::PeerId(1));
        let held = weave_ipam::Holding::new(true, vec![range]);
        snapshot.owned.insert(ident.to_owned(), held);
        let seeds = vec![weave_ipam::PeerId(1)];
        let entry = weave_ipam::SnapshotEntry::new(range.addr(), seeds[0], 3, 7);
        snapshot.ring = Some(weave_ipam::SnapshotRing::new(seeds, vec![entry]));
        state.set_range(range);
        state.set_snapshot(snapshot);
    }
    state
}

#[test]
fn both_families_survive_and_each_has_its_own_range() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));

    store.open().unwrap().save(&dual()).unwrap();

    let loaded = store.load().unwrap().unwrap();
    assert_eq!(loaded, dual());
    let nets = |ranges: [&str; 2]| ranges.map(|range| range.parse().unwrap());
    let check = |ranges: [IpNet; 2]| loaded.check(store.path(), &loaded.peer_name, &ranges);
    assert!(check(nets(["fd00:32::/64", "10.32.0.0/12"])).is_ok());
    let error = check(nets(["10.32.0.0/12", "fd00:33::/64"])).unwrap_err();
    let remedy = "start with --ipalloc-range fd00:32::/64";
    assert!(error.to_string().contains(remedy), "{error}");
}

/// The file of `state` as a release reads and writes it that knows one family, and as Weave Net does.
#[test]
fn what_knows_one_family_keeps_the_other() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    store.open().unwrap().save(&dual()).unwrap();
    let four = State {
        ipv6: Ipv6::default(),
        ..dual()
    };

    let image = std::fs::read(store.path()).unwrap();
    let found = journal::recover(&image).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&found.body.unwrap()).unwrap();
    let mut keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["ipam", "peer_name", "peers", "range"], "as ever");
    assert_eq!(serde_json::from_value::<State>(body).unwrap(), four);
    assert_eq!(weave::load(&found.values).unwrap().unwrap().ipam, four.ipam);

    // Weave Net writes values of its own and keeps those it does not know: the seal fits no more.
    let mut values = found.values;
    weave::store(&four, &mut values).unwrap();
    let mut back = weave::load(&values).unwrap().unwrap();
    ipv6::load(&values, &mut back).unwrap();
    assert_eq!(back.ipv6, dual().ipv6);
    assert_eq!(back.ipam, dual().ipam);
}

#[test]
fn without_an_ipv6_range_the_file_is_as_ever() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    store.open().unwrap().save(&state()).unwrap();
    let image = std::fs::read(store.path()).unwrap();

    let found = journal::recover(&image).unwrap();

    let keys: Vec<String> = found
        .values
        .keys()
        .map(|key| String::from_utf8_lossy(key).into_owned())
        .collect();
    assert_eq!(keys, ["directPeers", "peername", "version"]);
    // What was the only family before goes where it belongs.
    let mut alone = State::new("00:00:00:00:00:01");
    alone.range = "fd00:32::/64".parse().ok();
    ipv6::load(&found.values, &mut alone).unwrap();
    assert_eq!(
        (alone.range, alone.ipv6.range),
        (None, "fd00:32::/64".parse().ok())
    );
}

#[test]
fn damage_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    store.open().unwrap().save(&state()).unwrap();
    let whole = std::fs::read(store.path()).unwrap();

    for cut in [0, 100, whole.len() / 2] {
        std::fs::write(store.path(), &whole[..cut]).unwrap();
        let error = store.open().unwrap_err();
        let text = error.to_string();

        assert!(matches!(error, Error::Damaged { .. }), "{text}");
        assert!(text.contains("weavedata.db is damaged"), "{text}");
        assert!(text.contains("move it away"), "{text}");
        assert_eq!(std::fs::read(store.path()).unwrap(), whole[..cut]);
    }
    std::fs::write(
        store.path(),
        "something else, longer than a page header".repeat(300),
    )
    .unwrap();
    assert!(matches!(store.open(), Err(Error::Damaged { .. })));
}

#[test]
fn two_daemons_never_have_one_file() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    let mut first = store.open().unwrap();
    first.save(&state()).unwrap();

    let second = store.open().unwrap_err();
    let looked_at = store.load().unwrap();
    drop(first);

    assert!(matches!(second, Error::Locked(_)), "{second}");
    assert_eq!(looked_at, Some(state()));
    assert!(store.open().is_ok());
}

#[test]
fn of_two_that_create_the_file_one_wins() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    let (mut first, mut second) = (store.open().unwrap(), store.open().unwrap());

    first.save(&state()).unwrap();
    let late = second.save(&State {
        peers: Vec::new(),
        ..state()
    });

    assert!(
        matches!(
            late,
            Err(Error::Io {
                action: "create",
                ..
            })
        ),
        "{late:?}"
    );
    assert_eq!(store.load().unwrap(), Some(state()));
}

#[test]
fn a_leftover_of_an_interrupted_start_does_no_harm() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    std::fs::write(
        scratch.path("weavedata.db.tmp"),
        "half of a file".repeat(4000),
    )
    .unwrap();

    store.open().unwrap().save(&state()).unwrap();

    assert_eq!(store.load().unwrap(), Some(state()));
    assert!(!scratch.path("weavedata.db.tmp").exists());
}

#[test]
fn a_file_moved_away_under_the_daemon_is_not_written() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    let mut file = store.open().unwrap();
    file.save(&state()).unwrap();
    std::fs::rename(store.path(), scratch.path("aside")).unwrap();

    let refused = file.save(&state()).unwrap_err();
    std::fs::rename(scratch.path("aside"), store.path()).unwrap();

    assert!(
        refused.to_string().contains("put that one back"),
        "{refused}"
    );
    file.save(&state()).unwrap();
}

#[test]
fn a_save_is_one_sync() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    let mut file = store.open().unwrap();
    file.save(&state()).unwrap();
    let before = file.syncs();

    file.save(&state()).unwrap();
    let saved = file.syncs() - before;
    let was_settled = file.is_settled();
    file.settle().unwrap();

    assert_eq!((saved, was_settled, file.is_settled()), (1, false, true));
    assert_eq!(file.syncs(), before + 2);
}
