//! Reading recorded data of Weave Net 2.9.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file that includes this module uses another part of it"
)]

use std::net::IpAddr;

use serde_json::Value;
use weave_ipam::address::number;
use weave_ipam::consensus::{AcceptedValue, Claims, NodeId, ProposalId, Votes};
use weave_ipam::ring::Entry;
use weave_ipam::{AddressRange, Family, PeerId, Ring, Span};

/// A file of `tests/vectors`.
pub(crate) fn load(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text {key} in {value}"))
}

pub(crate) fn address(value: &Value) -> u128 {
    number(value.as_str().unwrap().parse::<IpAddr>().unwrap())
}

pub(crate) fn span(value: &Value) -> Span {
    Span::new(address(&value["start"]), address(&value["end"])).unwrap()
}

pub(crate) fn spans(value: &Value) -> Vec<Span> {
    value
        .as_array()
        .map_or_else(Vec::new, |list| list.iter().map(span).collect())
}

pub(crate) fn peer(value: &Value) -> PeerId {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn peers(value: &Value) -> Vec<PeerId> {
    value
        .as_array()
        .map_or_else(Vec::new, |list| list.iter().map(peer).collect())
}

pub(crate) fn range(value: &Value) -> AddressRange {
    AddressRange {
        family: Family::V4,
        span: span(value),
    }
}

pub(crate) fn entries(value: &Value) -> Vec<Entry> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    let entry = |value: &Value| Entry {
        token: address(&value["token"]),
        peer: peer(&value["peer"]),
        version: u32::try_from(value["version"].as_u64().unwrap()).unwrap(),
        free: u32::try_from(value["free"].as_u64().unwrap()).unwrap(),
    };
    list.iter().map(entry).collect()
}

pub(crate) fn ring(value: &Value) -> Ring {
    let holder = peer(&value["peer"]);
    Ring::from_parts(
        range(value),
        holder,
        entries(&value["entries"]),
        peers(&value["seeds"]),
    )
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap();
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap();
    text.as_bytes().chunks(2).map(pair).collect()
}

pub(crate) fn uid(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

pub(crate) fn proposal(value: &Value) -> ProposalId {
    let proposer = NodeId {
        name: peer(&value["proposer_name"]),
        uid: uid(&value["proposer_uid"]),
    };
    ProposalId {
        round: value["round"].as_u64().unwrap(),
        proposer,
    }
}

pub(crate) fn votes(value: &Value) -> Votes {
    let nodes = value.as_array().unwrap().iter();
    nodes
        .map(|node| {
            let id = NodeId {
                name: peer(&node["node_name"]),
                uid: uid(&node["node_uid"]),
            };
            let value = AcceptedValue {
                peers: peers(&node["accepted_value_sorted"]),
                origin: proposal(&node["accepted_origin"]),
            };
            let (promise, accepted) = (proposal(&node["promise"]), proposal(&node["accepted"]));
            (
                id,
                Claims {
                    promise,
                    accepted,
                    value,
                },
            )
        })
        .collect()
}
