//! Two real routers talking without a password, every byte of both directions.

use super::{bytes, list, load, record, text};
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
            assert_eq!(frame, bytes(&expected["plaintext"]), "{side}");
            if expected["kind"] == "features" {
                let features = Features::decode(&frame).unwrap();
                assert_eq!(features.uid.to_string(), text(&expected["features"]["UID"]));
                assert_eq!(Features::decode(&features.encode()), Ok(features));
                continue;
            }
            let message = Message::parse(&frame).unwrap();
            assert_eq!(message.emit(), frame, "{side}");
            if let Message::Gossip {
                channel: "topology",
                payload,
                ..
            } = message
            {
                let peers: Vec<PeerRecord> =
                    list(&expected["topology"]).iter().map(record).collect();
                assert_eq!(update::decode(payload), Ok(peers), "{side}");
            }
            assert!(
                !matches!(message, Message::Unknown(_) | Message::Blank),
                "{side}"
            );
        }
        assert!(frames.is_between_frames(), "{side}");
    }
}
