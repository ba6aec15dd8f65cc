//! The feature maps of both versions, key by key.

use std::net::SocketAddr;

use super::*;

const COMPLETE: [(&str, &str); 8] = [
    ("PeerNameFlavour", "mac"),
    ("Name", "0a:00:00:00:00:01"),
    ("NickName", ""),
    ("UID", "18446744073709551615"),
    ("ConnID", "5"),
    ("ShortID", "4095"),
    ("Trusted", "T"),
    ("Overlays", "fastdp sleeve"),
];

fn stream<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let entries = entries
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()));
    let mut encoder = Encoder::new();
    let map = Value::Map(entries.collect());
    encoder
        .value(&Type::map("", Type::String, Type::String), &map)
        .unwrap();
    encoder.finish()
}

fn decode<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Features, FeaturesError> {
    Features::decode(&stream(entries))
}

fn with(key: &str, value: &str) -> Result<Features, String> {
    let entries = COMPLETE.map(|(known, old)| (known, if known == key { value } else { old }));
    decode(entries).map_err(|error| error.to_string())
}

#[test]
fn a_complete_map_is_read_and_unknown_keys_are_ignored() {
    let features = decode(COMPLETE.into_iter().chain([("Digest", "1")])).unwrap();

    assert_eq!(features.name.to_string(), "0a:00:00:00:00:01");
    assert_eq!(
        (features.nickname.as_str(), features.uid),
        ("", Uid(u64::MAX))
    );
    assert_eq!(features.short_id, ShortId::try_from(4095).ok());
    assert!(features.trusted);
    assert_eq!(
        features.overlays,
        Some(vec!["fastdp".to_owned(), "sleeve".to_owned()])
    );
}

#[test]
fn optional_keys_may_be_absent() {
    let features = decode(COMPLETE.into_iter().take(5)).unwrap();

    assert_eq!(
        (features.short_id, features.trusted, features.overlays),
        (None, false, None)
    );
}

#[test]
fn missing_keys_are_reported_in_the_order_of_weave_net() {
    for (missing, (key, _)) in COMPLETE.into_iter().enumerate().take(5) {
        let entries = COMPLETE.into_iter().skip(missing + 1);
        let kept = COMPLETE.into_iter().take(missing);

        let error = decode(kept.chain(entries)).unwrap_err();
        assert_eq!(error.to_string(), format!("field {key} is missing"));
        let error = decode(COMPLETE.into_iter().take(missing)).unwrap_err();
        assert_eq!(error.to_string(), format!("field {key} is missing"));
    }
}

#[test]
fn malformed_values_are_named() {
    assert_eq!(
        with("PeerNameFlavour", "hash").unwrap_err(),
        "Peer name flavour mismatch (ours: 'mac', theirs: 'hash')"
    );
    assert_eq!(
        with("Name", "me").unwrap_err(),
        "invalid peer name format: \"me\""
    );
    assert_eq!(
        with("Name", "00:00:00:00:00:00").unwrap_err(),
        "peer name 00:00:00:00:00:00 is reserved"
    );
    for (key, value) in [
        ("UID", "+1"),
        ("UID", ""),
        ("UID", "18446744073709551616"),
        ("ConnID", "0x5"),
        ("ShortID", "4096"),
        ("Trusted", "yes"),
    ] {
        let error = format!("field {key} has the malformed value \"{value}\"");
        assert_eq!(with(key, value).unwrap_err(), error);
    }
}

#[test]
fn sizes_are_bounded() {
    let long = "n".repeat(MAX_NICKNAME + 1);
    assert_eq!(
        with("NickName", &long).unwrap_err(),
        "nickname of 1025 bytes is too long"
    );
    let longer = "n".repeat(MAX_FEATURES);
    assert!(matches!(
        decode([("Padding", &*longer)]),
        Err(FeaturesError::TooLong(_))
    ));
}

