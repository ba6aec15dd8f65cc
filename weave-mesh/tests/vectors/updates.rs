use super::{bytes, list, load, record, text};
use weave_mesh::peer::PeerRecord;
use weave_mesh::wire::update;

#[test]
fn recorded_updates_are_decoded_and_survive_our_encoding() {
    let vectors = load("topology_updates");

    for case in list(&vectors["entries"]) {
        let expected: Vec<PeerRecord> = list(&case["peers"]).iter().map(record).collect();

        let decoded = update::decode(&bytes(&case["hex"])).unwrap();

        assert_eq!(decoded, expected, "{}", case["name"]);
        assert_eq!(
            update::decode(&update::encode(&decoded)),
            Ok(expected),
            "{}",
            case["name"]
        );
    }
}

/// What we refuse, in our words. Two of the streams Weave Net accepts are among them: it folds
/// names that are not 6 bytes long into a number, here they end the connection.
const REFUSED: [(&str, &str); 18] = [
    (
        "ShortID value does not fit 16 bits",
        "value for \"ShortID\" out of range",
    ),
    (
        "UID sent as signed integer",
        "gob: wrong type: int where uint is needed",
    ),
    (
        "no field in common",
        "gob: type mismatch: no fields matched compiling decoder for peerSummary",
    ),
    (
        "NameByte sent as string",
        "gob: wrong type: string where bytes is needed",
    ),
    ("name of 8 bytes", "value for \"NameByte\" out of range"),
    ("name of 0 bytes", "value for \"NameByte\" out of range"),
    (
        "connection list where summary expected",
        "gob: wrong type: slice where struct is needed",
    ),
    ("truncated by one byte", "unexpected EOF"),
    ("trailing garbage after last message", "unexpected EOF"),
    (
        "canonical, type id below 64 (63)",
        "gob: duplicate type received (id 63)",
    ),
    (
        "two streams concatenated (type 65 defined twice)",
        "gob: duplicate type received (id 65)",
    ),
    ("definition with left over bytes", "extra data in buffer"),
    (
        "nine byte unsigned integer",
        "gob: encoded unsigned integer out of range",
    ),
    (
        "string length beyond the message",
        "gob: length 99 exceeds the rest of the message",
    ),
    (
        "connection count beyond the message",
        "gob: length 5 exceeds the rest of the message",
    ),
    (
        "field number beyond the definition",
        "gob: bad data: field numbers out of bounds",
    ),
    (
        "value of a type that was never defined",
        "gob: unknown type id or corrupted data (id 80)",
    ),
    (
        "nonzero singleton marker",
        "gob: decode: corrupted data: non-zero delta for singleton",
    ),
];

#[test]
fn odd_updates_are_accepted_or_refused_as_recorded() {
    let vectors = load("gob_tolerance");
    let mut refused = Vec::new();

    for case in list(&vectors["entries"]) {
        let title = text(&case["name"]);
        match update::decode(&bytes(&case["hex"])) {
            Ok(records) => {
                assert_eq!(case["accepted"], true, "{title}");
                let expected: Vec<PeerRecord> = list(&case["peers"]).iter().map(record).collect();
                assert_eq!(records, expected, "{title}");
            }
            Err(error) => refused.push((title.to_owned(), error.to_string())),
        }
    }

    let expected = REFUSED.map(|(title, error)| (title.to_owned(), error.to_owned()));
    assert_eq!(refused, expected);
}
