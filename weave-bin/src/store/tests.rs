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
        peer_name: "00:00:00:00:00:01".to_owned(),
        range: Some("10.32.0.0/12".parse().unwrap()),
        ipam: None,
        peers: vec!["host-2".to_owned()],
    }
}

#[test]
fn a_state_survives_saving_and_loading() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));

    assert!(store.load().unwrap().is_none());
    store.save(&state()).unwrap();

    let loaded = store.load().unwrap().unwrap();
    assert_eq!(loaded.peers, state().peers);
    assert!(
        loaded
            .check(store.path(), &state().peer_name, state().range)
            .is_ok()
    );
    assert!(store.path().ends_with("weave.state"));
}

#[test]
fn another_name_or_range_is_refused_with_a_remedy() {
    let path = Path::new("/db/weave.state");
    let other: IpNet = "10.0.0.0/16".parse().unwrap();

    let name = state()
        .check(path, "00:00:00:00:00:02", state().range)
        .unwrap_err()
        .to_string();
    let range = state()
        .check(path, &state().peer_name, Some(other))
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
            .check(Path::new("x"), &plain.peer_name, state().range)
            .is_ok()
    );
    assert!(
        state()
            .check(Path::new("x"), &plain.peer_name, None)
            .is_ok()
    );
}

#[test]
fn damage_names_file_and_previous_generation() {
    let scratch = Scratch::new();
    let store = Store::new(&scratch.path("weave"));
    store.save(&state()).unwrap();
    let length = std::fs::metadata(store.path()).unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(store.path())
        .unwrap()
        .set_len(length / 2)
        .unwrap();

    let text = store.load().unwrap_err().to_string();

    assert!(text.contains("weave.state is damaged"), "{text}");
    assert!(text.contains("weave.state.1"), "{text}");
}
