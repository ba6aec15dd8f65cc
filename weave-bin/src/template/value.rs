//! Values a template works on: a report and what is computed from it.
//!
//! Structs and maps are told apart because a template may not name a field that a struct does not have,
//! while a missing key of a map is `<no value>`; lists know whether they are nil because JSON shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// A value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A pointer or an interface to nothing.
    Nil,
    /// A field that is left out when it has nothing to tell; else as [`Value::Nil`].
    Absent,
    /// What a map answers for a key it does not have.
    Missing,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Another number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A list; `None` is the nil list, which is empty too.
    List(Option<Vec<Self>>),
    /// A map by text; `None` is the nil map, which is empty too.
    Map(Option<BTreeMap<String, Self>>),
    /// Fields in their order.
    Struct(Vec<(&'static str, Self)>),
}

impl Value {
    /// A text.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Text(text.as_ref().into())
    }

    /// Name of the kind of value, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil | Self::Absent | Self::Missing => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Struct(_) => "struct",
        }
    }

    /// Whether `if` takes its first branch: everything but false, zero, nothing and what is empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::Absent | Self::Missing => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => list.as_ref().is_some_and(|list| !list.is_empty()),
            Self::Map(map) => map.as_ref().is_some_and(|map| !map.is_empty()),
            Self::Struct(_) => true,
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::Absent | Self::Missing)
    }
}

/// As JSON, with the order of fields kept.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil | Self::Absent | Self::Missing | Self::List(None) | Self::Map(None) => {
                serializer.serialize_unit()
            }
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i128(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(Some(list)) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(value)?;
                }
                seq.end()
            }
            Self::Map(Some(map)) => {
                let mut entries = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    entries.serialize_entry(key, value)?;
                }
                entries.end()
            }
            Self::Struct(fields) => {
                let mut entries = serializer.serialize_map(None)?;
                for (name, value) in fields {
                    if *value != Self::Absent {
                        entries.serialize_entry(name, value)?;
                    }
                }
                entries.end()
            }
        }
    }
}
