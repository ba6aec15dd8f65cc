//! Streams written by hand: what no encoder of ours sends.

use super::*;

/// Defines 65 as a list of itself.
const LIST_OF_ITSELF: &[u8] = &[
    0x0d, 0xff, 0x81, 2, 1, 2, 0xff, 0x82, 0, 1, 0xff, 0x82, 0, 0,
];

/// Defines 65 as a struct of itself, in the field `F`.
const STRUCT_OF_ITSELF: &[u8] = &[
    0x13, 0xff, 0x81, 3, 1, 2, 0xff, 0x82, 0, 1, 1, 1, 1, b'F', 1, 0xff, 0x82, 0, 0, 0,
];

fn stream(definitions: &[&[u8]], message: &[u8]) -> Vec<u8> {
    let mut out = definitions.concat();
    put_bytes(&mut out, message);
    out
}

fn first(stream: &[u8]) -> Result<Option<Value>, Error> {
    Decoder::new(stream).next()
}

/// A value of the type [`LIST_OF_ITSELF`], `depth` lists inside each other.
fn nested(depth: usize) -> Vec<u8> {
    let mut message = vec![0xff, 0x82, 0];
    message.extend(vec![1; depth - 1]);
    message.push(0);
    stream(&[LIST_OF_ITSELF], &message)
}

#[test]
fn nesting_is_bounded() {
    let limit = Limits::default().depth;

    assert!(first(&nested(limit)).is_ok());
    assert_eq!(
        first(&nested(limit + 1)),
        Err(Error::Limit("levels of nesting"))
    );
    assert_eq!(
        first(&nested(1_000_000)),
        Err(Error::Limit("levels of nesting"))
    );
}

#[test]
fn skipped_values_nest_no_deeper_than_others() {
    let mut decoder = Decoder::new(STRUCT_OF_ITSELF);
    assert_eq!(decoder.next(), Ok(None));
    let types = decoder.types();

    let skip = |depth: usize| {
        let mut bytes = vec![1; depth - 1];
        bytes.extend(vec![0; depth]);
        types.skip(65, &mut Cursor::new(&bytes), types.depth())
    };

    assert_eq!(skip(types.depth()), Ok(()));
    assert_eq!(
        skip(types.depth() + 1),
        Err(Error::Limit("levels of nesting"))
    );
    assert_eq!(skip(1_000_000), Err(Error::Limit("levels of nesting")));
}

#[test]
fn values_types_and_fields_are_bounded() {
    let limits = Limits {
        depth: 8,
        types: 2,
        fields: 3,
        values: 4,
    };
    let numbers = |count: usize| {
        let mut encoder = Encoder::new();
        let values = vec![Value::Uint(1); count];
        encoder
            .value(&Type::slice("", Type::Uint), &Value::Slice(values))
            .unwrap();
        encoder.finish()
    };
    let fields = |count: usize| {
        let fields = (0..count).map(|index| (index.to_string(), Type::Uint));
        let value = Value::Struct(StructValue::new::<&str>([]));
        let mut encoder = Encoder::new();
        encoder.value(&Type::structure("", fields), &value).unwrap();
        encoder.finish()
    };
    let types = |count: usize| {
        let nested = (0..count).fold(Type::Uint, |elem, _| Type::slice("", elem));
        let mut encoder = Encoder::new();
        encoder.value(&nested, &Value::Slice(Vec::new())).unwrap();
        encoder.finish()
    };
    let decode = |stream: &[u8]| Decoder::with_limits(stream, limits).next().map(drop);

    assert_eq!(decode(&numbers(3)), Ok(()));
    assert_eq!(decode(&numbers(4)), Err(Error::Limit("values")));
    assert_eq!(decode(&fields(3)), Ok(()));
    assert_eq!(decode(&fields(4)), Err(Error::Limit("fields")));
    assert_eq!(decode(&types(2)), Ok(()));
    assert_eq!(decode(&types(3)), Err(Error::Limit("types")));
}

/// A count of elements is checked before anything is taken for them.
#[test]
fn a_large_count_reserves_nothing() {
    let message = [
        0xff, 0x82, 0, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
    ];

    assert_eq!(
        first(&stream(&[LIST_OF_ITSELF], &message)),
        Err(Error::LengthBeyondMessage(u64::MAX))
    );
}

/// Weave Net accepts a missing terminator at any level; inside a list it would let elements take
/// no bytes, so here only the outermost struct may lack it.
#[test]
fn only_the_outermost_struct_may_end_with_its_message() {
    assert!(first(&stream(&[STRUCT_OF_ITSELF], &[0xff, 0x82, 1, 0])).is_ok());
    assert_eq!(
        first(&stream(&[STRUCT_OF_ITSELF], &[0xff, 0x82, 1])),
        Err(Error::UnexpectedEof)
    );
}

