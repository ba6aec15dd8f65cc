//! Sleeve against what was recorded between running Weave Net peers: the start of connections, and a
//! host that relays between the two overlays.
#![cfg(feature = "sleeve")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddrV4, time::Duration};

use serde_json::Value;
use weave_datapath::{
    PeerName,
    fastdp::Vni,
    overlay::{pace::Note, split_control},
    sleeve::{
        link::{Config, Link, Transmit},
        packet::{self, Record, name_bytes, records, split_sender},
        seal::{Opener, Sealer, SessionKey, Side, Stream},
        special::Special,
    },
};

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn name(value: &Value) -> PeerName {
    let hex = value.as_str().unwrap().replace(':', "");
    PeerName(u64::from_str_radix(&hex, 16).unwrap())
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn transcripts() -> Vec<Value> {
    let text = include_str!("vectors/live_transcripts.json");
    let all: Value = serde_json::from_str(text).unwrap();
    list(&all["transcripts"]).clone()
}

/// The frames between peers in what `sender` sent, with the stream each came by.
fn specials(transcript: &Value, sender: PeerName) -> Vec<(Stream, Special)> {
    let mut found = Vec::new();
    for packet in list(&transcript["udp"]) {
        let Some(from) = packet.get("sender") else {
            continue; // of the other overlay
        };
        let frames = list(&packet["frames"]);
        let frame = &frames[0]["frame"];
        let head = frame.get("hex").unwrap_or_else(|| &frame["first_64_hex"]);
        let mut content = bytes(head);
        if name(from) != sender || content.iter().take(14).any(|byte| *byte != 0) {
            continue;
        }
        // Long ones are recorded by their beginning; they are zeros.
        content.resize(usize::try_from(frame["len"].as_u64().unwrap()).unwrap(), 0);
        let stream = match packet["ip_df"] == true {
            true => Stream::Whole,
            false => Stream::Fragmented,
        };
        found.push((stream, Special::parse(&content).unwrap()));
    }
    found
}

/// Control messages without tag and slot, sent or received by a peer.
fn controls(transcript: &Value, peer: &str, direction: &str) -> BTreeSet<Vec<u8>> {
    list(&transcript[format!("control_messages_seen_by_{peer}")])
        .iter()
        .filter(|message| message["dir"] == direction)
        .filter_map(|message| {
            let bytes = bytes(&message["mesh_message_hex"]);
            assert_eq!(bytes[0], 7);
            let (slot, inner) = split_control(&bytes[1..]).unwrap();
            let sleeve = usize::from(transcript["id"] == "fastdp-and-sleeve");
            (usize::from(slot) == sleeve).then(|| inner.to_vec())
        })
        .collect()
}

/// In the place of either peer we say what it said, and send the same frames between peers.
#[test]
fn connections_start_as_recorded() {
    let here = SocketAddrV4::new([172, 30, 1, 1].into(), 6783);
    for transcript in transcripts() {
        for (us, them) in [("a", "b"), ("b", "a")] {
            let id = format!("{}, as {us}", transcript["id"]);
            let uid = transcript["conn_uid_hex"].as_str().unwrap();
            let ours = name(&transcript[format!("peer_{us}")]["name"]);
            let theirs = name(&transcript[format!("peer_{them}")]["name"]);
            let mut link = Link::new(Config {
                uid: u64::from_str_radix(uid, 16).unwrap(),
                remote: (us == "b").then_some(here),
                sealed: !transcript["session_key_hex"].is_null(),
            });
            let now = Duration::ZERO;
            link.confirm(now);
            for (_, special) in specials(&transcript, theirs) {
                link.handle_special(now, special, here);
            }
            for message in controls(&transcript, us, "recv") {
                link.handle_control(now, &message);
            }
            link.handle_path_mtu(now, 1500);

            let (mut said, mut sent) = (BTreeSet::new(), Vec::new());
            while let Some(transmit) = link.poll_transmit() {
                match transmit {
                    Transmit::Control(message) if Note::parse(&message).is_none() => {
                        said.insert(message);
                    }
                    Transmit::Special {
                        stream, special, ..
                    } => sent.push((stream, special)),
                    _ => {}
                }
            }
            assert_eq!(said, controls(&transcript, us, "send"), "{id}");
            for recorded in specials(&transcript, ours) {
                assert!(sent.contains(&recorded), "{id}: {recorded:?} in {sent:?}");
            }
        }
    }
}

/// Every payload that is recorded whole is read, and built again byte by byte.
#[test]
fn recorded_payloads_are_read_and_built() {
    let mut seen = 0;
    for transcript in transcripts() {
        let key = transcript["session_key_hex"]
            .as_str()
            .map(|_| SessionKey::new(bytes(&transcript["session_key_hex"]).try_into().unwrap()));
        for packet in list(&transcript["udp"]) {
            let Some(payload) = packet["payload"].get("hex").map(bytes) else {
                continue;
            };
            let Some(sender) = packet.get("sender").map(name) else {
                continue;
            };
            seen += 1;
            let dialler = name(&transcript["peer_b"]["name"]);
            let side = if sender == dialler {
                Side::Dialler
            } else {
                Side::Acceptor
            };
            let (from, rest) = split_sender(&payload).unwrap();
            assert_eq!(from, sender);
            let mut body = Vec::new();
            match &key {
                None => body.extend_from_slice(rest),
                Some(key) => {
                    let opened = Opener::new(key.clone(), side).open(rest, &mut body);
                    assert!(opened.is_ok(), "{opened:?}");
                }
            }
            let read: Vec<_> = records(&body).map(Result::unwrap).collect();
            let frames = list(&packet["frames"]);
            assert_eq!(read.len(), frames.len());
            for (record, frame) in read.iter().zip(frames) {
                assert_eq!(record.origin, name(&frame["src"]));
                assert_eq!(record.destination, name(&frame["dst"]));
                assert_eq!(record.frame, bytes(&frame["frame"]["hex"]));
            }
            let mut again = Vec::new();
            assert!(
                read.into_iter()
                    .all(|record| packet::append(&mut again, record))
            );
            let mut built = name_bytes(sender).to_vec();
            match &key {
                None => built.extend_from_slice(&again),
                Some(key) => {
                    let stream = match packet["df_encryptor"].as_u64().unwrap() {
                        1 => Stream::Whole,
                        _ => Stream::Fragmented,
                    };
                    let number = packet["seq"].as_u64().unwrap();
                    let sealer = Sealer::new(key.clone(), side);
                    sealer.seal(&again, stream, number, &mut built);
                }
            }
            assert_eq!(built, payload);
        }
    }
    assert_eq!(seen, 14);
}

const A: PeerName = PeerName(0x0a);
const B: PeerName = PeerName(0x0b);
const C: PeerName = PeerName(0x0c);

/// Peer B relays between the tunnel to A and sleeve to C: origin and frame stay what they are, and so
/// does the destination of a unicast; a broadcast has the next hop for one.
#[test]
fn relayed_frames_change_their_cover_alone() {
    let text = include_str!("vectors/relay_mixed.json");
    let recording: Value = serde_json::from_str(text).unwrap();
    let id = |peer| match peer {
        A => 777_u16,
        B => 112,
        _ => 2984,
    };
    let (tunnel, sleeve): (Vec<&Value>, Vec<&Value>) = list(&recording["packets"])
        .iter()
        .partition(|packet| packet["encapsulation"] == "vxlan");
    let in_tunnel = |origin: PeerName, destination: PeerName, frame: &[u8]| {
        let vni = Vni {
            origin: id(origin).try_into().unwrap(),
            destination: id(destination).try_into().unwrap(),
        };
        [&vni.header()[..], frame].concat()
    };
    let (mut there, mut back) = (0, 0);
    for packet in sleeve {
        let payload = bytes(&packet["udp_payload_hex"]);
        let (sender, body) = split_sender(&payload).unwrap();
        let record = records(body).next().unwrap().unwrap();
        let Record {
            origin,
            destination,
            frame,
        } = record;
        let mut built = name_bytes(sender).to_vec();
        assert!(packet::append(&mut built, record));
        assert_eq!(built, payload);
        let carried = |destination| {
            let payload = in_tunnel(origin, destination, frame);
            tunnel
                .iter()
                .any(|other| bytes(&other["udp_payload_hex"]) == payload)
        };
        let is_group = frame[0] & 1 == 1;
        match (sender, origin, destination) {
            (B, A, C) if is_group => assert!(carried(B), "a copy for B, then one for C"),
            (B, A, C) => assert!(carried(C), "for C on both ways"),
            (C, C, A) => assert!(carried(A), "for A on both ways"),
            (C, C, B) if is_group => assert!(carried(A), "a copy for B, then one for A"),
            (B, B, C) => continue,
            other => panic!("{other:?} is none of the recorded ways"),
        }
        match sender {
            B => there += 1,
            _ => back += 1,
        }
    }
    assert!(there >= 5 && back >= 5, "{there} there, {back} back");
}
