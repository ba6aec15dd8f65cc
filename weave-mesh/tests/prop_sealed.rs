//! Laws of sealed streams, named in `ALGORITHM.md`.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use weave_mesh::connection::{Handshake, Incoming, Introduced, Offer};
use weave_mesh::crypto::nacl::SecretKey;
use weave_mesh::crypto::session::Sender;
use weave_mesh::crypto::{Credentials, Keyring, Password};
use weave_mesh::peer::{PeerName, Uid};
use weave_mesh::wire::intro::{Features, Header, Refused};

fn side(role: Sender, version: u8, words: &[&str], choice: usize) -> Handshake {
    let byte = u8::from(role == Sender::Dialler) + 1;
    let features = Features {
        name: PeerName::from_bytes([byte; 6]),
        nickname: "n".repeat(30),
        uid: Uid(byte.into()),
        conn_id: byte.into(),
        short_id: None,
        trusted: false,
        overlays: None,
        sync: 0,
        refused: None,
        needy: false,
    };
    let offer = Offer {
        versions: Header {
            min: 1,
            max: version,
        },
        features,
    };
    let credentials = Credentials {
        keyring: Keyring::new(words.iter().map(|word| Password::new(*word))).unwrap(),
        choice,
        secret: SecretKey::from_bytes([byte; 32]),
        role,
    };
    Handshake::with_password(offer, credentials)
}

/// Lets two sides talk, each piece of output cut into pieces of `size` bytes.
fn meet(mut sides: [Handshake; 2], size: usize) -> [Option<Introduced>; 2] {
    let mut met = [None, None];
    for _ in 0..6 {
        for us in [0, 1] {
            let output = sides[us].take_output();
            for piece in output.chunks(size) {
                let them = 1 - us;
                match &mut met[them] {
                    None => met[them] = sides[them].handle_bytes(piece).unwrap(),
                    Some(Introduced { incoming, .. }) => incoming.push(piece),
                }
            }
        }
    }
    met
}

/// What an acceptor keeps back until somebody has decided is the first thing that it seals.
#[test]
fn what_is_held_back_is_said_first_and_once() {
    let mut sides = [Sender::Dialler, Sender::Acceptor].map(|role| side(role, 2, &["secret"], 0));
    sides[1].hold_back();
    let mut wire = BytesMut::new();
    let mut introduced = None;
    for _ in 0..4 {
        let said = sides[0].take_output();
        if let Some(met) = sides[1].handle_bytes(&said).unwrap() {
            introduced = Some(met);
        }
        let answer = sides[1].take_output();
        assert!(
            sides[0].handle_bytes(&answer).unwrap().is_none(),
            "nobody is introduced yet"
        );
    }
    let mut introduced = introduced.unwrap();

    let refused = Some(Refused {
        reason: "no room".to_owned(),
        others: Vec::new(),
    });
    introduced.say(refused.clone(), &mut wire).unwrap();
    let once = wire.len();
    introduced.say(None, &mut wire).unwrap();

    assert_eq!(wire.len(), once);
    let met = sides[0].handle_bytes(&wire).unwrap().unwrap();
    assert_eq!(met.features.refused, refused);
    assert_eq!(met.connection_uid, introduced.connection_uid);
}

fn pair(version: u8) -> [Introduced; 2] {
    let sides = [Sender::Dialler, Sender::Acceptor].map(|role| side(role, version, &["secret"], 0));
    let mut met = meet(sides, usize::MAX).map(Option::unwrap);
    // The heartbeat that version 1 has in place of sealed features.
    for side in met.iter_mut().filter(|_| version == 1) {
        assert_eq!(side.incoming.pop().unwrap().unwrap(), [0].as_slice());
    }
    met
}

/// Reads to the end or to the first error, which has to stay one.
fn read(incoming: &mut Incoming, stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    incoming.push(stream);
    let mut messages = Vec::new();
    loop {
        match incoming.pop() {
            Ok(Some(message)) => messages.push(message.to_vec()),
            Ok(None) => return (messages, false),
            Err(_) => return (messages, true),
        }
    }
}

fn frames(outgoing: &mut Introduced, messages: &[Vec<u8>]) -> Vec<BytesMut> {
    let frame = |message: &Vec<u8>| {
        let mut frame = BytesMut::new();
        outgoing.outgoing.put(message, &mut frame).unwrap();
        frame
    };
    messages.iter().map(frame).collect()
}

