//! Two real routers talking without and with a password, every byte of both directions.

use bytes::BytesMut;
use serde_json::Value as Json;

use super::{bytes, list, load, record, text};
use weave_mesh::crypto::Password;
use weave_mesh::crypto::nacl::SecretKey;
use weave_mesh::crypto::session::{Opener, Sealer, Sender, SessionKey};
use weave_mesh::peer::PeerRecord;
use weave_mesh::wire::frame::FrameReader;
use weave_mesh::wire::intro::{Encryption, Features, Header, Introduction, Step};
use weave_mesh::wire::message::Message;
use weave_mesh::wire::update;

#[test]
fn every_byte_of_a_real_conversation_is_understood() {
    let vectors = load("capture_v2_plaintext");

    for side in ["outbound_side", "inbound_side"] {
        let mut introduction = Introduction::new(Header { min: 1, max: 2 }, false);
        introduction.push(&bytes(&vectors[side]["stream"]));
        assert_eq!(introduction.pop(), Ok(Some(Step::Version(2))));
        assert_eq!(
            introduction.pop(),
            Ok(Some(Step::Encryption(Encryption::Plain)))
        );
        let mut frames = FrameReader::new();
        frames.push(&introduction.into_rest());

        for expected in list(&vectors[side]["messages"]) {
            let frame = frames.pop().unwrap().unwrap();
            understand(&frame, expected, side);
        }
        assert!(frames.is_between_frames(), "{side}");
    }
}

/// What one message of a conversation says, and that we would say it in the same bytes.
fn understand(frame: &[u8], expected: &Json, side: &str) {
    assert_eq!(frame, bytes(&expected["plaintext"]), "{side}");
    if expected["kind"] == "features" {
        let features = Features::decode(frame).expect("features");
        assert_eq!(features.uid.to_string(), text(&expected["features"]["UID"]));
        assert_eq!(Features::decode(&features.encode()), Ok(features));
        return;
    }
    let message = Message::parse(frame).expect("a message");
    assert_eq!(message.emit(), frame, "{side}");
    if let Message::Gossip {
        channel: "topology",
        payload,
        ..
    } = message
    {
        let peers: Vec<PeerRecord> = list(&expected["topology"]).iter().map(record).collect();
        assert_eq!(update::decode(payload), Ok(peers), "{side}");
    }
    let is_strange = matches!(message, Message::Unknown(_) | Message::Blank);
    assert!(!is_strange, "{side}");
}

/// The router named by `side` talked to a relay that owned `peer_private_key`.
#[test]
fn every_byte_of_a_real_encrypted_conversation_is_understood() {
    let vectors = load("capture_v2_encrypted");
    let password = Password::new(text(&vectors["password"]));
    let mut messages = 0;

    for (side, sender) in [
        ("outbound_side", Sender::Dialler),
        ("inbound_side", Sender::Acceptor),
    ] {
        let recorded = &vectors[side];
        let key = |json: &Json| <[u8; 32]>::try_from(bytes(json)).unwrap();
        let mut introduction = Introduction::new(Header { min: 1, max: 2 }, true);
        introduction.push(&bytes(&recorded["stream"]));
        assert_eq!(introduction.pop(), Ok(Some(Step::Version(2))));
        let Ok(Some(Step::Encryption(Encryption::Key(theirs)))) = introduction.pop() else {
            panic!("{side}: a public key")
        };
        assert_eq!(theirs, key(&recorded["introduction"]["public_key"]));
        let ours = SecretKey::from_bytes(key(&recorded["peer_private_key"]));
        assert_eq!(ours.public(), key(&recorded["peer_public_key"]));
        let session = SessionKey::derive(&ours.agree(&theirs).unwrap(), &password);
        assert_eq!(*session.as_bytes(), key(&recorded["session_key"]));

        let mut frames = FrameReader::new();
        frames.push(&introduction.into_rest());
        let mut opener = Opener::new(session.clone(), sender);
        let mut sealer = Sealer::new(session, sender);
        for (sequence, expected) in list(&recorded["messages"]).iter().enumerate() {
            assert_eq!(text(&expected["seq"]), sequence.to_string());
            let sealed = frames.pop().unwrap().unwrap();
            let opened = opener.open(&sealed).unwrap();
            understand(&opened, expected, side);
            let mut again = BytesMut::new();
            sealer.seal(&opened, &mut again);
            assert_eq!(again, sealed, "{side}: the router's own bytes");
            messages += 1;
        }
        assert!(frames.is_between_frames(), "{side}");
    }
    assert!(messages > 40, "{messages}");
}
