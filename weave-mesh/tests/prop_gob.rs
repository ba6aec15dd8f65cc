//! Laws of the gob codec, named in `ALGORITHM.md`.

use proptest::collection::vec;
use proptest::prelude::*;
use weave_mesh::gob::{Decoder, Encoder, StructValue, Type, Value};
use weave_mesh::peer::{Link, PeerName, PeerRecord, ShortId, Uid};
use weave_mesh::wire::intro::Features;
use weave_mesh::wire::message::Message;
use weave_mesh::wire::update;

fn any_type() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        Just(Type::Bool),
        Just(Type::Int),
        Just(Type::Uint),
        Just(Type::Float),
        Just(Type::Bytes),
        Just(Type::String),
        "[a-z]{0,3}".prop_map(|name| Type::Opaque { name }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            ("[a-z]{0,3}", inner.clone()).prop_map(|(name, elem)| Type::slice(name, elem)),
            (0_u32..4, inner.clone()).prop_map(|(len, elem)| Type::Array {
                name: String::new(),
                elem: Box::new(elem),
                len
            }),
            (inner.clone(), inner.clone()).prop_map(|(key, elem)| Type::map("", key, elem)),
            ("[A-Z]{1,3}", vec(inner, 0..4)).prop_map(|(name, types)| {
                let fields = types.into_iter().enumerate();
                Type::structure(name, fields.map(|(index, ty)| (format!("F{index}"), ty)))
            }),
        ]
    })
}

fn any_value(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int => any::<i64>().prop_map(Value::Int).boxed(),
        Type::Uint => prop_oneof![0_u64..300, any::<u64>()]
            .prop_map(Value::Uint)
            .boxed(),
        Type::Float => any::<i32>()
            .prop_map(|value| Value::Float(value.into()))
            .boxed(),
        Type::Bytes => vec(any::<u8>(), 0..5).prop_map(Value::Bytes).boxed(),
        Type::String => ".{0,4}".prop_map(Value::String).boxed(),
        Type::Opaque { .. } => vec(any::<u8>(), 0..5).prop_map(Value::Opaque).boxed(),
        Type::Slice { elem, .. } => vec(any_value(elem), 0..4).prop_map(Value::Slice).boxed(),
        Type::Array { elem, len, .. } => vec(any_value(elem), *len as usize)
            .prop_map(Value::Slice)
            .boxed(),
        Type::Map { key, elem, .. } => vec((any_value(key), any_value(elem)), 0..4)
            .prop_map(Value::Map)
            .boxed(),
        Type::Struct { fields, .. } => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, ty)| {
                    let name = name.clone();
                    proptest::option::of(any_value(ty))
                        .prop_map(move |value| value.map(|value| (name.clone(), value)))
                })
                .collect();
            fields
                .prop_map(|fields| Value::Struct(StructValue::new(fields.into_iter().flatten())))
                .boxed()
        }
    }
}

fn typed_value() -> impl Strategy<Value = (Type, Value)> {
    any_type().prop_flat_map(|ty| {
        let value = any_value(&ty);
        (Just(ty), value)
    })
}

