//! States of the address allocator: the deepest types that Weave Net gossips.

use super::{bytes, list, load, text};
use weave_mesh::gob::{Decoder, Encoder, Type, Value};

fn state_type() -> Type {
    let node = Type::structure("", [("Name", Type::Uint), ("UID", Type::Uint)]);
    let proposal = Type::structure(
        "ProposalID",
        [("Round", Type::Uint), ("Proposer", node.clone())],
    );
    let accepted = Type::structure(
        "AcceptedValue",
        [
            ("Value", Type::slice("Value", Type::Uint)),
            ("Origin", proposal.clone()),
        ],
    );
    let claims = Type::structure(
        "",
        [
            ("Promise", proposal.clone()),
            ("Accepted", proposal),
            ("AcceptedVal", accepted),
        ],
    );
    let entry = ["Token", "Peer", "Version", "Free"].map(|field| (field, Type::Uint));
    let ring = Type::structure(
        "Ring",
        [
            ("Start", Type::Uint),
            ("End", Type::Uint),
            ("Peer", Type::Uint),
            (
                "Entries",
                Type::slice("entries", Type::structure("", entry)),
            ),
            ("Seeds", Type::slice("[]mesh.PeerName", Type::Uint)),
        ],
    );
    Type::structure(
        "gossipState",
        [
            ("Now", Type::Int),
            (
                "Nicknames",
                Type::map("map[mesh.PeerName]string", Type::Uint, Type::String),
            ),
            ("Paxos", Type::map("GossipState", node, claims)),
            ("Ring", ring),
        ],
    )
}

fn range_type() -> Type {
    Type::structure("Range", [("Start", Type::Uint), ("End", Type::Uint)])
}

fn assert_same_bytes(title: &str, stream: &[u8], ty: &Type, first_id: u32) -> Value {
    let mut decoder = Decoder::new(stream);
    let value = decoder
        .next()
        .expect("it decodes")
        .expect("there is a value");
    assert_eq!(decoder.next(), Ok(None), "{title}");
    let mut encoder = Encoder::numbering_from(first_id);
    encoder.value(ty, &value).expect("it encodes");
    assert_eq!(encoder.finish(), stream, "{title}");
    value
}

#[test]
fn states_are_encoded_to_the_same_bytes_definitions_in_the_same_order() {
    let vectors = load("ipam_gossip");

    for case in list(&vectors["gossip"]) {
        let title = text(&case["name"]);
        let value = assert_same_bytes(title, &bytes(&case["hex"]), &state_type(), 64);

        let decoded = &case["decoded"];
        let now = value.field("Now").unwrap().map_or(Ok(0), Value::as_int);
        assert_eq!(now.ok(), decoded["now"].as_i64(), "{title}");
        let paxos = value.field("Paxos").unwrap();
        assert_eq!(paxos.is_some(), decoded["paxos_present"] == true, "{title}");
        let claims = paxos.map_or(0, |paxos| paxos.as_map().unwrap().len());
        assert_eq!(claims, list(&decoded["paxos"]).len(), "{title}");
        assert_eq!(
            value.field("Ring").unwrap().is_none(),
            decoded["ring"].is_null(),
            "{title}"
        );
    }
}

#[test]
fn unicast_bodies_are_encoded_to_the_same_bytes() {
    let vectors = load("ipam_gossip");

    for case in list(&vectors["unicast"]) {
        let message = bytes(&case["hex"]);
        let (tag, body) = message.split_first().unwrap();
        let title = text(&case["name"]);
        if *tag == 1 {
            assert_same_bytes(title, body, &state_type(), 64);
        } else {
            assert_same_bytes(title, body, &range_type(), 76);
        }
    }
}