#[test]
fn malformed_definitions_are_refused() {
    let define = |rest: &[u8]| first(&stream(&[], &[&[0xff, 0x81], rest].concat()));
    let two_kinds = [1, 1, 2, 0xff, 0x82, 0, 0, 1, 1, 2, 0xff, 0x82, 0, 0, 0];
    let negative_array = [1, 1, 2, 0xff, 0x82, 0, 1, 6, 1, 1, 0, 0];

    assert_eq!(define(&[0]), Err(Error::BadDefinition("no kind of type")));
    assert_eq!(define(&[8, 0]), Err(Error::FieldOutOfBounds));
    assert_eq!(
        define(&two_kinds),
        Err(Error::BadDefinition("more than one kind of type"))
    );
    assert_eq!(
        define(&negative_array),
        Err(Error::BadDefinition("an array of negative length"))
    );
}

#[test]
fn an_array_has_the_length_of_its_type() {
    let array = |len| Type::Array {
        name: String::new(),
        elem: Box::new(Type::Uint),
        len,
    };
    let mut encoder = Encoder::new();
    let values = Value::Slice(vec![Value::Uint(1), Value::Uint(2)]);
    assert_eq!(
        encoder.value(&array(3), &values),
        Err(Error::ArrayLength {
            declared: 3,
            found: 2
        })
    );

    let mut encoder = Encoder::new();
    encoder.value(&array(2), &values).unwrap();
    let mut stream = encoder.finish();
    assert_eq!(first(&stream), Ok(Some(values)));
    let count = stream.len() - 3;
    stream[count] = 1;
    assert_eq!(
        first(&stream),
        Err(Error::ArrayLength {
            declared: 2,
            found: 1
        })
    );
}

#[test]
fn complex_numbers_and_interface_values_are_passed_over() {
    let complex = [0x0e, 0, 0xfe, 0xf0, 0x3f, 0];
    let interface = [0x10, 0, 1, b'T', 6, 2, 0, 5];
    let nil = [0x10, 0, 0];

    assert_eq!(
        first(&stream(&[], &complex)),
        Ok(Some(Value::Slice(vec![
            Value::Float(1.0),
            Value::Float(0.0)
        ])))
    );
    assert_eq!(
        first(&stream(&[], &interface)),
        Ok(Some(Value::Opaque(vec![0, 5])))
    );
    assert_eq!(
        first(&stream(&[], &nil)),
        Ok(Some(Value::Opaque(Vec::new())))
    );
}

#[test]
fn a_value_of_another_type_or_with_strange_fields_is_not_encoded() {
    let ty = Type::structure("", [("A", Type::Uint)]);
    let mut encoder = Encoder::new();

    let signed = Value::Struct(StructValue::new([("A", Value::Int(0))]));
    assert_eq!(
        encoder.value(&ty, &signed),
        Err(Error::LocalMismatch {
            wanted: "uint",
            found: "int"
        })
    );
    let strange = Value::Struct(StructValue::new([("B", Value::Uint(1))]));
    assert_eq!(
        encoder.value(&ty, &strange),
        Err(Error::LocalUnknownField("B".to_owned()))
    );
}

#[test]
fn a_wanted_kind_that_is_not_there_is_named() {
    let mut text = Vec::new();
    put_top_str(&mut text, "topology");

    assert_eq!(Decoder::new(&text).next_str(), Ok("topology"));
    assert_eq!(
        Decoder::new(&text).next_uint(),
        Err(Error::WrongKind {
            wanted: "uint",
            found: "string"
        })
    );
    assert_eq!(Decoder::new(&[]).next_bytes(), Err(Error::Eof));
}

#[test]
fn a_value_of_the_expected_shape_is_handed_out_whatever_its_ids_and_type_names() {
    let ty = |name: &str, fields: [(&'static str, Type); 2]| Type::structure(name, fields);
    let list = |name: &str| Type::slice(name, Type::Uint);
    let sent = ty("theirs", [("A", Type::Int), ("B", list("x"))]);
    let mut encoder = Encoder::numbering_from(90);
    let id = encoder.define(&sent);
    let fields = [("B", Value::Slice(vec![Value::Uint(7)]))];
    encoder
        .value(&sent, &StructValue::new(fields).into())
        .unwrap();
    let stream = encoder.finish();
    let shaped = |ty: &Type| Decoder::new(&stream).next_shaped(ty).unwrap();

    let mut cursor = shaped(&ty("ours", [("A", Type::Int), ("B", list("y"))])).unwrap();

    assert_eq!(id, 90);
    let numbers: Vec<u64> = (0..4).map(|_| cursor.uint().unwrap()).collect();
    assert_eq!(numbers, [2, 1, 7, 0]);
    assert!(cursor.is_empty());
    for other in [
        ty("", [("A", Type::Int), ("C", list(""))]),
        ty("", [("B", list("")), ("A", Type::Int)]),
        ty("", [("A", Type::Uint), ("B", list(""))]),
        ty("", [("A", Type::Int), ("B", Type::slice("", Type::Int))]),
        Type::structure("", [("A", Type::Int)]),
        Type::Uint,
    ] {
        assert!(shaped(&other).is_none(), "{other:?}");
    }
}
