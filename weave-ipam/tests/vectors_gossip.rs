//! Messages of the gossip channel, byte for byte.
#![cfg(feature = "mesh")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod vector;

use std::sync::Arc;

use serde_json::Value;
use vector::{hex, list, load, peer, range, ring, text};
use weave_ipam::consensus::Votes;
use weave_ipam::mesh::{DecodeError, decode_message, decode_state, encode_message, encode_state};
use weave_ipam::{Message, State};

/// A state as its decoded form says, with values in the order that sorting gives.
fn state(value: &Value) -> State {
    let nicknames = value["nicknames"].as_object();
    let nicknames = nicknames.map(|map| {
        map.iter()
            .map(|(peer, name)| (peer.parse().unwrap(), name.as_str().unwrap().to_owned()))
    });
    let is_present = value["paxos_present"].as_bool().unwrap();
    State {
        unix_seconds: value["now"].as_i64().unwrap(),
        nicknames: nicknames.map(Iterator::collect).unwrap_or_default(),
        votes: is_present.then(|| vector::votes(&value["paxos"])),
        ring: value["ring"]
            .as_object()
            .map(|_| Arc::new(ring(&value["ring"]))),
    }
}

fn sorted(mut state: State) -> State {
    let votes = state.votes.iter_mut().flat_map(Votes::values_mut);
    votes.for_each(|claims| claims.value.peers.sort_unstable());
    state
}

#[test]
fn states_decode_to_what_they_mean() {
    for case in list(&load("gossip"), "gossip") {
        let decoded = decode_state(&hex(text(case, "hex"))).unwrap();

        assert_eq!(
            sorted(decoded),
            state(&case["decoded"]),
            "{}",
            text(case, "name")
        );
    }
}

#[test]
fn states_encode_to_the_same_bytes() {
    let mut identical = 0;
    for case in list(&load("gossip"), "gossip") {
        let name = text(case, "name");
        let bytes = hex(text(case, "hex"));
        let decoded = decode_state(&bytes).unwrap();

        let encoded = encode_state(&decoded);

        assert_eq!(decode_state(&encoded), Ok(decoded), "{name}");
        // An allocator always has a nickname table, so that no table and an empty one need not be
        // told apart: the empty one is sent.
        let is_unique = case["single_valid_encoding_order"].as_bool().unwrap();
        if is_unique && name != "nil nicknames, zero time" {
            assert_eq!(encoded, bytes, "{name}");
            identical += 1;
        }
    }
    assert_eq!(identical, 12);
}

#[test]
fn messages_to_one_peer_are_read_and_written() {
    for case in list(&load("gossip"), "unicast") {
        let bytes = hex(text(case, "hex"));
        let expected = match case["tag"].as_u64().unwrap() {
            0 => Message::SpaceRequest(range(&case["range"])),
            1 => Message::RingUpdate(decode_state(&bytes[1..]).unwrap()),
            2 => Message::SpaceDenied(range(&case["range"])),
            other => panic!("unknown tag {other}"),
        };

        let decoded = decode_message(&bytes).unwrap();

        assert_eq!(decoded, expected, "{}", text(case, "name"));
        assert_eq!(encode_message(&decoded), bytes, "{}", text(case, "name"));
    }
}

#[test]
fn unknown_fields_are_skipped_and_wrong_ones_refused() {
    for case in list(&load("gossip_forward_compat"), "cases") {
        let decoded = decode_state(&hex(text(case, "hex")));

        if text(case, "error").is_empty() {
            assert_eq!(decoded, Ok(state(&case["decoded"])));
            continue;
        }
        let error = decoded.unwrap_err().to_string();
        let expected = text(case, "error");
        // The wording for a wrong kind names our kinds instead of Go's types.
        let is_kind = expected.contains("wrong type") && error.contains("wrong type");
        assert!(
            is_kind || error == expected,
            "{error} instead of {expected}"
        );
    }
}

#[test]
fn messages_of_a_running_router_are_understood() {
    let mut count = 0;
    for scenario in list(&load("live_router"), "scenarios") {
        for message in list(scenario, "messages_received_by_the_probe") {
            let bytes = hex(text(message, "hex"));
            if text(message, "kind").starts_with("unicast") {
                match decode_message(&bytes).unwrap() {
                    Message::RingUpdate(decoded) => assert_eq!(decoded, state(&message["gossip"])),
                    Message::SpaceRequest(found) | Message::SpaceDenied(found) => {
                        assert_eq!(found, range(&message["range"]));
                    }
                    Message::Removed(_) => panic!("the reference has no such message"),
                }
            } else {
                assert_eq!(
                    sorted(decode_state(&bytes).unwrap()),
                    state(&message["gossip"])
                );
            }
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} messages");
}

#[test]
fn a_removal_is_a_request_for_the_ring_to_a_peer_of_the_old_kind() {
    let removal = Message::Removed(peer(&"::3".into()));

    let bytes = encode_message(&removal);

    // Weave Net goes by the tag, and skips the field that it does not know.
    assert_eq!(bytes[0], 1);
    let asked = State {
        votes: Some(Votes::new()),
        ..State::default()
    };
    assert_eq!(decode_state(&bytes[1..]), Ok(asked));
    assert_eq!(decode_message(&bytes), Ok(removal));
}

/// Both kill or wedge the reference.
#[test]
fn empty_messages_and_unknown_tags_are_errors() {
    assert_eq!(decode_message(&[]), Err(DecodeError::Empty));
    assert_eq!(decode_message(&[3, 0]), Err(DecodeError::UnknownTag(3)));
    assert!(decode_message(&[0]).is_err() && decode_message(&[1]).is_err());
}

#[test]
fn ipv6_ranges_and_rings_survive_the_wire() {
    let universe = weave_ipam::AddressRange::of("fd00:1234::/64".parse().unwrap());
    let (a, b) = (peer(&"::1".into()), peer(&"::2".into()));
    let mut ring = weave_ipam::Ring::new(universe, a);
    ring.form(&[a, b]);
    let state = State {
        ring: Some(Arc::new(ring)),
        ..State::default()
    };

    assert_eq!(decode_state(&encode_state(&state)), Ok(state));
    let request = Message::SpaceRequest(universe);
    assert_eq!(decode_message(&encode_message(&request)), Ok(request));
}