/// The value with those fields removed that the format leaves out.
fn without_zeros(value: Value, ty: &Type) -> Value {
    let is_omitted = |value: &Value, ty: &Type| match value {
        Value::Slice(elements) => elements.is_empty() && matches!(ty, Type::Slice { .. }),
        Value::Map(_) | Value::Struct(_) | Value::Opaque(_) => false,
        Value::Bytes(bytes) => bytes.is_empty(),
        other => [
            Value::Bool(false),
            Value::Int(0),
            Value::Uint(0),
            Value::Float(0.0),
            "".into(),
        ]
        .contains(other),
    };
    match (value, ty) {
        (Value::Slice(elements), Type::Slice { elem, .. } | Type::Array { elem, .. }) => {
            Value::Slice(
                elements
                    .into_iter()
                    .map(|value| without_zeros(value, elem))
                    .collect(),
            )
        }
        (Value::Map(entries), Type::Map { key, elem, .. }) => Value::Map(
            entries
                .into_iter()
                .map(|(k, v)| (without_zeros(k, key), without_zeros(v, elem)))
                .collect(),
        ),
        (Value::Struct(value), Type::Struct { fields, .. }) => {
            let kept = fields.iter().filter_map(|(name, ty)| {
                let field = value.field(name).filter(|field| !is_omitted(field, ty))?;
                Some((name.as_str(), without_zeros(field.clone(), ty)))
            });
            Value::Struct(StructValue::new(kept))
        }
        (value, _) => value,
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Slice(elements) => elements.iter().map(nodes).sum(),
        Value::Map(entries) => entries.iter().map(|(k, v)| nodes(k) + nodes(v)).sum(),
        Value::Struct(value) => value.fields().map(|(_, value)| nodes(value)).sum(),
        _ => 0_usize,
    }
}

fn any_record() -> impl Strategy<Value = PeerRecord> {
    let name = || any::<[u8; 6]>().prop_map(PeerName::from_bytes);
    let link = ("[0-9.:]{0,12}", any::<bool>(), any::<bool>()).prop_map(
        |(address, outbound, established)| Link {
            address: address.into(),
            outbound,
            established,
        },
    );
    let connections = proptest::collection::btree_map(name(), link, 0..5);
    let short_id = proptest::option::of(0..ShortId::COUNT);
    (
        name(),
        ".{0,6}",
        any::<u64>(),
        any::<u64>(),
        short_id,
        connections,
    )
        .prop_map(
            |(name, nickname, uid, version, short_id, connections)| PeerRecord {
                version,
                short_id: short_id.and_then(|id| ShortId::try_from(id).ok()),
                connections: connections.into_iter().collect(),
                ..PeerRecord::new(name, nickname, Uid(uid))
            },
        )
}

/// A struct type and its value as a sender of another version might have them: known fields in
/// another order, between fields nobody has heard of.
fn rearranged(
    name: &str,
    fields: Vec<(&str, Type, Value)>,
    strangers: &[(Type, Value)],
    rotation: usize,
) -> (Type, Value) {
    let mut all: Vec<(String, Type, Value)> = fields
        .into_iter()
        .map(|(name, ty, value)| (name.to_owned(), ty, value))
        .collect();
    for (index, (ty, value)) in strangers.iter().enumerate() {
        let position = (index * 5 + rotation) % (all.len() + 1);
        all.insert(
            position,
            (format!("Stranger{index}"), ty.clone(), value.clone()),
        );
    }
    let length = all.len();
    all.rotate_left(rotation % length);
    let ty = Type::structure(
        name,
        all.iter().map(|(name, ty, _)| (name.clone(), ty.clone())),
    );
    let value = StructValue::new(all.into_iter().map(|(name, _, value)| (name, value)));
    (ty, Value::Struct(value))
}

/// An update by such a sender.
fn foreign_update(
    records: &[PeerRecord],
    strangers: &[(Type, Value)],
    rotation: usize,
    first_id: u32,
) -> Vec<u8> {
    let mut encoder = Encoder::numbering_from(first_id);
    let bytes = |name: PeerName| Value::Bytes(name.to_bytes().to_vec());
    let link_of = |name: PeerName, link: &Link| {
        let fields = vec![
            ("NameByte", Type::Bytes, bytes(name)),
            (
                "RemoteTCPAddr",
                Type::String,
                link.address.to_string().as_str().into(),
            ),
            ("Outbound", Type::Bool, link.outbound.into()),
            ("Established", Type::Bool, link.established.into()),
        ];
        rearranged("Link", fields, strangers, rotation)
    };
    let nobody = Link {
        address: "".into(),
        outbound: false,
        established: false,
    };
    let (link_type, _) = link_of(PeerName::UNKNOWN, &nobody);
    for record in records {
        let short_id = record.short_id.map_or(0, |id| u64::from(u16::from(id)));
        let fields = vec![
            ("NameByte", Type::Bytes, bytes(record.name)),
            ("NickName", Type::String, record.nickname.as_str().into()),
            ("UID", Type::Uint, record.uid.0.into()),
            ("Version", Type::Uint, record.version.into()),
            ("ShortID", Type::Uint, short_id.into()),
            ("HasShortID", Type::Bool, record.short_id.is_some().into()),
        ];
        let (ty, value) = rearranged("Summary", fields, strangers, rotation);
        encoder.value(&ty, &value).expect("it encodes");
        let links = record
            .connections
            .iter()
            .map(|(name, link)| link_of(*name, link).1)
            .collect();
        let list = Type::slice("", link_type.clone());
        encoder
            .value(&list, &Value::Slice(links))
            .expect("it encodes");
    }
    encoder.finish()
}

