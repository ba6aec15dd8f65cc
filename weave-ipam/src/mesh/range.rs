//! Addresses, and messages that carry a range of them.

use weave_mesh::gob::{Decoder, Encoder, Error, StructValue, Value};

use super::{DecodeError, schema};
use crate::span::{AddressRange, Family, Span};

pub(super) fn encode(tag: u8, range: AddressRange) -> Vec<u8> {
    let AddressRange { family, span } = range;
    let fields = [
        ("Start", address(family, span.start())),
        ("End", address(family, span.end())),
    ];
    let mut encoder = Encoder::numbering_from(schema::FIRST_RANGE_ID);
    encoder
        .value(schema::range(family), &StructValue::new(fields).into())
        .expect("invariant: the value is built to the schema");
    let mut payload = vec![tag];
    payload.append(&mut encoder.finish());
    payload
}

pub(super) fn decode(body: &[u8]) -> Result<AddressRange, DecodeError> {
    let value = Decoder::new(body).next()?.ok_or(Error::Eof)?;
    let range = value.as_struct()?;
    range.require_common_field("Range", &["Start", "End"])?;
    bounds(range)
}

/// The range between the fields `Start` and `End`.
pub(super) fn bounds(fields: &StructValue) -> Result<AddressRange, DecodeError> {
    let is_v6 = |name| matches!(fields.field(name), Some(Value::Bytes(_)));
    let family = if is_v6("Start") || is_v6("End") {
        Family::V6
    } else {
        Family::V4
    };
    let start = number(family, fields, "Start")?;
    let end = number(family, fields, "End")?;
    let span = Span::new(start, end).ok_or(DecodeError::Reversed)?;
    Ok(AddressRange { family, span })
}

/// The number of an address; a missing one is 0.
pub(super) fn number(
    family: Family,
    fields: &StructValue,
    name: &'static str,
) -> Result<u128, DecodeError> {
    match (family, fields.field(name)) {
        (_, None) => Ok(0),
        (Family::V4, Some(Value::Bytes(_))) => Err(DecodeError::Address(name)),
        (Family::V4, Some(value)) => {
            let number = u32::try_from(value.as_uint()?).map_err(|_| Error::OutOfRange(name))?;
            Ok(number.into())
        }
        (Family::V6, Some(value)) => {
            let bytes: Result<[u8; 16], _> = value.as_bytes()?.try_into();
            bytes
                .map(u128::from_be_bytes)
                .map_err(|_| DecodeError::Address(name))
        }
    }
}

/// An address as the schema of its family wants it.
pub(super) fn address(family: Family, number: u128) -> Value {
    match family {
        Family::V4 => Value::Uint(u64::try_from(number).unwrap_or(u64::MAX)),
        Family::V6 => Value::Bytes(number.to_be_bytes().to_vec()),
    }
}
