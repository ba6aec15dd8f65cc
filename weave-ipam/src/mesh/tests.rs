//! The two readers of states against each other.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

use super::{direct, encode_state, state};
use crate::message::State;
use crate::peer::PeerId;
use crate::ring::{Entry, Ring};
use crate::span::{AddressRange, Family, Span};

fn peer() -> impl Strategy<Value = PeerId> {
    any::<u64>().prop_map(PeerId)
}

/// Addresses of few bits and of many, zero among them.
fn number() -> impl Strategy<Value = u128> {
    prop_oneof![0_u128..300, any::<u32>().prop_map(u128::from)]
}

fn ring() -> impl Strategy<Value = Ring> {
    let entry = (number(), peer(), any::<u8>(), any::<u32>());
    let parts = (number(), number(), any::<bool>());
    (parts, peer(), vec(entry, 1..8), vec(peer(), 0..4)).prop_map(
        |((a, b, is_v6), peer, entries, seeds)| {
            let (family, stretch) = if is_v6 {
                (Family::V6, 1 << 90)
            } else {
                (Family::V4, 1)
            };
            let span = Span::between(a.min(b) * stretch, a.max(b) * stretch);
            let entries = entries
                .into_iter()
                .map(|(token, peer, version, free)| Entry {
                    token: token * stretch,
                    peer,
                    version: version.into(),
                    free,
                });
            Ring::from_parts(
                AddressRange { family, span },
                peer,
                entries.collect(),
                seeds,
            )
        },
    )
}

fn message() -> impl Strategy<Value = State> {
    let nicknames = btree_map(peer(), ".{0,9}", 0..4);
    (any::<i64>(), nicknames, proptest::option::of(ring())).prop_map(
        |(unix_seconds, nicknames, ring)| State {
            unix_seconds,
            nicknames,
            votes: None,
            ring: ring.map(Arc::new),
        },
    )
}

proptest! {
    #[test]
    fn what_we_send_is_read_directly(state in message()) {
        let payload = encode_state(&state);

        prop_assert_eq!(direct::decode(&payload), Some(state));
    }

    #[test]
    fn what_is_read_directly_is_what_the_other_reader_finds(
        message in message(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut payload = encode_state(&message);
        for (at, byte) in damage {
            // The message with the value is the last third; before it are definitions.
            let at = payload.len() - 1 - at.index(payload.len() / 3);
            payload[at] = byte;
        }
        if let Some(cut) = cut {
            payload.truncate(cut.index(payload.len()));
        }

        if let Some(found) = direct::decode(&payload) {
            prop_assert_eq!(state::decode(&payload).ok(), Some(found));
        }
    }
}

/// Every ring that a running router sent, whatever the ids of its types.
#[test]
fn what_routers_send_is_read_directly() {
    let file = include_str!("../../tests/vectors/live_router.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let scenarios = file["scenarios"].as_array().unwrap();
    let lists = scenarios
        .iter()
        .map(|s| &s["messages_received_by_the_probe"]);
    let mut count = 0;
    for message in lists.flat_map(|list| list.as_array().unwrap()) {
        let digits = message["hex"].as_str().unwrap().as_bytes();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = pairs.map(|p| u8::from_str_radix(p, 16).unwrap()).collect();
        let is_unicast = message["kind"].as_str().unwrap().starts_with("unicast");
        let body = &bytes[usize::from(is_unicast)..];
        let Ok(expected) = state::decode(body) else {
            continue;
        };
        if expected.votes.is_none() {
            assert_eq!(direct::decode(body), Some(expected));
            count += 1;
        }
    }
    assert!(count >= 3, "only {count}");
}
