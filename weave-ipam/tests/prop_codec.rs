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
    ]
}

proptest! {
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
