//! Sleeve against recordings of Weave Net: packets, replay window, fragments, ICMP, frame kinds.
#![cfg(feature = "sleeve")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use weave_datapath::{
    PeerName,
    packet::ethernet::Frame,
    sleeve::{
        fragment::fragment,
        icmp::fragmentation_needed,
        packet::{self, Record, name_bytes, records, split_sender},
        replay::Window,
        seal::{Error, Opener, Sealer, SessionKey, Side, Stream},
        special::Special,
    },
};

fn load(text: &str, list: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(text).unwrap();
    vectors[list].as_array().unwrap().clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits: Vec<u32> = value
        .as_str()
        .unwrap()
        .chars()
        .map(|digit| digit.to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

fn name(value: &Value) -> PeerName {
    let hex: String = value.as_str().unwrap().replace(':', "");
    PeerName(u64::from_str_radix(&hex, 16).unwrap())
}

fn key(value: &Value) -> SessionKey {
    SessionKey::new(bytes(value).try_into().unwrap())
}

fn side(outbound: &Value) -> Side {
    if outbound.as_bool().unwrap() {
        Side::Dialler
    } else {
        Side::Acceptor
    }
}

/// The packet that carries the frames of a case.
fn build(case: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    for frame in case["frames"].as_array().unwrap() {
        let frame_bytes = bytes(&frame["frame_hex"]);
        let record = Record {
            origin: name(&frame["src"]),
            destination: name(&frame["dst"]),
            frame: &frame_bytes,
        };
        assert!(packet::append(&mut body, record));
    }
    let mut out = name_bytes(name(&case["sender"])).to_vec();
    if case["encrypted"] == false {
        out.extend_from_slice(&body);
        return out;
    }
    let stream = match case["df_encryptor"].as_bool().unwrap() {
        true => Stream::Whole,
        false => Stream::Fragmented,
    };
    let sealer = Sealer::new(
        key(&case["session_key_hex"]),
        side(&case["sender_connection_is_outbound"]),
    );
    let sequence = case["sequence_number"].as_u64().unwrap();
    sealer.seal(&body, stream, sequence, &mut out);
    out
}

#[test]
fn every_packet_is_built_and_read() {
    let cases = load(include_str!("vectors/sleeve_packets.json"), "cases");
    assert_eq!(cases.len(), 31);
    for case in cases {
        let id = &case["id"];
        let payload = bytes(&case["udp_payload_hex"]);
        assert_eq!(build(&case), payload, "{id}");

        let (sender, rest) = split_sender(&payload).unwrap();
        assert_eq!(sender, name(&case["sender"]), "{id}");
        let mut body = Vec::new();
        if case["encrypted"] == true {
            let mut opener = Opener::new(
                key(&case["session_key_hex"]),
                side(&case["sender_connection_is_outbound"]),
            );
            opener.open(rest, &mut body).unwrap();
        } else {
            body.extend_from_slice(rest);
        }
        let read: Vec<_> = records(&body).map(Result::unwrap).collect();
        let frames = case["frames"].as_array().unwrap();
        assert_eq!(read.len(), frames.len(), "{id}");
        for (record, frame) in read.iter().zip(frames) {
            assert_eq!(record.frame, bytes(&frame["frame_hex"]), "{id}");
            assert_eq!(record.origin, name(&frame["src"]), "{id}");
            assert_eq!(record.destination, name(&frame["dst"]), "{id}");
        }
    }
}

#[test]
fn broken_packets_deliver_what_comes_before_the_damage() {
    let cases = load(include_str!("vectors/sleeve_packets.json"), "negative");
    assert_eq!(cases.len(), 8);
    let mut twice: Option<Opener> = None;
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let payload = bytes(&case["udp_payload_hex"]);
        let (_, rest) = split_sender(&payload).unwrap();
        let mut body = Vec::new();
        let mut problem = None;
        if let Some(outbound) = case.get("receiver_connection_is_outbound") {
            let fresh = || Opener::new(key(&case["session_key_hex"]), side(outbound).other());
            let outcome = match id {
                "nacl-first-copy" => twice.insert(fresh()).open(rest, &mut body),
                "nacl-duplicate" => twice.as_mut().unwrap().open(rest, &mut body),
                _ => fresh().open(rest, &mut body),
            };
            problem = outcome.err().map(|error| error.to_string());
            // The reference is silent about packets that come again; ours can be counted.
            if outcome == Err(Error::Replayed) {
                assert_eq!(id, "nacl-duplicate");
                problem = None;
            }
        } else {
            body.extend_from_slice(rest);
        }
        let read: Vec<_> = records(&body).collect();
        let delivered = read.iter().filter(|record| record.is_ok()).count();
        let expected = case["frames_delivered_before_error"].as_u64().unwrap();
        assert_eq!(u64::try_from(delivered).unwrap(), expected, "{id}");
        let problem = problem.or_else(|| {
            let broken = read.into_iter().find_map(Result::err)?;
            Some(broken.to_string())
        });
        let stated = case["error"].as_str();
        let stated = stated.map(|text| text.trim_start_matches("Failed to decode packet: "));
        assert_eq!(problem.as_deref(), stated, "{id}");
    }
}

#[test]
fn the_replay_window_decides_as_recorded() {
    let scenarios = load(include_str!("vectors/sleeve_replay.json"), "scenarios");
    assert_eq!(scenarios.len(), 8);
    for scenario in scenarios {
        let mut window = Window::new();
        for step in scenario["steps"].as_array().unwrap() {
            let accepted = window.accept(step["Seq"].as_u64().unwrap());
            assert_eq!(
                accepted,
                step["Result"] == "accept",
                "{}: {step}",
                scenario["id"]
            );
        }
    }
}

#[test]
fn fragments_are_the_recorded_ones() {
    let cases = load(include_str!("vectors/sleeve_fragment.json"), "cases");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let mtu = usize::try_from(case["mtu"].as_u64().unwrap()).unwrap();
        let pieces = fragment(&bytes(&case["frame_hex"]), mtu);
        let recorded: Vec<_> = case["fragments_hex"]
            .as_array()
            .unwrap()
            .iter()
            .map(bytes)
            .collect();
        assert_eq!(pieces, recorded, "{}", case["id"]);
    }
}

