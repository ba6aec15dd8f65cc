//! The recorded introductions, with each side in turn played by ours.

use serde_json::Value;
use weave_mesh::connection::{Handshake, HandshakeError, Introduced, Offer};
use weave_mesh::peer::{ShortId, Uid};
use weave_mesh::wire::intro::{Features, Header};
use weave_mesh::wire::message::Message;

use crate::unhex;

fn cases(file: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(file).unwrap();
    whole["cases"].as_array().unwrap().clone()
}

fn recorded() -> Vec<Value> {
    cases(include_str!("../vectors/handshake.json"))
}

pub(crate) fn case(name: &str) -> Value {
    recorded()
        .into_iter()
        .find(|case| case["name"] == name)
        .unwrap()
}

/// What a recorded side offers.
pub(crate) fn offer(side: &Value) -> Offer {
    let number = |key: &str| u8::try_from(side[key].as_u64().unwrap()).unwrap();
    Offer {
        versions: Header {
            min: number("min_version"),
            max: number("max_version"),
        },
        features: features(&side["features_offered"]),
    }
}

pub(crate) fn features(map: &Value) -> Features {
    let text = |key: &str| map[key].as_str();
    Features {
        name: text("Name").unwrap().parse().unwrap(),
        nickname: text("NickName").unwrap().to_owned(),
        uid: Uid(text("UID").unwrap().parse().unwrap()),
        conn_id: text("ConnID").unwrap().parse().unwrap(),
        short_id: text("ShortID").map(|id| ShortId::try_from(id.parse::<u16>().unwrap()).unwrap()),
        trusted: text("Trusted") == Some("true"),
        overlays: text("Overlays").map(|list| list.split(' ').map(str::to_owned).collect()),
        sync: 0,
        refused: None,
        needy: false,
    }
}

/// Plays our side against recorded bytes, handed over in two pieces.
fn play(offer: Offer, remote: &[u8], cut: usize) -> (Vec<u8>, Result<Introduced, HandshakeError>) {
    let mut ours = Handshake::new(offer);
    let mut output = ours.take_output().to_vec();
    for piece in [&remote[..cut], &remote[cut..]] {
        let outcome = ours.handle_bytes(piece);
        output.extend_from_slice(&ours.take_output());
        match outcome {
            Ok(None) => {}
            Ok(Some(introduced)) => return (output, Ok(introduced)),
            Err(error) => return (output, Err(error)),
        }
    }
    (output, Err(ours.broken_off("EOF")))
}

#[test]
fn plaintext_introductions_succeed_as_recorded_wherever_they_are_cut() {
    for name in ["v2-plaintext", "v2-future-peer-offers-2-to-9"] {
        let case = case(name);
        let sides = [&case["outbound_side"], &case["inbound_side"]];
        for (us, them) in [(sides[0], sides[1]), (sides[1], sides[0])] {
            let recorded = unhex(us["handshake_bytes"].as_str().unwrap());
            let theirs = unhex(them["handshake_bytes"].as_str().unwrap());
            for cut in 0..=theirs.len() {
                let (output, introduced) = play(offer(us), &theirs, cut);
                let introduced = introduced.unwrap();

                assert_eq!(introduced.version, 2, "{name}");
                assert_eq!(introduced.features, features(&us["features_received"]));
                let (ours, other) = (features(&us["features_offered"]), &introduced.features);
                assert_eq!(introduced.connection_uid, ours.conn_id ^ other.conn_id);
                // Header and flag are equal byte for byte; the map has no order and its type any id.
                assert_eq!(output[..8], recorded[..8]);
                assert_eq!(
                    Features::decode(&output[12..]),
                    Features::decode(&recorded[12..])
                );
            }
        }
    }
}

#[test]
fn messages_behind_the_introduction_are_kept() {
    let case = case("v2-plaintext");
    let (us, them) = (&case["outbound_side"], &case["inbound_side"]);
    let mut theirs = unhex(them["handshake_bytes"].as_str().unwrap());
    let messages = them["messages_after_handshake"].as_array().unwrap();
    for message in messages {
        theirs.extend(unhex(message["wire"].as_str().unwrap()));
    }

    let cut = theirs.len();
    let (_, introduced) = play(offer(us), &theirs, cut);

    let mut incoming = introduced.unwrap().incoming;
    for message in messages {
        let frame = incoming.pop().unwrap().unwrap();
        assert_eq!(frame, unhex(message["plaintext"].as_str().unwrap()));
        assert_eq!(Message::parse(&frame).unwrap().emit(), frame);
    }
    assert!(incoming.is_between_frames());
}

#[test]
fn a_remote_with_a_password_is_refused_in_the_recorded_words() {
    for (name, us, them) in [
        (
            "fail-v2-only-outbound-has-password",
            "inbound_side",
            "outbound_side",
        ),
        (
            "fail-v2-only-inbound-has-password",
            "outbound_side",
            "inbound_side",
        ),
    ] {
        let case = case(name);
        let theirs = unhex(case[them]["handshake_bytes"].as_str().unwrap());

        let (output, outcome) = play(offer(&case[us]), &theirs, theirs.len());

        assert_eq!(
            outcome.unwrap_err().to_string(),
            case[us]["error"].as_str().unwrap()
        );
        assert_eq!(
            output[..8],
            unhex(case[us]["handshake_bytes"].as_str().unwrap())[..8]
        );
    }
}

#[test]
fn version_ranges_without_overlap_are_refused_in_the_recorded_words() {
    let case = case("fail-version-ranges-disjoint");
    for (us, them) in [
        ("outbound_side", "inbound_side"),
        ("inbound_side", "outbound_side"),
    ] {
        let theirs = unhex(case[them]["handshake_bytes"].as_str().unwrap());

        let (_, outcome) = play(offer(&case[us]), &theirs, theirs.len());

        assert_eq!(
            outcome.unwrap_err().to_string(),
            case[us]["error"].as_str().unwrap()
        );
    }
}

#[test]
fn rejected_byte_strings_give_the_recorded_errors() {
    let offer = offer(&case("v2-plaintext")["outbound_side"]);
    for case in cases(include_str!("../vectors/handshake_rejects.json")) {
        let sent = unhex(case["remote_sends"].as_str().unwrap());
        for cut in 0..=sent.len() {
            let (_, outcome) = play(offer.clone(), &sent, cut);
            let error = outcome.unwrap_err().to_string();
            assert_eq!(error, case["error"].as_str().unwrap(), "{}", case["name"]);
        }
    }
}
