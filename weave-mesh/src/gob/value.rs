//! Values of any gob type.

use std::sync::Arc;

use super::Error;

/// A gob value, as it was declared by whoever wrote the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A boolean.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Uint(u64),
    /// A floating point number.
    Float(f64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// Text. Bytes that are not UTF-8 are replaced by U+FFFD when decoding.
    String(String),
    /// A slice or an array; a complex number decodes as two floats.
    Slice(Vec<Self>),
    /// A map, in the order of the stream.
    Map(Vec<(Self, Self)>),
    /// A struct.
    Struct(StructValue),
    /// The bytes of a type that encodes itself, or of an interface value.
    Opaque(Vec<u8>),
}

impl Value {
    /// The boolean.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else.
    pub fn as_bool(&self) -> Result<bool, Error> {
        if let Self::Bool(value) = self {
            Ok(*value)
        } else {
            Err(self.is_not("bool"))
        }
    }

    /// The unsigned integer.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else, a signed integer included.
    pub fn as_uint(&self) -> Result<u64, Error> {
        if let Self::Uint(value) = self {
            Ok(*value)
        } else {
            Err(self.is_not("uint"))
        }
    }

    /// The signed integer.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else, an unsigned integer included.
    pub fn as_int(&self) -> Result<i64, Error> {
        if let Self::Int(value) = self {
            Ok(*value)
        } else {
            Err(self.is_not("int"))
        }
    }

    /// The text.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else, a byte string included.
    pub fn as_str(&self) -> Result<&str, Error> {
        if let Self::String(value) = self {
            Ok(value)
        } else {
            Err(self.is_not("string"))
        }
    }

    /// The byte string.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else, text included.
    pub fn as_bytes(&self) -> Result<&[u8], Error> {
        if let Self::Bytes(value) = self {
            Ok(value)
        } else {
            Err(self.is_not("bytes"))
        }
    }

    /// The elements of a slice or an array.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else.
    pub fn as_slice(&self) -> Result<&[Self], Error> {
        if let Self::Slice(value) = self {
            Ok(value)
        } else {
            Err(self.is_not("slice"))
        }
    }

    /// The entries of a map, in the order of the stream.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else.
    pub fn as_map(&self) -> Result<&[(Self, Self)], Error> {
        if let Self::Map(value) = self {
            Ok(value)
        } else {
            Err(self.is_not("map"))
        }
    }

    /// The struct.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is something else.
    pub fn as_struct(&self) -> Result<&StructValue, Error> {
        if let Self::Struct(value) = self {
            Ok(value)
        } else {
            Err(self.is_not("struct"))
        }
    }

    /// A field of a struct; `None` if the sender left it out, which means it is zero.
    ///
    /// # Errors
    /// [`Error::WrongKind`] if the value is not a struct.
    pub fn field(&self, name: &str) -> Result<Option<&Self>, Error> {
        Ok(self.as_struct()?.field(name))
    }

    /// The name of the value's kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Float(_) => "float",
            Self::Bytes(_) => "bytes",
            Self::String(_) => "string",
            Self::Slice(_) => "slice",
            Self::Map(_) => "map",
            Self::Struct(_) => "struct",
            Self::Opaque(_) => "opaque",
        }
    }

    fn is_not(&self, wanted: &'static str) -> Error {
        Error::WrongKind {
            wanted,
            found: self.kind(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<StructValue> for Value {
    fn from(value: StructValue) -> Self {
        Self::Struct(value)
    }
}

/// The fields of a struct that are present, and the names of all that its sender declares.
///
/// Two values are equal if the same fields are present with equal values, in any order.
#[derive(Debug, Clone)]
pub struct StructValue {
    declared: Arc<[Arc<str>]>,
    fields: Vec<(Arc<str>, Value)>,
}

impl StructValue {
    /// A struct to encode, with these fields present; a field left out is sent as zero.
    #[must_use]
    pub fn new<N: Into<Arc<str>>>(fields: impl IntoIterator<Item = (N, Value)>) -> Self {
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        Self {
            declared: fields.iter().map(|(name, _)| Arc::clone(name)).collect(),
            fields,
        }
    }

    pub(super) fn received(declared: Arc<[Arc<str>]>) -> Self {
        Self {
            declared,
            fields: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, name: Arc<str>, value: Value) {
        self.fields.push((name, value));
    }

    /// The value of a field, `None` if it is not present.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(field, _)| **field == *name)
            .map(|(_, value)| value)
    }

    /// The fields that are present, in the order of the stream.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (&**name, value))
    }

    /// All fields of the sender's type, present or not.
    pub fn declared(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|name| &**name)
    }

    /// Checks that the sender's type has at least one of the fields a reader knows.
    ///
    /// # Errors
    /// [`Error::NoCommonField`] with `reader` if the sender declares fields and `known` has none
    /// of them: the two do not speak of the same type.
    pub fn require_common_field(&self, reader: &'static str, known: &[&str]) -> Result<(), Error> {
        if self.declared.is_empty() || self.declared().any(|name| known.contains(&name)) {
            Ok(())
        } else {
            Err(Error::NoCommonField(reader))
        }
    }
}

impl PartialEq for StructValue {
    fn eq(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self
                .fields()
                .all(|(name, value)| other.field(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_mismatch_is_an_error_and_an_absent_field_is_none() {
        let value = Value::from(StructValue::new([("Start", Value::Uint(3))]));

        assert_eq!(value.field("Start").unwrap().unwrap().as_uint(), Ok(3));
        assert_eq!(value.field("End"), Ok(None));
        assert_eq!(
            value.field("Start").unwrap().unwrap().as_int(),
            Err(Error::WrongKind {
                wanted: "int",
                found: "uint"
            })
        );
        assert!(Value::Uint(3).field("Start").is_err());
    }

    #[test]
    fn a_struct_without_a_known_field_is_refused() {
        let value = StructValue::new([("Start", Value::Uint(3))]);

        assert_eq!(
            value.require_common_field("Range", &["End", "Start"]),
            Ok(())
        );
        assert_eq!(
            value.require_common_field("Entry", &["Token"]),
            Err(Error::NoCommonField("Entry"))
        );
    }

    #[test]
    fn structs_are_equal_whatever_the_order_of_fields() {
        let a = StructValue::new([("A", Value::Uint(1)), ("B", Value::Uint(2))]);
        let b = StructValue::new([("B", Value::Uint(2)), ("A", Value::Uint(1))]);

        assert_eq!(a, b);
    }
}
