//! Agreement with bytes and tables recorded from Weave Net 2.9.
//!
//! Where the recorded behaviour is a fault, the test states the better one and says so.

mod allocator;
mod capture;
mod crypto;
mod frames;
mod gob;
mod handshake;
mod merge;
mod names;
mod routes;
mod updates;

use serde_json::Value as Json;
use weave_mesh::peer::{Link, Links, PeerName, PeerRecord, ShortId, Uid};

/// A recorded file.
fn load(name: &str) -> Json {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the recorded file is there");
    serde_json::from_str(&text).expect("the recorded file is JSON")
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Json) -> &str {
    json.as_str().expect("a text")
}

/// A 64-bit number, recorded as decimal text.
fn number(json: &Json) -> u64 {
    text(json).parse().expect("a number")
}

fn bytes(json: &Json) -> Vec<u8> {
    let digits = text(json).as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(|pair| byte(pair).expect("hex digits")).collect()
}

fn name(json: &Json) -> PeerName {
    text(json).parse().expect("a peer name")
}

/// A record; a short id over 12 bits counts as none.
fn record(json: &Json) -> PeerRecord {
    let short_id = json["short_id"]
        .as_u64()
        .and_then(|id| u16::try_from(id).ok());
    let has_short_id = json["has_short_id"].as_bool().expect("a boolean");
    PeerRecord {
        version: number(&json["version"]),
        short_id: short_id
            .and_then(|id| ShortId::try_from(id).ok())
            .filter(|_| has_short_id),
        connections: connections(&json["connections"]),
        ..PeerRecord::new(
            name(&json["name"]),
            text(&json["nick_name"]),
            Uid(number(&json["uid"])),
        )
    }
}

fn connections(json: &Json) -> Links {
    let link = |json: &Json| Link {
        address: text(&json["remote_tcp_addr"]).into(),
        outbound: json["outbound"].as_bool().expect("a boolean"),
        established: json["established"].as_bool().expect("a boolean"),
    };
    list(json)
        .iter()
        .map(|json| (name(&json["name"]), link(json)))
        .collect()
}
