use super::{bytes, list, load, number, text};
use weave_mesh::peer::PeerName;

#[test]
fn texts_are_parsed_and_printed_as_recorded() {
    let vectors = load("peer_names");

    for case in list(&vectors["from_text"]) {
        let parsed = text(&case["input"]).parse::<PeerName>();
        match parsed {
            Ok(name) => {
                assert_eq!(case["ok"], true, "{case}");
                assert_eq!(u64::from(name), number(&case["u64"]), "{case}");
                assert_eq!(name.to_bytes().to_vec(), bytes(&case["bytes"]), "{case}");
                assert_eq!(name.to_string(), text(&case["text"]), "{case}");
            }
            Err(error) => assert_eq!(error.to_string(), text(&case["error"]), "{case}"),
        }
    }
}

/// Weave Net folds byte strings of any length into a number; only 6 bytes are a name here.
#[test]
fn byte_strings_of_other_lengths_than_six_are_refused() {
    let vectors = load("peer_names");

    for case in list(&vectors["from_bytes"]) {
        let given = bytes(&case["bytes"]);
        match PeerName::try_from(given.as_slice()) {
            Ok(name) => {
                assert_eq!(given.len(), 6, "{case}");
                assert_eq!(u64::from(name), number(&case["u64"]), "{case}");
                assert_eq!(name.to_string(), text(&case["text"]), "{case}");
            }
            Err(_) => assert_ne!(given.len(), 6, "{case}"),
        }
    }
}
