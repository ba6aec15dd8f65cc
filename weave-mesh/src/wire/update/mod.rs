//! Topology updates: records of peers, the payload of the channel `topology`.
//!
//! ```text
//! summary type │ summary₁ │ slice type, connection type │ connections₁ │ summary₂ │ connections₂ …
//! ```
//!
//! Each item is a gob message. The type ids are constants here, so the two messages of a record
//! depend on nothing but the record: [`encode_record`] can be cached until the record changes and
//! an update is a concatenation ([`join`]).

mod decode;

use crate::gob::{put_bytes, put_uint};
use crate::peer::PeerRecord;

pub use decode::{MAX_RECORDS, decode, decode_news};

/// The bytes of one record in an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    bytes: Vec<u8>,
    summary: usize,
}

impl EncodedRecord {
    /// What the record adds to an update, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Encodes the part of an update that belongs to one record.
#[must_use]
pub fn encode_record(record: &PeerRecord) -> EncodedRecord {
    let mut message = Vec::with_capacity(64);
    message.extend_from_slice(SUMMARY_ID);
    let mut fields = Fields::new(&mut message);
    fields.bytes(&record.name.to_bytes());
    fields.bytes(record.nickname.as_bytes());
    fields.uint(record.uid.0);
    fields.uint(record.version);
    fields.uint(record.short_id.map_or(0, |id| u16::from(id).into()));
    fields.uint(record.short_id.is_some().into());
    fields.end();
    let mut bytes = Vec::with_capacity(message.len() + 4 + 40 * record.connections.len());
    put_bytes(&mut bytes, &message);
    let summary = bytes.len();

    message.clear();
    message.extend_from_slice(CONNECTIONS_HEAD);
    put_uint(&mut message, record.connections.len() as u64);
    for (remote, link) in &record.connections {
        let mut fields = Fields::new(&mut message);
        fields.bytes(&remote.to_bytes());
        link.address.with_text(|text| fields.bytes(text.as_bytes()));
        fields.uint(link.outbound.into());
        fields.uint(link.established.into());
        fields.end();
    }
    put_bytes(&mut bytes, &message);
    EncodedRecord { bytes, summary }
}

/// The update that consists of these records. Each peer may occur only once.
#[must_use]
pub fn join<'r>(records: impl IntoIterator<Item = &'r EncodedRecord>) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, record) in records.into_iter().enumerate() {
        if index == 0 {
            let (summary, connections) = record.bytes.split_at(record.summary);
            out.extend_from_slice(SUMMARY_TYPE);
            out.extend_from_slice(summary);
            out.extend_from_slice(CONNECTIONS_TYPES);
            out.extend_from_slice(connections);
        } else {
            out.extend_from_slice(&record.bytes);
        }
    }
    out
}

/// Encodes an update. Each peer may occur only once.
#[must_use]
pub fn encode<'r>(records: impl IntoIterator<Item = &'r PeerRecord>) -> Vec<u8> {
    let encoded: Vec<_> = records.into_iter().map(encode_record).collect();
    join(&encoded)
}

/// Writes the fields of a struct in order, leaving out those that are zero.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    delta: u64,
}

impl<'o> Fields<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, delta: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.is_present(!bytes.is_empty()) {
            put_bytes(self.out, bytes);
        }
    }

    fn uint(&mut self, value: u64) {
        if self.is_present(value != 0) {
            put_uint(self.out, value);
        }
    }

    fn end(self) {
        self.out.push(0);
    }

    fn is_present(&mut self, present: bool) -> bool {
        self.delta += 1;
        if present {
            put_uint(self.out, self.delta);
            self.delta = 0;
        }
        present
    }
}

/// Defines type 65, a summary (mesh protocol, "concrete types of the mesh").
const SUMMARY_TYPE: &[u8] =
    b"b\xff\x81\x03\x01\x01\x0bpeerSummary\x01\xff\x82\x00\x01\x06\x01\x08NameByte\x01\x0a\
    \x00\x01\x08NickName\x01\x0c\x00\x01\x03UID\x01\x06\x00\x01\x07Version\x01\x06\x00\
    \x01\x07ShortID\x01\x06\x00\x01\x0aHasShortID\x01\x02\x00\x00\x00";