proptest! {
    /// Law G1.
    #[test]
    fn values_survive_encoding_whatever_the_type_ids(
        (ty, value) in typed_value(),
        first_id in 64_u32..100_000,
    ) {
        let mut encoder = Encoder::numbering_from(first_id);
        encoder.value(&ty, &value).unwrap();
        encoder.value(&ty, &value).unwrap();
        let stream = encoder.finish();

        let mut decoder = Decoder::new(&stream);
        let expected = Some(without_zeros(value, &ty));
        prop_assert_eq!(&decoder.next().unwrap(), &expected);
        prop_assert_eq!(&decoder.next().unwrap(), &expected);
        prop_assert_eq!(decoder.next(), Ok(None));
    }

    /// Law G2.
    #[test]
    fn updates_of_other_versions_are_understood(
        records in vec(any_record(), 0..4),
        strangers in vec(typed_value(), 0..4),
        rotation in 0_usize..16,
        first_id in 64_u32..100_000,
    ) {
        let stream = foreign_update(&records, &strangers, rotation, first_id);

        prop_assert_eq!(update::decode(&stream), Ok(records));
    }

    /// Law G3 on our own encoding, whole and joined from cached pieces.
    #[test]
    fn updates_survive_encoding(records in vec(any_record(), 0..5)) {
        let pieces: Vec<_> = records.iter().map(update::encode_record).collect();

        let stream = update::join(&pieces);

        prop_assert_eq!(&stream, &update::encode(&records));
        prop_assert_eq!(update::decode(&stream), Ok(records));
    }

    /// Law G4 on bytes from nowhere.
    #[test]
    fn arbitrary_bytes_do_no_harm(stream in vec(any::<u8>(), 0..200)) {
        check_bounded(&stream);
    }

    /// Law G4 on streams that are nearly right.
    #[test]
    fn damaged_streams_do_no_harm(
        (ty, value) in typed_value(),
        records in vec(any_record(), 0..3),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut encoder = Encoder::new();
        encoder.value(&ty, &value).unwrap();
        for mut stream in [encoder.finish(), update::encode(&records)] {
            for (index, byte) in &damage {
                if !stream.is_empty() {
                    let index = index.index(stream.len());
                    stream[index] = *byte;
                }
            }
            check_bounded(&stream);
            stream.truncate(cut.index(stream.len() + 1));
            check_bounded(&stream);
        }
    }
}

/// Runs every decoder over `stream`; a decoded value has at most two nodes per byte.
fn check_bounded(stream: &[u8]) {
    let mut decoder = Decoder::new(stream);
    let mut total = 0;
    while let Ok(Some(value)) = decoder.next() {
        total += nodes(&value);
    }
    assert!(
        total <= 2 * stream.len(),
        "{total} nodes out of {} bytes",
        stream.len()
    );
    if let Ok(records) = update::decode(stream) {
        let links: usize = records.iter().map(|record| record.connections.len()).sum();
        assert!(records.len() + links <= stream.len());
    }
    let _ = Features::decode(stream);
    if let Ok(message) = Message::parse(stream) {
        assert!(message.emit().len() <= stream.len() + 64);
    }
}
