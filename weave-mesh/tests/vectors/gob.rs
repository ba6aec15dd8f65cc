use super::{bytes, list, load, text};
use weave_mesh::gob::{Decoder, Encoder, StructValue, Type, Value};

/// The types whose encodings are recorded, by the name of the entry.
fn type_of(entry: &str) -> Type {
    let summary = || {
        Type::structure(
            "peerSummary",
            [
                ("NameByte", Type::Bytes),
                ("NickName", Type::String),
                ("UID", Type::Uint),
                ("Version", Type::Uint),
                ("ShortID", Type::Uint),
                ("HasShortID", Type::Bool),
            ],
        )
    };
    let connections = || {
        let connection = Type::structure(
            "connectionSummary",
            [
                ("NameByte", Type::Bytes),
                ("RemoteTCPAddr", Type::String),
                ("Outbound", Type::Bool),
                ("Established", Type::Bool),
            ],
        );
        Type::slice("", connection)
    };
    match entry.split(' ').next() {
        Some("string") => Type::String,
        Some("bytes") => Type::Bytes,
        Some("peer") if !entry.starts_with("peer list") => Type::Uint,
        Some("map") => Type::map("", Type::String, Type::String),
        Some("connectionSummary") => connections(),
        _ => summary(),
    }
}

/// Type ids are the sender's choice: renumbered as in the process that was recorded.
fn first_id(entry: &str) -> u32 {
    if entry.starts_with("map") { 64 } else { 65 }
}

#[test]
fn recorded_values_are_decoded_and_encoded_to_the_same_bytes() {
    let vectors = load("gob");

    for case in list(&vectors["entries"]) {
        let entry = text(&case["name"]);
        let stream = bytes(&case["hex"]);
        let mut decoder = Decoder::new(&stream);
        let mut encoder = Encoder::numbering_from(first_id(entry));
        if entry.starts_with("connectionSummary") {
            // The recorded ids go on behind those of a summary.
            encoder = Encoder::numbering_from(66);
        }
        let mut is_summary = true;
        while let Some(value) = decoder.next().unwrap() {
            let ty = if entry.starts_with("peer list") && !is_summary {
                type_of("connectionSummary")
            } else {
                type_of(entry)
            };
            encoder.value(&ty, &value).unwrap();
            is_summary = !is_summary;
        }

        assert_eq!(encoder.finish(), stream, "{entry}");
    }
}

#[test]
fn a_summary_of_zeros_has_no_field() {
    let vectors = load("gob");
    let case = list(&vectors["entries"])
        .iter()
        .find(|case| case["name"] == "peerSummary zero")
        .expect("the entry is there");

    let stream = bytes(&case["hex"]);
    let value = Decoder::new(&stream).next().unwrap().unwrap();

    assert_eq!(value, Value::Struct(StructValue::new::<&str>([])));
    assert_eq!(value.as_struct().unwrap().declared().count(), 6);
}
