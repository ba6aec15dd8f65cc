//! Messages survive the wire, and whatever comes from it is survived.
#![cfg(feature = "mesh")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use weave_ipam::consensus::{AcceptedValue, Claims, NodeId, ProposalId};
use weave_ipam::mesh::{decode_message, decode_state, encode_message, encode_state};
use weave_ipam::ring::Entry;
use weave_ipam::{AddressRange, Family, Message, PeerId, Ring, Span, State};
use weave_mesh::gob::{Encoder, StructValue, Type, Value};

fn peer() -> impl Strategy<Value = PeerId> {
    any::<u64>().prop_map(PeerId)
}

fn node() -> impl Strategy<Value = NodeId> {
    (peer(), any::<u64>()).prop_map(|(name, uid)| NodeId { name, uid })
}

fn proposal() -> impl Strategy<Value = ProposalId> {
    (any::<u64>(), node()).prop_map(|(round, proposer)| ProposalId { round, proposer })
}

fn claims() -> impl Strategy<Value = Claims> {
    let value = (vec(peer(), 0..4), proposal());
    (proposal(), proposal(), value).prop_map(|(promise, accepted, (peers, origin))| Claims {
        promise,
        accepted,
        value: AcceptedValue { peers, origin },
    })
}

fn range() -> impl Strategy<Value = AddressRange> {
    let span = |a: u128, b: u128| Span::new(a.min(b), a.max(b)).unwrap();
    prop_oneof![
        any::<(u32, u32)>().prop_map(move |(a, b)| AddressRange {
            family: Family::V4,
            span: span(a.into(), b.into()),
        }),
        any::<(u128, u128)>().prop_map(move |(a, b)| AddressRange {
            family: Family::V6,
            span: span(a, b)
        }),
    ]
}

fn entry() -> impl Strategy<Value = (u128, PeerId, u32, u32)> {
    (any::<u128>(), peer(), any::<u32>(), any::<u32>())
}

/// Any ring with entries, sound or not: soundness is the ring's affair, not the wire's.
fn ring() -> impl Strategy<Value = Ring> {
    (range(), peer(), vec(entry(), 1..6), vec(peer(), 0..4)).prop_map(
        |(universe, peer, entries, seeds)| {
            let narrow = |token| match universe.family {
                Family::V4 => token & u128::from(u32::MAX),
                Family::V6 => token,
            };
            let entries = entries
                .into_iter()
                .map(|(token, peer, version, free)| Entry {
                    token: narrow(token),
                    peer,
                    version,
                    free,
                })
                .collect();
            Ring::from_parts(universe, peer, entries, seeds)
        },
    )
}

fn state() -> impl Strategy<Value = State> {
    let nicknames = btree_map(peer(), ".*", 0..4);
    let votes = option::of(btree_map(node(), claims(), 0..4));
    (any::<i64>(), nicknames, votes, option::of(ring())).prop_map(
        |(unix_seconds, nicknames, votes, ring)| State {
            unix_seconds,
            nicknames,
            votes,
            ring: ring.map(Arc::new),
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        range().prop_map(Message::SpaceRequest),
        range().prop_map(Message::SpaceDenied),
        state().prop_map(Message::RingUpdate),
        (1..=u64::MAX).prop_map(|peer| Message::Removed(PeerId(peer))),
    ]
}

/// The types of a state as another program might declare them: with fields we do not know, in
/// another order, and ids that start elsewhere.
fn foreign_stream(state: &State, first_id: u32, is_shuffled: bool, is_extended: bool) -> Vec<u8> {
    let mut entry = vec![
        ("Token", Type::Uint),
        ("Peer", Type::Uint),
        ("Version", Type::Uint),
        ("Free", Type::Uint),
    ];
    let mut parts = vec![
        ("Start", Type::Uint),
        ("End", Type::Uint),
        ("Peer", Type::Uint),
        ("Seeds", Type::slice("", Type::Uint)),
    ];
    if is_shuffled {
        entry.reverse();
        parts.reverse();
    }
    if is_extended {
        entry.insert(1, ("Colour", Type::String));
        parts.insert(1, ("Shape", Type::Bytes));
    }
    parts.push(("Entries", Type::slice("list", Type::structure("e", entry))));
    let nicknames = Type::map("names", Type::Uint, Type::String);
    let fields = [
        ("Ring", Type::structure("r", parts)),
        ("Now", Type::Int),
        ("Nicknames", nicknames),
    ];
    let mut encoder = Encoder::numbering_from(first_id);
    let value = foreign_value(state, is_extended);
    encoder
        .value(&Type::structure("s", fields), &value)
        .unwrap();
    encoder.finish()
}

fn foreign_value(state: &State, is_extended: bool) -> Value {
    let uint = |number: u128| Value::Uint(u64::try_from(number).unwrap());
    let names = state.nicknames.iter();
    let names = names.map(|(peer, name)| (Value::Uint(peer.0), name.as_str().into()));
    let mut fields = vec![
        ("Now", Value::Int(state.unix_seconds)),
        ("Nicknames", Value::Map(names.collect())),
    ];
    if let Some(ring) = &state.ring {
        let entry = |entry: &Entry| {
            let mut fields = vec![
                ("Token", uint(entry.token)),
                ("Peer", Value::Uint(entry.peer.0)),
                ("Version", Value::Uint(entry.version.into())),
                ("Free", Value::Uint(entry.free.into())),
            ];
            fields.extend(is_extended.then(|| ("Colour", "blue".into())));
            Value::from(StructValue::new(fields))
        };
        let span = ring.universe().span;
        let seeds = ring.seeds().iter().map(|peer| Value::Uint(peer.0));
        let ring = [
            ("Start", uint(span.start())),
            ("End", uint(span.end())),
            ("Peer", Value::Uint(ring.peer().0)),
            (
                "Entries",
                Value::Slice(ring.entries().iter().map(entry).collect()),
            ),
            ("Seeds", Value::Slice(seeds.collect())),
        ];
        fields.push(("Ring", StructValue::new(ring).into()));
    }
    StructValue::new(fields).into()
}

proptest! {
    #[test]
    fn states_declared_in_other_ways_mean_the_same(
        mut state in state(),
        first_id in 64_u32..1000,
        is_shuffled: bool,
        is_extended: bool,
    ) {
        state.votes = None;
        state.ring = state.ring.filter(|ring| ring.universe().family == Family::V4);

        let stream = foreign_stream(&state, first_id, is_shuffled, is_extended);

        prop_assert_eq!(decode_state(&stream), Ok(state));
    }

    #[test]
    fn states_come_back_as_they_were(state in state()) {
        prop_assert_eq!(decode_state(&encode_state(&state)), Ok(state));
    }

    #[test]
    fn messages_come_back_as_they_were(message in message()) {
        prop_assert_eq!(decode_message(&encode_message(&message)), Ok(message));
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode_state(&bytes);
        let _ = decode_message(&bytes);
    }

    #[test]
    fn damaged_messages_are_survived(
        message in message(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut: proptest::sample::Index,
    ) {
        let mut bytes = encode_message(&message);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode_message(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode_message(&bytes);
    }
}
