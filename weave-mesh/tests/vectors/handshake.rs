use serde_json::Value as Json;

use super::{bytes, list, load, text};
use weave_mesh::gob::{Encoder, Type, Value};
use weave_mesh::wire::frame::FrameReader;
use weave_mesh::wire::intro::{Encryption, Features, Header, IntroError, Introduction, Step};
use weave_mesh::wire::message::Message;

fn header(side: &Json) -> Header {
    let version = |key: &str| u8::try_from(side[key].as_u64().expect("a version")).expect("a byte");
    Header {
        min: version("min_version"),
        max: version("max_version"),
    }
}

/// What `reader` makes of everything `writer` sent: the steps of the introduction and what is
/// left behind it.
fn introduce(reader: &Json, writer: &Json) -> Result<(Vec<Step>, Vec<u8>), IntroError> {
    let mut introduction = Introduction::new(header(reader), !reader["password"].is_null());
    introduction.push(&bytes(&writer["handshake_bytes"]));
    let mut steps = Vec::new();
    while let Some(step) = introduction.pop()? {
        steps.push(step);
    }
    assert!(introduction.is_complete());
    Ok((steps, introduction.into_rest().to_vec()))
}

/// Every case in both directions: its name, who reads, who writes.
fn directions(vectors: &Json) -> Vec<(&Json, &Json, &Json)> {
    let cases = list(&vectors["cases"]).iter();
    cases
        .flat_map(|case| {
            let (outbound, inbound) = (&case["outbound_side"], &case["inbound_side"]);
            [(case, outbound, inbound), (case, inbound, outbound)]
        })
        .collect()
}

fn decode_map(map: &Json) -> Features {
    let entries = map.as_object().expect("a map").iter();
    let entries = entries.map(|(key, value)| (key.as_str().into(), text(value).into()));
    let mut encoder = Encoder::new();
    encoder
        .value(
            &Type::map("", Type::String, Type::String),
            &Value::Map(entries.collect()),
        )
        .expect("it encodes");
    Features::decode(&encoder.finish()).expect("features")
}

#[test]
fn plain_version_2_introductions_are_read_and_written_as_recorded() {
    let vectors = load("handshake");
    let mut read = 0;

    for (case, reader, writer) in directions(&vectors) {
        let is_plain = reader["password"].is_null() && writer["password"].is_null();
        if !is_plain || case["negotiated_version"] != 2 {
            continue;
        }
        let (steps, rest) = introduce(reader, writer).unwrap();
        assert_eq!(
            steps,
            [Step::Version(2), Step::Encryption(Encryption::Plain)],
            "{}",
            case["name"]
        );

        let mut frames = FrameReader::new();
        frames.push(&rest);
        for message in list(&writer["messages_after_handshake"]) {
            frames.push(&bytes(&message["wire"]));
        }
        let features = Features::decode(&frames.pop().unwrap().unwrap()).unwrap();
        assert_eq!(
            features,
            decode_map(&reader["features_received"]),
            "{}",
            case["name"]
        );
        assert_eq!(
            features,
            decode_map(&writer["features_offered"]),
            "{}",
            case["name"]
        );
        assert_eq!(
            Features::decode(&features.encode()),
            Ok(features),
            "{}",
            case["name"]
        );
        for message in list(&writer["messages_after_handshake"]) {
            let frame = frames.pop().unwrap().unwrap();
            assert_eq!(frame, bytes(&message["plaintext"]), "{}", case["name"]);
            assert_eq!(
                Message::parse(&frame).unwrap().emit(),
                frame,
                "{}",
                case["name"]
            );
        }
        assert!(frames.is_between_frames());

        let mut written = header(writer).emit().to_vec();
        Encryption::Plain.emit(&mut written);
        assert!(
            bytes(&writer["handshake_bytes"]).starts_with(&written),
            "{}",
            case["name"]
        );
        read += 1;
    }
    assert_eq!(read, 4);
}

#[test]
fn encrypted_introductions_hand_over_the_public_key() {
    let vectors = load("handshake");
    let mut read = 0;

    for (case, reader, writer) in directions(&vectors) {
        let has_passwords = !reader["password"].is_null() && !writer["password"].is_null();
        if !has_passwords || case["negotiated_version"] != 2 {
            continue;
        }
        let key: [u8; 32] = bytes(&writer["public_key"]).try_into().unwrap();
        let (steps, _) = introduce(reader, writer).unwrap();
        assert_eq!(
            steps,
            [Step::Version(2), Step::Encryption(Encryption::Key(key))]
        );

        let mut written = header(writer).emit().to_vec();
        Encryption::Key(key).emit(&mut written);
        assert!(
            bytes(&writer["handshake_bytes"]).starts_with(&written),
            "{}",
            case["name"]
        );
        read += 1;
    }
    assert_eq!(read, 6);
}

#[test]
fn version_1_is_negotiated_and_leaves_a_gob_stream() {
    let vectors = load("handshake");
    let mut read = 0;

    for (case, reader, writer) in directions(&vectors) {
        if case["negotiated_version"] != 1 {
            continue;
        }
        let (steps, rest) = introduce(reader, writer).unwrap();
        assert_eq!(steps, [Step::Version(1)], "{}", case["name"]);
        assert_eq!(rest, bytes(&writer["handshake_bytes"])[Header::SIZE..]);
        read += 1;
    }
    assert_eq!(read, 10);
}

#[test]
fn introductions_that_do_not_fit_fail_in_the_recorded_words() {
    let vectors = load("handshake");
    let failing = [
        "fail-v2-only-outbound-has-password",
        "fail-v2-only-inbound-has-password",
        "fail-version-ranges-disjoint",
    ];
    let mut failed = 0;

    for (case, reader, writer) in directions(&vectors) {
        if failing.contains(&text(&case["name"])) {
            let error = introduce(reader, writer).unwrap_err();
            assert_eq!(
                error.to_string(),
                text(&reader["error"]),
                "{}",
                case["name"]
            );
            failed += 1;
        }
    }
    assert_eq!(failed, 6);
}

/// What a whole connection attempt makes of a remote that sends `sent` and closes.
fn reject(sent: &[u8]) -> Result<Features, String> {
    let mut introduction = Introduction::new(Header { min: 1, max: 2 }, false);
    introduction.push(sent);
    while introduction
        .pop()
        .map_err(|error| error.to_string())?
        .is_some()
    {}
    if !introduction.is_complete() {
        return Err(introduction.broken_off("EOF").to_string());
    }
    let mut frames = FrameReader::new();
    frames.push(&introduction.into_rest());
    let frame = frames
        .pop()
        .map_err(|error| error.to_string())?
        .ok_or("unexpected EOF")?;
    Features::decode(&frame).map_err(|error| error.to_string())
}

#[test]
fn bad_remotes_are_refused_in_the_recorded_words() {
    let vectors = load("handshake_rejects");

    for case in list(&vectors["cases"]) {
        let error = reject(&bytes(&case["remote_sends"])).unwrap_err();
        assert_eq!(error, text(&case["error"]), "{}", case["name"]);
    }
}
