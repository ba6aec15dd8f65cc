//! Laws of frames, messages and introductions, named in `ALGORITHM.md`.

use proptest::collection::vec;
use proptest::prelude::*;
use weave_mesh::peer::{PeerName, ShortId, Uid};
use weave_mesh::wire::frame::{self, FrameReader};
use weave_mesh::wire::intro::{
    Encryption, Features, Header, Introduction, MAX_OTHERS, Refused, Step,
};
use weave_mesh::wire::message::Message;

/// Cuts `stream` at the given places.
fn pieces<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &stream[pair[0]..pair[1]])
        .collect()
}

fn any_name() -> impl Strategy<Value = PeerName> {
    any::<[u8; 6]>()
        .prop_map(PeerName::from_bytes)
        .prop_filter("0 is nobody", |name| *name != PeerName::UNKNOWN)
}

fn any_features() -> impl Strategy<Value = Features> {
    let short_id = proptest::option::of(0..ShortId::COUNT);
    let overlays = proptest::option::of(vec("[a-z]{1,8}", 0..4));
    (
        any_name(),
        ".{0,8}",
        any::<u64>(),
        any::<u64>(),
        short_id,
        any::<bool>(),
        overlays,
        any::<u8>(),
        any::<bool>(),
        any_refusal(),
    )
        .prop_map(
            |(name, nickname, uid, conn_id, short_id, trusted, overlays, sync, needy, refused)| {
                Features {
                    name,
                    nickname,
                    uid: Uid(uid),
                    conn_id,
                    short_id: short_id.and_then(|id| ShortId::try_from(id).ok()),
                    trusted,
                    overlays,
                    sync,
                    needy,
                    refused,
                }
            },
        )
}

fn any_refusal() -> impl Strategy<Value = Option<Refused>> {
    let others = vec(any::<(std::net::IpAddr, u16)>(), 0..=MAX_OTHERS);
    let refusal = ("[ -~]{0,40}", others).prop_map(|(reason, others)| Refused {
        reason,
        others: others.into_iter().map(Into::into).collect(),
    });
    proptest::option::of(refusal)
}

proptest! {
    /// Law W1.
    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_cut(
        messages in vec(vec(any::<u8>(), 0..300), 0..6),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let stream: Vec<u8> =
            messages.iter().flat_map(|message| frame::encode(message).unwrap()).collect();

        let mut reader = FrameReader::new();
        let mut read = Vec::new();
        for piece in pieces(&stream, &cuts) {
            reader.push(piece);
            while let Some(message) = reader.pop().unwrap() {
                read.push(message.to_vec());
            }
        }

        prop_assert_eq!(read, messages);
        prop_assert!(reader.is_between_frames());
    }

    /// Law W2.
    #[test]
    fn envelopes_survive_encoding(
        channel in "[a-zA-Z]{0,200}",
        (source, destination) in (any_name(), any_name()),
        payload in vec(any::<u8>(), 0..400),
    ) {
        let (channel, payload) = (channel.as_str(), payload.as_slice());
        for message in [
            Message::Gossip { channel, sender: source, payload },
            Message::Unicast { channel, source, destination, payload },
            Message::Broadcast { channel, source, payload },
        ] {
            let frame = message.emit();
            prop_assert_eq!(Message::parse(&frame), Ok(message));
        }
    }

    /// Law W3.
    #[test]
    fn introductions_do_not_depend_on_how_the_stream_is_cut(
        features in any_features(),
        key in proptest::option::of(any::<[u8; 32]>()),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let ours = Header { min: 1, max: 2 };
        let choice = key.map_or(Encryption::Plain, Encryption::Key);
        let mut stream = ours.emit().to_vec();
        choice.emit(&mut stream);
        stream.extend(frame::encode(&features.encode()).unwrap());

        let mut introduction = Introduction::new(ours, key.is_some());
        let mut steps = Vec::new();
        for piece in pieces(&stream, &cuts) {
            introduction.push(piece);
            while let Some(step) = introduction.pop().unwrap() {
                steps.push(step);
            }
        }
        let mut frames = FrameReader::new();
        frames.push(&introduction.into_rest());

        prop_assert_eq!(steps, [Step::Version(2), Step::Encryption(choice)]);
        let message = frames.pop().unwrap().unwrap();
        prop_assert_eq!(Features::decode(&message), Ok(features));
    }

    /// Law W4.
    #[test]
    fn arbitrary_introductions_do_no_harm(
        stream in vec(any::<u8>(), 0..64),
        is_weave in any::<bool>(),
        has_password in any::<bool>(),
    ) {
        let mut introduction = Introduction::new(Header { min: 1, max: 2 }, has_password);
        if is_weave {
            introduction.push(b"weave");
        }
        introduction.push(&stream);

        while let Ok(Some(_)) = introduction.pop() {}

        prop_assert!(!introduction.broken_off("EOF").to_string().is_empty());
    }
}
