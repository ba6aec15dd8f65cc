//! Heartbeats against those of Weave Net (`vectors/fastdp_heartbeat.json`): the bytes, their hash,
//! the header around them, and what is answered.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use serde_json::Value;
use sha2::{Digest, Sha256};
use weave_datapath::{
    PeerName, ShortId,
    fastdp::{
        Connection, Engine, EngineConfig, Event, Heartbeat, Routes, Transmit,
        heartbeat::{self, HEAD_LEN},
    },
};

const NOW: Duration = Duration::from_secs(1);
const US: PeerName = PeerName(1);
const PEER: PeerName = PeerName(2);

fn cases() -> Vec<Value> {
    let text = include_str!("vectors/fastdp_heartbeat.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uid(case: &Value) -> u64 {
    u64::from_str_radix(case["conn_uid_hex"].as_str().unwrap(), 16).unwrap()
}

fn mtu(case: &Value) -> u16 {
    u16::try_from(case["mtu"].as_u64().unwrap()).unwrap()
}

fn address(case: &Value, field: &str) -> Ipv4Addr {
    case[field].as_str().unwrap().parse().unwrap()
}

fn short_id(case: &Value, field: &str) -> ShortId {
    let id = u32::try_from(case[field].as_u64().unwrap()).unwrap();
    ShortId::try_from(id).unwrap()
}

/// An engine in the situation of the case, its first heartbeat not yet taken.
fn engine(case: &Value) -> Engine {
    let mut engine = Engine::new(EngineConfig {
        us: US,
        mtu: mtu(case),
        port: 6784,
    });
    let (local, remote) = (
        short_id(case, "local_short_id"),
        short_id(case, "remote_short_id"),
    );
    engine.handle_routes(
        NOW,
        Routes {
            short_ids: BTreeMap::from([(US, local), (PEER, remote)]),
            ..Routes::default()
        },
    );
    engine.handle_connection(
        NOW,
        Connection {
            id: 5,
            peer: PEER,
            short_id: Some(remote),
            local: address(case, "local_ip"),
            remote: address(case, "remote_ip"),
            port: 6784,
            uid: uid(case),
            encrypted: false,
        },
    );
    engine
}

#[test]
fn the_bytes_of_every_heartbeat_match() {
    for case in cases() {
        let frame = heartbeat::frame(uid(&case), mtu(&case));
        let expected = &case["heartbeat"];

        assert_eq!(frame.len(), case["frame_len"]);
        assert_eq!(frame.len(), expected["packet_len"]);
        assert_eq!(hex(&frame[..64]), expected["packet_prefix_hex"]);
        assert_eq!(hex(&Sha256::digest(&frame)), expected["packet_sha256"]);
        if let Some(whole) = case["frame_hex"].as_str() {
            assert_eq!(hex(&frame), whole);
        }
    }
}

#[test]
fn the_engine_sends_header_and_frame_to_the_peer() {
    for case in cases() {
        let mut engine = engine(&case);

        let Some(Transmit::Heartbeat {
            local,
            remote,
            port,
            payload,
            ..
        }) = engine.poll_transmit()
        else {
            panic!("a heartbeat comes first");
        };

        let tunnel = &case["heartbeat"]["actions"][0]["set_tunnel"];
        assert_eq!(local.to_string(), tunnel["ipv4_src"].as_str().unwrap());
        assert_eq!(remote.to_string(), tunnel["ipv4_dst"].as_str().unwrap());
        assert_eq!(port, 6784);
        assert_eq!(hex(&payload[..8]), case["vxlan_header_hex"]);
        assert_eq!(
            hex(&Sha256::digest(&payload[8..])),
            case["heartbeat"]["packet_sha256"]
        );
    }
}

/// The heartbeat of the remote peer of the case, as received.
fn received(case: &Value) -> Heartbeat {
    let frame = heartbeat::frame(uid(case), mtu(case));
    let mut head = [0; HEAD_LEN];
    head.copy_from_slice(&frame[..HEAD_LEN]);
    Heartbeat {
        origin: short_id(case, "remote_short_id"),
        destination: short_id(case, "local_short_id"),
        outer_src: address(case, "remote_ip"),
        outer_dst: address(case, "local_ip"),
        frame_len: u32::try_from(frame.len()).unwrap(),
        head,
    }
}

#[test]
fn receipt_is_acknowledged_as_recorded() {
    for case in cases() {
        let mut engine = engine(&case);
        let _ = engine.poll_transmit();

        engine.handle_heartbeat(NOW, &received(&case));

        assert_eq!(case["ack_on_receipt"][0], "inner tag 0 payload \"\"");
        let ack = Transmit::Control {
            id: 5,
            inner: vec![0],
        };
        assert_eq!(engine.poll_transmit(), Some(ack));
        assert_eq!(engine.poll_event(), None, "only the peer's ack establishes");
        engine.handle_control(NOW, 5, &[0]);
        assert_eq!(engine.poll_event(), Some(Event::Established { id: 5 }));
    }
}

#[test]
fn a_heartbeat_with_any_bit_of_its_head_flipped_is_ignored() {
    let case = &cases()[0];
    for bit in 0..HEAD_LEN * 8 {
        let mut engine = engine(case);
        let _ = engine.poll_transmit();
        let mut damaged = received(case);
        damaged.head[bit / 8] ^= 1 << (bit % 8);

        engine.handle_heartbeat(NOW, &damaged);

        assert_eq!(engine.poll_transmit(), None, "bit {bit}");
    }
}

/// Weave Net's router panics on control messages shorter than it expects; here none does harm.
#[test]
fn control_messages_of_any_length_do_no_harm() {
    let case = &cases()[0];
    for tag in 0..=255_u8 {
        for len in 0..70 {
            let mut engine = engine(case);
            let mut inner = vec![0; len];
            if let Some(first) = inner.first_mut() {
                *first = tag;
            }
            engine.handle_control(NOW, 5, &inner);
            engine.handle_control(NOW, 6, &inner);

            let established = engine.poll_event() == Some(Event::Established { id: 5 });
            assert_eq!(established, tag == 0 && len > 0);
        }
    }
}