#[test]
fn fragmentation_needed_is_the_recorded_one() {
    let cases = load(include_str!("vectors/icmp_frag_needed.json"), "cases");
    assert_eq!(cases.len(), 3);
    for case in cases {
        let mut frame = bytes(&case["frame_first_64_hex"]);
        let len = usize::try_from(case["frame_len"].as_u64().unwrap()).unwrap();
        frame.resize(len, 0);
        let mtu = u16::try_from(case["mtu"].as_u64().unwrap()).unwrap();
        let answer = fragmentation_needed(&frame, mtu).unwrap();
        assert_eq!(answer, bytes(&case["icmp_frame_hex"]), "{}", case["id"]);
        assert_eq!(
            fragmentation_needed(&answer, 600),
            None,
            "an answer is not answered"
        );
    }
}

#[test]
fn frames_between_peers_are_told_from_those_of_pods() {
    let cases = load(include_str!("vectors/frame_classification.json"), "cases");
    assert_eq!(cases.len(), 12);
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let mut frame = bytes(&case["frame_hex"]);
        frame.resize(
            usize::try_from(case["frame_len"].as_u64().unwrap()).unwrap(),
            0,
        );
        let special = Frame::new_checked(&frame).is_ok_and(|frame| frame.is_special());
        assert_eq!(Value::from(special), case["special"], "{id}");
        let expected = match id {
            "heartbeat" => Some(Special::Heartbeat { uid: 1 }),
            "mtu-test-600" => Some(Special::SizeProbe { mtu: 600 }),
            "frag-test" => Some(Special::LargeProbe),
            "pmtu-trigger" => Some(Special::SizeProbe { mtu: 59_986 }),
            "14-zero-bytes" => Some(Special::SizeProbe { mtu: 0 }),
            _ => None,
        };
        let parsed = special.then(|| Special::parse(&frame)).flatten();
        assert_eq!(parsed, expected, "{id}");
    }
}
