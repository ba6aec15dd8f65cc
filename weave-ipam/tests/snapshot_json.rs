//! A snapshot in a text format: complete, readable, and refused if damaged.
#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use weave_ipam::{Allocator, Config, InitMode, PeerId, Snapshot};

fn config(universe: &str) -> Config {
    let seeds = vec![PeerId(1), PeerId(2)];
    Config::new(universe.parse().unwrap(), PeerId(1)).init(InitMode::Seed(seeds))
}

#[test]
fn a_snapshot_comes_back_from_json() {
    for universe in ["10.32.0.0/12", "fd00::/64"] {
        let mut allocator = Allocator::new(config(universe), None).unwrap();
        let _ = allocator
            .allocate(Duration::ZERO, "pod", None, true)
            .unwrap();
        let snapshot = allocator.snapshot();

        let text = serde_json::to_string(&snapshot).unwrap();
        let read: Snapshot = serde_json::from_str(&text).unwrap();

        assert_eq!(read, snapshot);
        let again = Allocator::new(config(universe), Some(read)).unwrap();
        assert_eq!(again.snapshot(), snapshot);
    }
}

#[test]
fn the_text_is_what_a_person_expects() {
    let mut allocator = Allocator::new(config("10.32.0.0/12"), None).unwrap();
    let _ = allocator
        .allocate(Duration::ZERO, "pod", None, true)
        .unwrap();

    let value = serde_json::to_value(allocator.snapshot()).unwrap();

    assert_eq!(value["peer"], "00:00:00:00:00:01");
    assert_eq!(value["universe"], "10.32.0.0/12");
    assert_eq!(value["ring"]["entries"][1]["token"], "10.40.0.0");
    assert_eq!(value["owned"]["pod"]["addresses"][0], "10.32.0.1/12");
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let allocator = Allocator::new(config("10.32.0.0/12"), None).unwrap();
    let whole = serde_json::to_value(allocator.snapshot()).unwrap();
    let refusal = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut value = whole.clone();
        edit(&mut value);
        let snapshot: Snapshot = serde_json::from_value(value).unwrap();
        Allocator::new(config("10.32.0.0/12"), Some(snapshot))
            .unwrap_err()
            .to_string()
    };

    assert!(refusal(&|value| value["format"] = 9.into()).contains("format 9"));
    let swap = |value: &mut serde_json::Value| {
        value["ring"]["entries"].as_array_mut().unwrap().reverse();
    };
    assert_eq!(
        refusal(&swap),
        "saved address state is damaged: Ring not sorted"
    );
    let family =
        |value: &mut serde_json::Value| value["ring"]["entries"][0]["token"] = "::1".into();
    assert!(refusal(&family).contains("out of range"));
    let twice = |value: &mut serde_json::Value| {
        let holding = serde_json::json!({ "is_container": true, "addresses": ["10.32.0.1/12"] });
        value["owned"] = serde_json::json!({ "a": holding, "b": holding });
    };
    assert!(refusal(&twice).contains("held by both a and b"));
}
