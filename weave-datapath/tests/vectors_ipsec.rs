//! Keys of the encrypted fast path against those of Weave Net (`vectors/ipsec.json`).
#![cfg(feature = "esp")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use weave_datapath::{
    PeerName,
    fastdp::esp::{EspKey, INIT_LEN, Init, InitError},
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/ipsec.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

fn name(value: &Value) -> PeerName {
    let groups = value.as_str().unwrap().split(':');
    let bytes = groups.map(|group| u64::from_str_radix(group, 16).unwrap());
    PeerName(bytes.fold(0, |name, byte| name << 8 | byte))
}

fn bytes32(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

#[test]
fn keys_follow_from_session_nonce_and_receiver() {
    let vectors = vectors();
    let cases = vectors["derive"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let session = bytes32(&case["session_key_hex"]);
        let nonce = bytes32(&case["nonce_hex"]);

        let key = EspKey::derive(&session, &nonce, name(&case["receiver_peer"]));

        assert_eq!(key.bytes().to_vec(), hex(&case["key_and_salt_hex"]));
        assert_eq!(key.aes(), hex(&case["aes256_key_hex"]));
        assert_eq!(key.salt(), hex(&case["rfc4106_salt_hex"]));
    }
}

#[test]
fn the_control_message_is_read_as_written() {
    for case in vectors()["derive"].as_array().unwrap() {
        let init = Init {
            nonce: bytes32(&case["nonce_hex"]),
            spi: u32::try_from(case["spi"].as_u64().unwrap()).unwrap(),
        };
        let payload = hex(&case["init_sa_remote_payload_hex"]);

        assert_eq!(init.emit().to_vec(), payload);
        assert_eq!(Init::parse(&payload), Ok(init));
    }
}

#[test]
fn messages_of_another_length_are_refused() {
    let lengths: Vec<usize> = vectors()["bad_payload_lengths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| usize::try_from(case["payload_len"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(lengths, [0, 36, 63, 65]);
    for len in lengths {
        assert_eq!(Init::parse(&vec![0; len]), Err(InitError(len)));
    }
    assert!(Init::parse(&[0; INIT_LEN]).is_ok());
}

#[test]
fn a_key_is_not_shown() {
    let key = EspKey::derive(&[7; 32], &[8; 32], PeerName(1));

    assert_eq!(format!("{key:?}"), "EspKey { .. }");
}
