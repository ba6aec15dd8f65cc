use super::{bytes, list, load, name, text};
use weave_mesh::wire::frame::{self, FrameReader};
use weave_mesh::wire::message::Message;

#[test]
fn every_kind_of_message_is_written_and_read_as_recorded() {
    let vectors = load("gossip_frames");

    for case in list(&vectors["entries"]) {
        let message = bytes(&case["message"]);
        let payload = bytes(&case["payload"]);
        let parsed = Message::parse(&message).unwrap();

        let channel = || text(&case["channel"]);
        let (source, destination) = (|| name(&case["source"]), || name(&case["destination"]));
        let expected = match message[0] {
            0 => Message::Heartbeat,
            1 => Message::LegacyEstablished,
            2 => Message::LegacyFragmentation,
            3 => Message::LegacyPmtu(u16::from_be_bytes([payload[0], payload[1]])),
            4 => Message::Gossip {
                channel: channel(),
                sender: source(),
                payload: &payload,
            },
            5 => Message::Unicast {
                channel: channel(),
                source: source(),
                destination: destination(),
                payload: &payload,
            },
            6 => Message::Broadcast {
                channel: channel(),
                source: source(),
                payload: &payload,
            },
            7 => Message::Control { body: &payload },
            tag => Message::Unknown(tag),
        };
        assert_eq!(parsed, expected, "{case}");
        assert_eq!(parsed.emit(), message, "{case}");
        assert_eq!(
            frame::encode(&message).unwrap(),
            bytes(&case["wire_v2_plaintext"]),
            "{case}"
        );
    }
}

#[test]
fn recorded_frames_come_out_whole_wherever_the_stream_is_cut() {
    let vectors = load("gossip_frames");
    let messages: Vec<_> = list(&vectors["entries"])
        .iter()
        .map(|case| bytes(&case["message"]))
        .collect();
    let stream: Vec<u8> = list(&vectors["entries"])
        .iter()
        .flat_map(|case| bytes(&case["wire_v2_plaintext"]))
        .take(2_000)
        .collect();

    for cut in 0..=stream.len() {
        let mut reader = FrameReader::new();
        let mut read = Vec::new();
        for piece in [&stream[..cut], &stream[cut..]] {
            reader.push(piece);
            while let Some(message) = reader.pop().unwrap() {
                read.push(message);
            }
        }
        assert!(!read.is_empty());
        assert_eq!(read, messages[..read.len()], "cut at {cut}");
    }
}