/// Weave Net closes a connection without a common overlay; an empty list has none.
#[test]
fn an_empty_list_of_overlays_is_not_an_absent_one() {
    assert_eq!(with("Overlays", "").unwrap().overlays, Some(Vec::new()));
}

#[test]
fn the_sync_version_is_optional_and_never_refused() {
    let sync = |text| {
        let entries = COMPLETE.into_iter().chain([("Sync", text)]);
        decode(entries).unwrap().sync
    };

    assert_eq!(decode(COMPLETE).unwrap().sync, 0);
    assert_eq!([sync("1"), sync("7"), sync("300"), sync("x")], [1, 7, 0, 0]);
    let ours = Features {
        sync: 1,
        ..decode(COMPLETE).unwrap()
    };
    assert_eq!(Features::decode(&ours.encode()), Ok(ours));
}

#[test]
fn why_there_is_no_room_is_said_in_bounded_words() {
    let says = |reason: &str, others: u16| {
        let others = (0..others).map(|n| SocketAddr::from(([10, 0, 0, 9], 1000 + n)));
        let ours = Features {
            refused: Some(Refused {
                reason: reason.to_owned(),
                others: others.collect(),
            }),
            ..decode(COMPLETE).unwrap()
        };
        Features::decode(&ours.encode()).unwrap().refused.unwrap()
    };

    assert_eq!(decode(COMPLETE).unwrap().refused, None);
    assert!(!decode(COMPLETE).unwrap().needy);
    let needy = Features {
        needy: true,
        ..decode(COMPLETE).unwrap()
    };
    assert_eq!(Features::decode(&needy.encode()), Ok(needy));
    assert_eq!(says("no room", 0).reason, "no room");
    assert!(says("no room", 0).others.is_empty());
    assert_eq!(says(&"é".repeat(1000), 0).reason, "é".repeat(200));
    assert_eq!(says("", 3).others[2].to_string(), "10.0.0.9:1002");
    assert_eq!(says("", 100).others.len(), MAX_OTHERS);
    let entries = COMPLETE
        .into_iter()
        .chain([("Refused", "no"), ("Others", "x  1.2.3.4:5 ::")]);
    let refused = decode(entries).unwrap().refused.unwrap();
    assert_eq!(refused.others, ["1.2.3.4:5".parse().unwrap()]);
}

#[test]
fn the_connection_id_is_the_same_on_both_sides() {
    let (one, other) = (with("ConnID", "12").unwrap(), with("ConnID", "10").unwrap());

    assert_eq!(one.connection_uid(&other), 6);
    assert_eq!(other.connection_uid(&one), 6);
}

#[test]
fn version_1_knows_five_keys_and_the_public_key() {
    let features = decode(COMPLETE).unwrap();
    let key = [0xa5; 32];

    let (read, public_key) = Features::decode_legacy(&features.encode_legacy(Some(&key))).unwrap();

    assert_eq!(public_key, Some(key));
    assert_eq!(
        (read.name, read.uid, read.conn_id),
        (features.name, features.uid, features.conn_id)
    );
    assert_eq!(
        (read.short_id, read.trusted, read.overlays),
        (None, false, None)
    );
    let (_, none) = Features::decode_legacy(&features.encode_legacy(None)).unwrap();
    assert_eq!(none, None);
}

#[test]
fn what_a_later_version_adds_is_not_read_from_version_1() {
    let features = decode(COMPLETE).unwrap();

    let (read, _) = Features::decode_legacy(&features.encode()).unwrap();

    assert_eq!(
        (read.short_id, read.trusted, read.overlays),
        (None, false, None)
    );
}

#[test]
fn a_malformed_public_key_is_refused() {
    for text in [
        "",
        "a5",
        &"g".repeat(64),
        &"+5".repeat(32),
        &"a5".repeat(33),
    ] {
        let entries = COMPLETE.into_iter().chain([("PublicKey", text)]);

        let error = Features::decode_legacy(&stream(entries)).unwrap_err();

        assert!(
            error.to_string().starts_with("field PublicKey has"),
            "{error}"
        );
    }
}
