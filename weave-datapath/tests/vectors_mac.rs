//! Who is behind an address, against the cache of Weave Net (`vectors/mac_cache.json`).
//!
//! Two answers differ on purpose: a move is told to the caller (there, flows went on to the old peer),
//! and a local claim on an address of a peer that has gone silent wins (there, it waited 10 minutes).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use weave_datapath::{
    PeerName,
    packet::ethernet::Mac,
    switch::{MAX_AGE, MacTable, Owner},
};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/mac_cache.json")).unwrap()
}

/// `a` is this peer.
fn owner(name: &Value) -> Option<Owner> {
    match name.as_str()? {
        "a" => Some(Owner::Local),
        "b" => Some(Owner::Peer(PeerName(2))),
        other => panic!("unknown peer {other}"),
    }
}

#[test]
fn every_step_leaves_the_same_owner() {
    let vectors = vectors();
    let steps = vectors["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 6);
    let mut table = MacTable::new();
    for (number, step) in steps.iter().enumerate() {
        // Within a moment: nobody has gone silent.
        let now = Duration::from_millis(u64::try_from(number).unwrap());
        let before = table.owner(MAC);
        match step["op"].as_str().unwrap() {
            "add-local-capture" => {
                let accepted = table.learn_local(now, MAC, false);
                assert_eq!(accepted, step["conflict_reported"].is_null(), "{step}");
            }
            "add-forced-remote" => {
                let moved = table.learn_remote(now, MAC, PeerName(2));
                let other = before.filter(|owner| *owner != Owner::Peer(PeerName(2)));
                assert_eq!(moved, other, "a move is told: {step}");
            }
            "delete-peer" => table.forget(PeerName(2)),
            other => panic!("unknown step {other}"),
        }
        assert_eq!(table.owner(MAC), owner(&step["owner_after"]), "{step}");
    }
}

#[test]
fn addresses_are_forgotten_at_the_same_age() {
    let age = Duration::from_secs(vectors()["max_age_s"].as_u64().unwrap());
    assert_eq!(MAX_AGE, age);
    let mut table = MacTable::new();
    assert!(table.learn_local(Duration::ZERO, MAC, false));

    table.sweep(age - Duration::from_secs(1));
    assert_eq!(table.owner(MAC), Some(Owner::Local));
    table.sweep(age);
    assert_eq!(table.owner(MAC), None);
}

#[test]
fn an_address_of_a_silent_peer_can_be_taken_over() {
    let mut table = MacTable::new();
    let _ = table.learn_remote(Duration::ZERO, MAC, PeerName(2));

    assert!(!table.learn_local(Duration::from_millis(900), MAC, false));
    assert!(table.learn_local(Duration::from_secs(2), MAC, false));
}
