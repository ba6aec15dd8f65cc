//! The recorded introductions with a password, on both protocol versions, with each side in turn
//! played by ours, and the recorded encrypted session.

use bytes::BytesMut;
use serde_json::Value;
use weave_mesh::connection::{Handshake, HandshakeError, Introduced, Offer};
use weave_mesh::crypto::nacl::{self, SecretKey};
use weave_mesh::crypto::session::{Sender, nonce};
use weave_mesh::crypto::{Credentials, Keyring, Password};
use weave_mesh::wire::intro::{Features, Header};

use crate::handshake::{case, features, offer};
use crate::unhex;

const SIDES: [(&str, &str, Sender); 2] = [
    ("outbound_side", "inbound_side", Sender::Dialler),
    ("inbound_side", "outbound_side", Sender::Acceptor),
];

fn hex(json: &Value) -> Vec<u8> {
    unhex(json.as_str().unwrap())
}

fn credentials(side: &Value, role: Sender) -> Credentials {
    let password = Password::new(side["password"].as_str().unwrap());
    Credentials {
        keyring: Keyring::new([password]).unwrap(),
        choice: 0,
        secret: SecretKey::from_bytes(hex(&side["private_key"]).try_into().unwrap()),
        role,
    }
}

/// Everything the recorded side sent.
fn stream(side: &Value) -> Vec<u8> {
    let mut stream = hex(&side["handshake_bytes"]);
    for message in side["messages_after_handshake"]
        .as_array()
        .into_iter()
        .flatten()
    {
        stream.extend(hex(&message["wire"]));
    }
    stream
}

/// Plays our side against recorded bytes, handed over in two pieces.
fn play(
    us: &Value,
    role: Sender,
    remote: &[u8],
    cut: usize,
) -> (Vec<u8>, Result<Introduced, HandshakeError>) {
    let mut ours = Handshake::with_password(offer(us), credentials(us, role));
    let mut output = ours.take_output().to_vec();
    let mut introduced = None;
    for piece in [&remote[..cut], &remote[cut..]] {
        if let Some(Introduced { incoming, .. }) = &mut introduced {
            incoming.push(piece);
            continue;
        }
        let outcome = ours.handle_bytes(piece);
        output.extend_from_slice(&ours.take_output());
        match outcome {
            Ok(outcome) => introduced = outcome,
            Err(error) => return (output, Err(error)),
        }
    }
    let broken = || ours.broken_off("EOF");
    (output, introduced.ok_or_else(broken))
}

#[test]
fn encrypted_introductions_succeed_as_recorded_wherever_they_are_cut() {
    // Every byte of one recording; the other two differ in what is said, not in its form.
    for (name, step) in [
        ("v2-encrypted", 1),
        ("v2-empty-password-is-still-encrypted", 29),
        ("v1-encrypted", 5),
    ] {
        let case = case(name);
        for (us, them, role) in SIDES {
            let (us, them) = (&case[us], &case[them]);
            let theirs = stream(them);
            for cut in (0..=theirs.len()).step_by(step) {
                let (output, introduced) = play(us, role, &theirs, cut);
                let mut introduced = introduced.unwrap();

                assert_eq!(introduced.version, case["negotiated_version"]);
                assert_received(&introduced.features, &us["features_received"]);
                let (key, _) = introduced.sealed.as_ref().unwrap();
                assert_eq!(key.as_bytes().to_vec(), hex(&case["session_key"]));
                assert_output(&output, us, role, &case);
                for message in them["messages_after_handshake"].as_array().unwrap() {
                    let opened = introduced.incoming.pop().unwrap().unwrap();
                    assert_eq!(opened, hex(&message["plaintext"]), "{name}");
                }
                assert!(introduced.incoming.is_between_frames());
            }
        }
    }
}

fn assert_received(features: &Features, recorded: &Value) {
    let mut expected = recorded.clone();
    if expected["Trusted"].is_null() {
        expected["Trusted"] = "false".into();
    }
    assert_eq!(*features, self::features(&expected));
}

/// Header and key are those of the recording; what is sealed with them holds a map without order.
fn assert_output(output: &[u8], us: &Value, role: Sender, case: &Value) {
    let name = &case["name"];
    let recorded = hex(&us["handshake_bytes"]);
    if case["negotiated_version"] == 1 {
        assert_eq!(output[..7], recorded[..7], "{name}");
        // Ours shows that it knows the password by a heartbeat: the recorded first message.
        let first = hex(&us["messages_after_handshake"][0]["wire"]);
        assert!(output.ends_with(&first), "{name}");
        let ours = Features::decode_legacy(&output[7..output.len() - first.len()]);
        assert_eq!(ours, Features::decode_legacy(&recorded[7..]), "{name}");
    } else {
        assert_eq!(output[..40], recorded[..40], "{name}");
        let session = hex(&case["session_key"]).try_into().unwrap();
        let open = |sealed: &[u8]| nacl::open(&session, &nonce(role, 0), sealed).unwrap();
        let ours = Features::decode(&open(&output[44..]));
        assert_eq!(ours, Features::decode(&open(&recorded[44..])), "{name}");
    }
}

#[test]
fn messages_behind_the_introduction_are_sealed_to_the_recorded_bytes() {
    for (name, already_sent) in [("v2-encrypted", 0), ("v1-encrypted", 1)] {
        let case = case(name);
        for (us, them, role) in SIDES {
            let theirs = stream(&case[them]);
            let (_, introduced) = play(&case[us], role, &theirs, theirs.len());
            let mut outgoing = introduced.unwrap().outgoing;

            let messages = case[us]["messages_after_handshake"].as_array().unwrap();
            for message in messages.iter().skip(already_sent) {
                let mut wire = BytesMut::new();
                outgoing
                    .put(&hex(&message["plaintext"]), &mut wire)
                    .unwrap();
                assert_eq!(wire, hex(&message["wire"]), "{name}");
            }
        }
    }
}

