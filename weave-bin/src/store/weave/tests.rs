//! Files that Weave Net 2.9 wrote, and what it showed of them.

use serde_json::Value as Json;

use super::*;
use crate::store::Store;
use crate::store::tests::Scratch;

const FILE: &[u8] = include_bytes!("../../../tests/vectors/store/weave-netdata.db");
const SHOWN: &str = include_str!("../../../tests/vectors/store/weave-netdata.ip.json");
const VALUES: &str = include_str!("../../../tests/vectors/store/persist.json");

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn persisted() -> Json {
    serde_json::from_str(VALUES).unwrap()
}

/// The values of the vector, as they stand in the bucket.
fn persisted_values() -> Values {
    let json = persisted();
    let values = json["values_hex"].as_object().unwrap();
    values
        .iter()
        .map(|(key, value)| (key.clone().into_bytes(), hex(value.as_str().unwrap())))
        .collect()
}

fn place(scratch: &Scratch, file: &[u8]) -> Store {
    std::fs::write(scratch.path("weave-netdata.db"), file).unwrap();
    Store::new(&scratch.path("weave-net"))
}

#[test]
fn the_state_of_a_node_of_weave_net_is_taken_over() {
    let scratch = Scratch::new();
    let store = place(&scratch, FILE);

    let state = store.load().unwrap().unwrap();

    assert_eq!(state.peer_name, "62:d6:c4:97:8d:3a");
    assert_eq!(state.range, Some("10.32.0.0/12".parse().unwrap()));
    let ipam = state.ipam.unwrap();
    assert_eq!(ipam.peer.to_string(), state.peer_name);
    let ring = ipam.ring.unwrap();
    let entry = SnapshotEntry::new(
        "10.32.0.0".parse().unwrap(),
        ipam.peer,
        3,
        ring.entries[0].free,
    );
    assert_eq!(ring.entries, [entry]);
    let shown: Json = serde_json::from_str(SHOWN).unwrap();
    let shown: Vec<(String, String)> = shown["owned"]
        .as_array()
        .unwrap()
        .iter()
        .map(|held| (held["containerid"].to_string(), held["addrs"].to_string()))
        .collect();
    let owned: Vec<(String, String)> = ipam
        .owned
        .iter()
        .map(|(ident, held)| {
            let addresses: Vec<String> = held.addresses.iter().map(IpNet::to_string).collect();
            (
                Json::from(ident.as_str()).to_string(),
                Json::from(addresses).to_string(),
            )
        })
        .collect();
    assert_eq!(owned, shown);
}

#[test]
fn the_recorded_file_and_its_values_agree() {
    let scratch = Scratch::new();
    let json = persisted();
    let file = hex(json["bolt_file_hex_page_size_4096"].as_str().unwrap());

    let state = place(&scratch, &file).load().unwrap();

    assert_eq!(state, load(&persisted_values()).unwrap());
    let state = state.unwrap();
    assert_eq!(
        state.peer_name,
        json["decoded"]["peername"].as_str().unwrap()
    );
    let ipam = state.ipam.unwrap();
    for (ident, held) in json["decoded"]["ownedAddresses"].as_object().unwrap() {
        let found = &ipam.owned[ident];
        assert_eq!(Json::from(found.is_container), held["is_container"]);
        let addresses: Vec<String> = found.addresses.iter().map(IpNet::to_string).collect();
        assert_eq!(Json::from(addresses), held["cidrs"]);
    }
    let ring = ipam.ring.unwrap();
    let shown = &json["decoded"]["ring"];
    let seeds: Vec<String> = ring.seeds.iter().map(PeerId::to_string).collect();
    assert_eq!(Json::from(seeds), shown["seeds"]);
    for (entry, shown) in ring
        .entries
        .iter()
        .zip(shown["entries"].as_array().unwrap())
    {
        assert_eq!(Json::from(entry.token.to_string()), shown["token"]);
        assert_eq!(Json::from(entry.peer.to_string()), shown["peer"]);
        assert_eq!(Json::from(entry.version), shown["version"]);
        assert_eq!(Json::from(entry.free), shown["free"]);
    }
    assert_eq!(
        ring.entries.len(),
        shown["entries"].as_array().unwrap().len()
    );
}