proptest! {
    /// Law E1.
    #[test]
    fn a_sealed_stream_opens_to_what_was_sealed_however_it_is_cut(
        version in 1..=2_u8,
        messages in vec(vec(any::<u8>(), 0..300), 0..6),
        size in 1..200_usize,
    ) {
        let [mut dialler, mut acceptor] = pair(version);
        for is_back in [false, true] {
            let (from, to) = match is_back {
                false => (&mut dialler, &mut acceptor),
                true => (&mut acceptor, &mut dialler),
            };
            let stream = frames(from, &messages).concat();
            let mut opened = Vec::new();
            for piece in stream.chunks(size) {
                let (more, is_error) = read(&mut to.incoming, piece);
                prop_assert!(!is_error);
                opened.extend(more);
            }
            prop_assert_eq!(&opened, &messages);
            prop_assert!(to.incoming.is_between_frames());
        }
    }

    /// Law E2: what opens is always a beginning of what was sealed.
    #[test]
    fn a_changed_stream_ends_at_the_first_changed_message(
        version in 1..=2_u8,
        messages in vec(vec(any::<u8>(), 0..40), 1..6),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let [mut dialler, mut acceptor] = pair(version);
        let mut stream = frames(&mut dialler, &messages).concat();
        let at = place.index(stream.len());
        stream[at] ^= 1 << bit;

        let (opened, is_error) = read(&mut acceptor.incoming, &stream);

        prop_assert!(opened.len() < messages.len());
        prop_assert_eq!(&opened[..], &messages[..opened.len()]);
        // A length that grew may wait for bytes that never come; anything else is noticed.
        prop_assert!(is_error || !acceptor.incoming.is_between_frames());
    }

    /// Law E2 for whole messages: repeated, left out, exchanged, or sent back.
    #[test]
    fn messages_out_of_place_end_the_stream(
        version in 1..=2_u8,
        messages in vec(vec(any::<u8>(), 0..40), 3..6),
        place in any::<prop::sample::Index>(),
        kind in 0..4_u8,
    ) {
        let [mut dialler, mut acceptor] = pair(version);
        let mut sent = frames(&mut dialler, &messages);
        let at = place.index(sent.len() - 1);
        let mut expected = at;
        match kind {
            0 => {
                sent.insert(at, sent[at].clone());
                expected = at + 1;
            }
            1 => drop(sent.remove(at)),
            2 => sent.swap(at, at + 1),
            _ => {
                // The acceptor's own message in this place.
                let reflected = frames(&mut acceptor, &messages);
                sent[at] = reflected[at].clone();
            }
        }

        let (opened, is_error) = read(&mut acceptor.incoming, &sent.concat());

        prop_assert!(is_error);
        prop_assert_eq!(&opened[..], &messages[..expected]);
    }

    /// Law E3: an acceptor follows the dialler's choice, and they agree on every part of it.
    #[test]
    fn two_sides_that_share_the_choice_are_introduced_however_the_stream_is_cut(
        version in 1..=2_u8,
        choice in 0..3_usize,
        size in 1..80_usize,
    ) {
        let words = ["a", "b", "c"];
        let dialler = side(Sender::Dialler, version, &words, choice);
        let acceptor = side(Sender::Acceptor, version, &["x", "c", "b", "a"], 0);

        let [dialler, acceptor] = meet([dialler, acceptor], size).map(Option::unwrap);

        prop_assert_eq!(&dialler.sealed, &acceptor.sealed);
        let (_, password) = dialler.sealed.unwrap();
        prop_assert_eq!(password, Password::new(words[choice]));
        prop_assert_eq!(dialler.connection_uid, acceptor.connection_uid);
    }

    /// Law E4: bytes of a stranger yield an error or nothing, never an introduction.
    #[test]
    fn a_stranger_is_not_introduced(
        version in 1..=2_u8,
        is_dialler in any::<bool>(),
        bytes in vec(any::<u8>(), 0..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let role = if is_dialler { Sender::Dialler } else { Sender::Acceptor };
        let mut ours = side(role, version, &["secret", "other"], 0);
        let mut stream = vec![b'w', b'e', b'a', b'v', b'e', 1, version];
        stream.extend((version == 2).then_some(1));
        stream.extend(bytes);
        let (first, second) = stream.split_at(cut.index(stream.len()));
        for piece in [first, second] {
            match ours.handle_bytes(piece) {
                Ok(outcome) => prop_assert!(outcome.is_none()),
                Err(_) => break,
            }
        }
    }
}
