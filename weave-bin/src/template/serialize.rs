//! From anything that serde can write to a [`Value`].
//!
//! Unlike a detour over JSON this keeps the order of fields, tells structs from maps, and remembers fields
//! that were left out: a template may ask `{{if .DNS}}` of a report without `DNS`.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::ser::{self, Error as _, Serialize};

use super::value::Value;

/// Name of a unit struct that stands for an empty list which JSON shows as null.
pub const EMPTY_LIST: &str = "empty list";
/// Name of a unit struct that stands for an empty map which JSON shows as null.
pub const EMPTY_MAP: &str = "empty map";

impl Value {
    /// `data` as a value.
    ///
    /// # Errors
    /// Bytes, enum variants with fields, and maps whose keys are no texts have no form here.
    pub fn of(data: &impl Serialize) -> Result<Self, SerializeError> {
        data.serialize(ToValue)
    }
}

/// Why data has no form as a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no value for templates: {0}")]
pub struct SerializeError(String);

impl ser::Error for SerializeError {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

type Made = Result<Value, SerializeError>;

struct ToValue;

impl ser::Serializer for ToValue {
    type Ok = Value;
    type Error = SerializeError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = ser::Impossible<Value, SerializeError>;
    type SerializeMap = Map;
    type SerializeStruct = Fields;
    type SerializeStructVariant = ser::Impossible<Value, SerializeError>;

    fn serialize_bool(self, value: bool) -> Made {
        Ok(Value::Bool(value))
    }

    fn serialize_i8(self, value: i8) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i16(self, value: i16) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i32(self, value: i32) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i64(self, value: i64) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i128(self, value: i128) -> Made {
        Ok(Value::Int(value))
    }

    fn serialize_u8(self, value: u8) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u16(self, value: u16) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u32(self, value: u32) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u64(self, value: u64) -> Made {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u128(self, value: u128) -> Made {
        i128::try_from(value)
            .map(Value::Int)
            .map_err(|_| SerializeError(format!("{value} is too large")))
    }

    fn serialize_f32(self, value: f32) -> Made {
        Ok(Value::Float(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Made {
        Ok(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Made {
        Ok(Value::text(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Made {
        Ok(Value::text(value))
    }

    fn serialize_bytes(self, _: &[u8]) -> Made {
        Err(SerializeError::custom("bytes"))
    }

    fn serialize_none(self) -> Made {
        Ok(Value::Nil)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Made {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Made {
        Ok(Value::Nil)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Made {
        Ok(match name {
            EMPTY_LIST => Value::List(None),
            EMPTY_MAP => Value::Map(None),
            _ => Value::Nil,
        })
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Made {
        Ok(Value::text(variant))
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, value: &T) -> Made
    where
        T: Serialize + ?Sized,
    {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Made
    where
        T: Serialize + ?Sized,
    {
        let one = BTreeMap::from([(variant.to_owned(), value.serialize(self)?)]);
        Ok(Value::Map(Some(one)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List, SerializeError> {
        Ok(List::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<List, SerializeError> {
        Ok(List::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List, SerializeError> {
        Ok(List::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, SerializeError> {
        Err(SerializeError::custom(format!("variant {variant}")))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map, SerializeError> {
        Ok(Map::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, SerializeError> {
        Ok(Fields::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, SerializeError> {
        Err(SerializeError::custom(format!("variant {variant}")))
    }
}

#[derive(Default)]
struct List(Vec<Value>);

impl List {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerializeError> {
        self.0.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn done(self) -> Value {
        Value::List(Some(self.0))
    }
}

impl ser::SerializeSeq for List {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.add(value)
    }

    fn end(self) -> Made {
        Ok(self.done())
    }
}

impl ser::SerializeTuple for List {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.add(value)
    }

    fn end(self) -> Made {
        Ok(self.done())
    }
}

impl ser::SerializeTupleStruct for List {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.add(value)
    }

    fn end(self) -> Made {
        Ok(self.done())
    }
}

#[derive(Default)]
struct Map {
    entries: BTreeMap<String, Value>,
    key: Option<String>,
}

impl ser::SerializeMap for Map {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Self::Error> {
        match key.serialize(ToValue)? {
            Value::Text(text) => self.key = Some(text.to_string()),
            other => {
                let reason = format!("a map by {}", other.kind());
                return Err(SerializeError(reason));
            }
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        if let Some(key) = self.key.take() {
            self.entries.insert(key, value.serialize(ToValue)?);
        }
        Ok(())
    }

    fn end(self) -> Made {
        Ok(Value::Map(Some(self.entries)))
    }
}

#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl ser::SerializeStruct for Fields {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_field<T>(&mut self, name: &'static str, value: &T) -> Result<(), Self::Error>
    where
        T: Serialize + ?Sized,
    {
        self.0.push((name, value.serialize(ToValue)?));
        Ok(())
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Self::Error> {
        self.0.push((name, Value::Absent));
        Ok(())
    }

    fn end(self) -> Made {
        Ok(Value::Struct(self.0))
    }
}
