//! Messages of the channel `nameserver`, in the bytes of Weave Net's name server.
//!
//! ```text
//! GossipData { Timestamp int, Entries []Entry }
//! Entry      { ContainerID string, Origin uint, Addr uint, Hostname string, Version, Tombstone int }
//! ```
//!
//! Entries go out sorted by (name by bytes, origin, container, address): peers older than the store
//! that ignores case search what they receive by halves and rely on it.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use weave_mesh::gob::{Decoder, Encoder, Error, StructValue, Type, Value};
use weave_mesh::peer::PeerName;

use super::store::{Entry, Key, Life, Store};

/// What a peer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was written, in seconds since 1970 by the sender's clock.
    pub timestamp: i64,
    /// The entries that can be read.
    pub entries: Vec<Entry>,
    /// How many entries have no peer or no IPv4 address.
    pub unreadable: usize,
}

/// The message with every entry of `store`, written at `timestamp`.
pub fn encode(timestamp: i64, store: &Store) -> Vec<u8> {
    let mut entries: Vec<(&Key, Life)> = store.iter().collect();
    entries.sort_by_key(|(key, _)| (&*key.hostname, key.origin, &*key.container, key.address));
    let list = entries.into_iter().map(|(key, life)| write(key, life));
    let message = StructValue::new([
        ("Timestamp", Value::Int(timestamp)),
        ("Entries", Value::Slice(list.collect())),
    ]);
    let mut encoder = Encoder::numbering_from(FIRST_ID);
    encoder
        .value(&TYPE, &Value::from(message))
        .expect("invariant: the value is built after the type");
    encoder.finish()
}

/// Reads a message.
///
/// # Errors
/// The payload is no gob, or of another type. Single entries that make no sense are counted only.
pub fn decode(payload: &[u8]) -> Result<Message, Error> {
    let value = Decoder::new(payload).next()?.ok_or(Error::Eof)?;
    let fields = value.as_struct()?;
    fields.require_common_field("GossipData", &["Timestamp", "Entries"])?;
    let timestamp = int(fields, "Timestamp")?;
    let list = fields
        .field("Entries")
        .map_or(Ok(&[][..]), Value::as_slice)?;
    let mut message = Message {
        timestamp,
        entries: Vec::with_capacity(list.len()),
        unreadable: 0,
    };
    for value in list {
        match read(value.as_struct()?)? {
            Some(entry) => message.entries.push(entry),
            None => message.unreadable += 1,
        }
    }
    Ok(message)
}

fn write(key: &Key, life: Life) -> Value {
    Value::from(StructValue::new([
        ("ContainerID", Value::String(key.container.to_string())),
        ("Origin", Value::Uint(key.origin.into())),
        ("Addr", Value::Uint(u32::from(key.address).into())),
        ("Hostname", Value::String(key.hostname.to_string())),
        ("Version", Value::Int(life.version)),
        ("Tombstone", Value::Int(life.tombstone)),
    ]))
}

fn read(fields: &StructValue) -> Result<Option<Entry>, Error> {
    let text = |name| fields.field(name).map_or(Ok(""), Value::as_str);
    let uint = |name| fields.field(name).map_or(Ok(0), Value::as_uint);
    let (container, hostname) = (text("ContainerID")?, text("Hostname")?);
    let (origin, address) = (uint("Origin")?, uint("Addr")?);
    let life = Life {
        version: int(fields, "Version")?,
        tombstone: int(fields, "Tombstone")?,
    };
    let (Ok(origin), Ok(address)) = (PeerName::try_from(origin), u32::try_from(address)) else {
        return Ok(None);
    };
    let key = Key {
        hostname: hostname.into(),
        origin,
        container: container.into(),
        address: Ipv4Addr::from(address),
    };
    Ok(Some(Entry { key, life }))
}

fn int(fields: &StructValue, name: &str) -> Result<i64, Error> {
    fields.field(name).map_or(Ok(0), Value::as_int)
}

static TYPE: LazyLock<Type> = LazyLock::new(|| {
    let entry = [
        ("ContainerID", Type::String),
        ("Origin", Type::Uint),
        ("Addr", Type::Uint),
        ("Hostname", Type::String),
        ("Version", Type::Int),
        ("Tombstone", Type::Int),
    ];
    let entries = Type::slice("Entries", Type::structure("Entry", entry));
    Type::structure(
        "GossipData",
        [("Timestamp", Type::Int), ("Entries", entries)],
    )
});

/// Readers go by the definitions; this is the number from which the reference counts, so that
/// messages come out with the same bytes.
const FIRST_ID: u32 = 64;

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn recorded() -> Json {
        let text = include_str!("../../tests/vectors/dns/dns-gossip.json");
        serde_json::from_str(text).unwrap()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn entry(case: &Json) -> Entry {
        let text = |name: &str| case[name].as_str().unwrap();
        Entry {
            key: Key {
                hostname: text("Hostname").into(),
                origin: PeerName::try_from(case["Origin"].as_u64().unwrap()).unwrap(),
                container: text("ContainerID").into(),
                address: text("Addr").parse().unwrap(),
            },
            life: Life {
                version: case["Version"].as_i64().unwrap(),
                tombstone: case["Tombstone"].as_i64().unwrap(),
            },
        }
    }

    #[test]
    fn recorded_messages_are_written_byte_for_byte_and_read() {
        for case in recorded()["cases"].as_array().unwrap() {
            let now = case["timestamp"].as_i64().unwrap();
            let listed = case["entries"].as_array().unwrap().iter().map(entry);
            let mut listed: Vec<Entry> = listed.collect();
            let mut store = Store::new(PeerName::try_from(9).unwrap());
            let known = listed.iter().map(|entry| entry.key.origin).collect();
            let _ = store.set_known(now, known);
            let merged = store.merge(now, listed.clone());
            assert_eq!(merged.refused, 0);

            let wire = bytes(case["hex"].as_str().unwrap());
            assert_eq!(encode(now, &store), wire, "{}", case["name"]);

            let read = decode(&wire).unwrap();
            assert_eq!((read.timestamp, read.unreadable), (now, 0));
            // Byte order: capital letters come first, which the store's own order does not say.
            listed.sort_by(|a, b| a.key.hostname.cmp(&b.key.hostname));
            assert_eq!(read.entries, listed, "{}", case["name"]);
        }
    }

    #[test]
    fn entries_without_a_peer_or_an_ipv4_address_are_counted_and_the_rest_is_read() {
        let list = [(0, 1), (1 << 48, 1), (1, 1 << 32), (1, 7)].map(|(origin, address)| {
            Value::from(StructValue::new([
                ("Origin", Value::Uint(origin)),
                ("Addr", Value::Uint(address)),
                ("Hostname", Value::String("a.weave.local.".to_owned())),
            ]))
        });
        let message = StructValue::new([
            ("Timestamp", Value::Int(5)),
            ("Entries", Value::Slice(list.to_vec())),
        ]);
        let mut encoder = Encoder::new();
        encoder.value(&TYPE, &Value::from(message)).unwrap();

        let read = decode(&encoder.finish()).unwrap();

        // The peer of number 0 is read and refused by the store.
        assert_eq!((read.entries.len(), read.unreadable), (2, 2));
        assert_eq!(read.entries[1].key.address, Ipv4Addr::new(0, 0, 0, 7));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for payload in [&b""[..], b"\x00", b"\xff\xff", b"\x03\x04\x00\x02"] {
            assert!(decode(payload).is_err(), "{payload:?}");
        }
    }
}