/// The recorded acceptor seals its features before it knows whom it talks to, and hands every
/// stranger something to test passwords on. Ours does not.
#[test]
fn another_password_is_refused_in_the_recorded_words_and_answered_with_nothing() {
    let case = case("fail-v2-password-mismatch");
    for (us, them, role) in SIDES {
        let theirs = stream(&case[them]);
        for cut in (0..=theirs.len()).step_by(13) {
            let (output, outcome) = play(&case[us], role, &theirs, cut);

            assert_eq!(
                outcome.unwrap_err().to_string(),
                "Unable to decrypt TCP msg"
            );
            if role == Sender::Acceptor {
                assert_eq!(output.len(), 7 + 33, "header, flag and key");
            }
        }
    }
}

/// The recorded side notices only after it has made the connection part of its topology.
#[test]
fn another_password_is_refused_on_version_1_before_the_remote_counts_as_introduced() {
    let case = case("v1-password-mismatch-detected-on-first-message");
    for (us, them, role) in SIDES {
        let mut theirs = stream(&case[them]);
        let (_, waiting) = play(&case[us], role, &theirs, theirs.len());
        assert!(waiting.is_err(), "features alone introduce nobody");
        // A sealed heartbeat under a key that is not ours.
        theirs.extend(unhex("140a0011e46f0596a62ee7a104cd8e77b143d3566b"));

        let (_, outcome) = play(&case[us], role, &theirs, theirs.len());

        assert_eq!(
            outcome.unwrap_err().to_string(),
            "Unable to decrypt TCP msg"
        );
    }
}

#[test]
fn a_remote_without_a_password_is_refused_in_the_recorded_words() {
    for (name, us) in [
        ("fail-v2-only-outbound-has-password", 0),
        ("fail-v2-only-inbound-has-password", 1),
        ("fail-v1-only-outbound-has-password", 0),
        ("fail-v1-only-inbound-has-password", 1),
    ] {
        let case = case(name);
        let (us, them, role) = SIDES[us];
        let theirs = hex(&case[them]["handshake_bytes"]);
        for cut in (0..=theirs.len()).step_by(13) {
            let (_, outcome) = play(&case[us], role, &theirs, cut);
            let error = outcome.unwrap_err().to_string();
            assert_eq!(error, case[us]["error"].as_str().unwrap(), "{name}");

            let mut plain = Handshake::new(offer(&case[them]));
            let theirs = hex(&case[us]["handshake_bytes"]);
            let error = plain.handle_bytes(&theirs).unwrap_err().to_string();
            assert_eq!(error, case[them]["error"].as_str().unwrap(), "{name}");
        }
    }
}

#[test]
fn plain_introductions_of_version_1_succeed_as_recorded_wherever_they_are_cut() {
    let case = case("v1-plaintext");
    for (us, them, _) in SIDES {
        let (us, them) = (&case[us], &case[them]);
        let theirs = stream(them);
        for cut in 0..=theirs.len() {
            let mut ours = Handshake::new(offer(us));
            let mut introduced = ours.handle_bytes(&theirs[..cut]).unwrap();
            match &mut introduced {
                Some(introduced) => introduced.incoming.push(&theirs[cut..]),
                None => introduced = ours.handle_bytes(&theirs[cut..]).unwrap(),
            }
            let mut introduced = introduced.unwrap();
            assert_received(&introduced.features, &us["features_received"]);
            for message in them["messages_after_handshake"].as_array().unwrap() {
                let read = introduced.incoming.pop().unwrap().unwrap();
                assert_eq!(read, hex(&message["plaintext"]));
            }
            for message in us["messages_after_handshake"].as_array().unwrap() {
                let mut wire = BytesMut::new();
                introduced
                    .outgoing
                    .put(&hex(&message["plaintext"]), &mut wire)
                    .unwrap();
                assert_eq!(wire, hex(&message["wire"]));
            }
        }
    }
}

/// Each router of the recorded session against the key that its relay had.
#[test]
fn a_recorded_router_is_introduced_and_everything_it_said_opens() {
    let file: Value =
        serde_json::from_str(include_str!("../vectors/capture_v2_encrypted.json")).unwrap();
    for (us, them, role) in SIDES {
        let (us, them) = (&file[us], &file[them]);
        let offer = Offer {
            versions: Header { min: 1, max: 2 },
            features: features(&us["messages"][0]["features"]),
        };
        let password = Password::new(file["password"].as_str().unwrap());
        let secret = hex(&them["peer_private_key"]);
        let credentials = Credentials {
            keyring: Keyring::new([Password::new("another"), password]).unwrap(),
            choice: 1,
            secret: SecretKey::from_bytes(secret.try_into().unwrap()),
            role,
        };
        let mut ours = Handshake::with_password(offer, credentials);

        let introduced = ours.handle_bytes(&hex(&them["stream"])).unwrap();

        let mut introduced = introduced.unwrap();
        let messages = them["messages"].as_array().unwrap();
        assert_eq!(introduced.features, features(&messages[0]["features"]));
        for message in &messages[1..] {
            let opened = introduced.incoming.pop().unwrap().unwrap();
            assert_eq!(opened, hex(&message["plaintext"]));
        }
        assert_eq!(introduced.incoming.pop(), Ok(None));
        assert!(introduced.incoming.is_between_frames());
    }
}