/// Defines type 67, a list of connections, and type 66, a connection.
const CONNECTIONS_TYPES: &[u8] =
    b"\x0d\xff\x85\x02\x01\x02\xff\x86\x00\x01\xff\x84\x00\x00\x5b\xff\x83\x03\x01\x01\x11\
    connectionSummary\x01\xff\x84\x00\x01\x04\x01\x08NameByte\x01\x0a\x00\x01\x0dRemoteT\
    CPAddr\x01\x0c\x00\x01\x08Outbound\x01\x02\x00\x01\x0bEstablished\x01\x02\x00\x00\
    \x00";
/// The id of a summary.
const SUMMARY_ID: &[u8] = b"\xff\x82";
/// The id of a list of connections, and the marker of a top-level value that is not a struct.
const CONNECTIONS_HEAD: &[u8] = b"\xff\x86\x00";

#[cfg(test)]
mod tests {
    use super::decode::{Known, LINK, SUMMARY};
    use super::*;
    use crate::gob::{BOOL, BYTES, Encoder, Error, StructValue, Type, UINT, Value};
    use crate::peer::{Link, MAX_ADDRESS, MAX_NICKNAME, PeerName, ShortId, Uid};

    fn struct_type(known: Known) -> Type {
        let ty = |id| match id {
            BOOL => Type::Bool,
            UINT => Type::Uint,
            BYTES => Type::Bytes,
            _ => Type::String,
        };
        Type::structure(
            known.name,
            known.fields.iter().map(|(name, id)| (*name, ty(*id))),
        )
    }

    #[test]
    fn the_constant_definitions_are_those_of_the_encoder() {
        let nothing = Value::Struct(StructValue::new::<&str>([]));
        let mut encoder = Encoder::new();

        encoder.value(&struct_type(SUMMARY), &nothing).unwrap();
        encoder
            .value(
                &Type::slice("", struct_type(LINK)),
                &Value::Slice(Vec::new()),
            )
            .unwrap();

        let expected = [
            SUMMARY_TYPE,
            &[3, 0xff, 0x82, 0],
            CONNECTIONS_TYPES,
            &[4, 0xff, 0x86, 0, 0],
        ];
        assert_eq!(encoder.finish(), expected.concat());
    }

    #[test]
    fn one_record_is_encoded_as_the_protocol_text_has_it() {
        let name = PeerName::from_bytes([10, 0, 0, 0, 0, 1]);
        let link = Link {
            address: "10.0.0.2:6783".into(),
            outbound: true,
            established: true,
        };
        let record = PeerRecord {
            version: 2,
            short_id: ShortId::try_from(291).ok(),
            connections: [(PeerName::from_bytes([10, 0, 0, 0, 0, 2]), link)].into(),
            ..PeerRecord::new(name, "alpha", Uid(300))
        };

        let encoded = encode_record(&record);

        let summary = b"\x1e\xff\x82\x01\x06\x0a\0\0\0\0\x01\x01\x05alpha\x01\xfe\x01\x2c\x01\x02\
            \x01\xfe\x01\x23\x01\x01\0";
        let links = b"\x20\xff\x86\0\x01\x01\x06\x0a\0\0\0\0\x02\x01\x0d10.0.0.2:6783\x01\x01\x01\
            \x01\0";
        assert_eq!(encoded.bytes, [&summary[..], &links[..]].concat());
        assert_eq!(decode(&join([&encoded])), Ok(vec![record]));
    }

    #[test]
    fn an_update_without_records_is_empty() {
        assert_eq!(encode([]), b"");
        assert_eq!(decode(b""), Ok(Vec::new()));
    }

    #[test]
    fn long_texts_are_refused() {
        let name = PeerName::from_bytes([10, 0, 0, 0, 0, 1]);
        let fits = PeerRecord::new(name, "n".repeat(MAX_NICKNAME), Uid(1));
        let long = PeerRecord::new(name, "n".repeat(MAX_NICKNAME + 1), Uid(1));
        let address = "a".repeat(MAX_ADDRESS + 1);
        let far = PeerRecord {
            connections: [(
                name,
                Link {
                    address: address.into(),
                    outbound: true,
                    established: true,
                },
            )]
            .into(),
            ..fits.clone()
        };

        assert!(decode(&encode([&fits])).is_ok());
        assert_eq!(
            decode(&encode([&long])),
            Err(Error::Limit("bytes in a nickname"))
        );
        assert_eq!(
            decode(&encode([&far])),
            Err(Error::Limit("bytes in an address"))
        );
    }
}