#[test]
fn what_we_write_weave_net_reads_with_the_same_meaning() {
    let state = load(&persisted_values()).unwrap().unwrap();
    let mut values = Values::new();

    store(&state, &mut values).unwrap();

    assert_eq!(load(&values).unwrap().unwrap(), state);
    for (key, theirs) in persisted_values() {
        let ours = &values[&key];
        if key == VERSION.as_bytes() {
            assert_eq!(*ours, theirs);
            continue;
        }
        // The ids of types differ from process to process; the values do not.
        let decode = |bytes: &[u8]| sorted(Decoder::new(bytes).next().unwrap().unwrap());
        assert_eq!(
            decode(ours),
            decode(&theirs),
            "{}",
            String::from_utf8_lossy(&key)
        );
    }
}

/// Maps are written in any order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(mut entries) => {
            entries.sort_by_key(|(key, _)| format!("{key:?}"));
            Value::Map(entries)
        }
        other => other,
    }
}

#[test]
fn flags_of_weave_net_are_kept() {
    let scratch = Scratch::new();
    let store = place(&scratch, FILE);
    let mut file = store.open().unwrap();
    let flag = file.values[b"flag:peer-reclaim".as_slice()].clone();
    let state = file.stored().unwrap().clone();

    file.save(&state).unwrap();
    drop(file);

    let file = store.open().unwrap();
    assert_eq!(file.values[b"flag:peer-reclaim".as_slice()], flag);
    assert_eq!(file.stored(), Some(&state));
}

#[test]
fn a_file_with_only_a_flag_holds_no_state() {
    let mut values = Values::from([(b"flag:peer-reclaim".to_vec(), b"ok".to_vec())]);
    assert_eq!(load(&values), Ok(None));

    values.insert(VERSION.into(), vec![2, 0]);

    assert_eq!(load(&values), Err(Unusable::Version(vec![2, 0])));
}

#[test]
fn a_value_that_is_something_else_is_named() {
    for key in [PEER_NAME, RING, OWNED, DIRECT_PEERS] {
        let mut values = persisted_values();
        values.insert(key.into(), values[VERSION.as_bytes()].clone());

        let error = load(&values).unwrap_err().to_string();

        assert!(
            error.starts_with(&format!("its value {key:?} cannot be read")),
            "{error}"
        );
    }
}

#[test]
fn a_range_that_is_no_subnet_is_refused() {
    let mut state = load(&persisted_values()).unwrap().unwrap();
    let ring = |start: u64, end: u64| {
        let entry = [("Token", start), ("Peer", 1), ("Version", 0), ("Free", 0)];
        let entry = entry.map(|(name, number)| (name, Value::Uint(number)));
        let fields = [
            ("Start", Value::Uint(start)),
            ("End", Value::Uint(end)),
            (
                "Entries",
                Value::Slice(vec![Value::Struct(StructValue::new(entry))]),
            ),
        ];
        parse_ring(&Value::Struct(StructValue::new(fields)))
    };

    assert!(ring(0x0a20_0000, 0x0a30_0000).unwrap().is_some());
    assert!(ring(0x0a20_0000, 0x0a30_0001).is_err());
    assert!(ring(0x0a20_0001, 0x0a30_0001).is_err());
    assert!(ring(0x0a20_0000, 0).is_err());

    // Without a ring there is no allocator's state, as Weave Net sees it too.
    let mut values = Values::new();
    state.ipam = None;
    store(&state, &mut values).unwrap();
    assert!(!values.contains_key(RING.as_bytes()));
    assert_eq!(load(&values).unwrap().unwrap().ipam, None);
}
