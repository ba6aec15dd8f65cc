//! Key agreement and sealed messages, byte for byte.

use bytes::BytesMut;
use serde_json::Value as Json;

use super::{bytes, list, load, number, text};
use weave_mesh::crypto::Password;
use weave_mesh::crypto::nacl::{self, SecretKey};
use weave_mesh::crypto::session::{Opener, Sender, SessionKey, nonce};
use weave_mesh::wire::frame::{self, FrameReader, Framing};

fn key(json: &Json) -> [u8; 32] {
    bytes(json).try_into().expect("32 bytes")
}

#[test]
fn both_sides_agree_on_the_recorded_keys() {
    let vectors = load("crypto");

    for case in list(&vectors["key_agreement"]) {
        let password = Password::new(bytes(&case["password_hex"]));
        for (ours, theirs) in [("a", "b"), ("b", "a")] {
            let secret = SecretKey::from_bytes(key(&case[format!("private_{ours}")]));
            assert_eq!(secret.public(), key(&case[format!("public_{ours}")]));
            let shared = secret
                .agree(&key(&case[format!("public_{theirs}")]))
                .unwrap();
            assert_eq!(*shared, key(&case["box_precomputed_key"]));
            let session = SessionKey::derive(&shared, &password);
            assert_eq!(*session.as_bytes(), key(&case["session_key"]));
        }
    }
}

#[test]
fn messages_are_sealed_and_opened_as_recorded_whatever_their_number() {
    let vectors = load("crypto");
    let session = key(&vectors["session_key"]);
    let mut sealed = 0;

    for case in list(&vectors["frames"]) {
        let sender = match case["sender_is_outbound_side"].as_bool() {
            Some(true) => Sender::Dialler,
            _ => Sender::Acceptor,
        };
        let nonce = nonce(sender, number(&case["seq"]));
        assert_eq!(nonce.to_vec(), bytes(&case["nonce"]));
        let (plaintext, ciphertext) = (bytes(&case["plaintext"]), bytes(&case["ciphertext"]));

        let mut out = BytesMut::new();
        nacl::seal(&session, &nonce, &plaintext, &mut out);
        assert_eq!(out, ciphertext);
        assert_eq!(nacl::open(&session, &nonce, &ciphertext), Some(plaintext));

        assert_eq!(frame::encode(&ciphertext).unwrap(), bytes(&case["wire_v2"]));
        for (framing, wire) in [(Framing::Length, "wire_v2"), (Framing::Gob, "wire_v1_gob")] {
            let mut reader = FrameReader::with_framing(framing);
            reader.push(&bytes(&case[wire]));
            assert_eq!(reader.pop().unwrap().unwrap(), ciphertext);
            assert!(reader.is_between_frames());
        }
        sealed += 1;
    }
    assert_eq!(sealed, 45);
}

#[test]
fn lengths_are_refused_in_the_recorded_words() {
    let vectors = load("crypto");

    for case in list(&vectors["length_limits"]) {
        let length = usize::try_from(case["length"].as_u64().unwrap()).unwrap();
        let sent = frame::encode(&vec![0; length]).map(|frame| frame[..4].to_vec());
        let mut reader = FrameReader::new();
        reader.push(&bytes(&case["prefix"]));
        let received = reader.pop();

        let error = |outcome: Result<(), String>| outcome.err().unwrap_or_default();
        let send_error = error(sent.as_ref().map(drop).map_err(ToString::to_string));
        let receive_error = error(received.map(drop).map_err(|error| error.to_string()));
        assert_eq!(send_error, text(&case["send_error"]));
        assert_eq!(receive_error, text(&case["receive_error"]));
        assert!(sent.is_err() || sent == Ok(bytes(&case["prefix"])));
    }
}

#[test]
fn what_is_shorter_than_a_tag_does_not_open() {
    let key = SessionKey::derive(&[1; 32], &Password::new("secret"));
    let mut opener = Opener::new(key, Sender::Dialler);

    assert!((0..16).all(|length| opener.open(&vec![0; length]).is_err()));
}
