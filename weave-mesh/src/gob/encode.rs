//! Writing values of a described type.
//!
//! Definitions go out in the order of Go's encoder: a type before the types it is made of, depth
//! first, each in front of the first value that needs it. Ids are numbered in the order of Go's
//! runtime: a struct before its fields' types, a slice or map after its elements' types.

use super::cursor::{put_bytes, put_int, put_uint};
use super::registry::{BOOL, BYTES, FLOAT, INT, STRING, TypeId, UINT};
use super::{Error, StructValue, Value};

/// The type a value is encoded as. Names are informative; readers ignore them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A boolean.
    Bool,
    /// A signed integer of any width.
    Int,
    /// An unsigned integer of any width.
    Uint,
    /// A floating point number.
    Float,
    /// A byte string.
    Bytes,
    /// Text.
    String,
    /// A list.
    Slice {
        /// Name of the type, may be empty.
        name: String,
        /// Type of the elements.
        elem: Box<Self>,
    },
    /// A list of fixed length.
    Array {
        /// Name of the type, may be empty.
        name: String,
        /// Type of the elements.
        elem: Box<Self>,
        /// Number of elements.
        len: u32,
    },
    /// A map.
    Map {
        /// Name of the type, may be empty.
        name: String,
        /// Type of the keys.
        key: Box<Self>,
        /// Type of the elements.
        elem: Box<Self>,
    },
    /// A struct.
    Struct {
        /// Name of the type, may be empty.
        name: String,
        /// Names and types of the fields, in order.
        fields: Vec<(String, Self)>,
    },
    /// A type that encodes itself; values are bytes without inner structure.
    Opaque {
        /// Name of the type, may be empty.
        name: String,
    },
}

impl Type {
    /// A slice type.
    #[must_use]
    pub fn slice(name: impl Into<String>, elem: Self) -> Self {
        Self::Slice {
            name: name.into(),
            elem: Box::new(elem),
        }
    }

    /// A map type.
    #[must_use]
    pub fn map(name: impl Into<String>, key: Self, elem: Self) -> Self {
        Self::Map {
            name: name.into(),
            key: Box::new(key),
            elem: Box::new(elem),
        }
    }

    /// A struct type.
    #[must_use]
    pub fn structure<N: Into<String>>(
        name: impl Into<String>,
        fields: impl IntoIterator<Item = (N, Self)>,
    ) -> Self {
        let fields = fields
            .into_iter()
            .map(|(field, ty)| (field.into(), ty))
            .collect();
        Self::Struct {
            name: name.into(),
            fields,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Float => "float",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Slice { .. } => "slice",
            Self::Array { .. } => "array",
            Self::Map { .. } => "map",
            Self::Struct { .. } => "struct",
            Self::Opaque { .. } => "opaque",
        }
    }

    /// The types this one is made of, in order.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Slice { elem, .. } | Self::Array { elem, .. } => vec![elem],
            Self::Map { key, elem, .. } => vec![key, elem],
            Self::Struct { fields, .. } => fields.iter().map(|(_, ty)| ty).collect(),
            _ => Vec::new(),
        }
    }

    fn builtin_id(&self) -> Option<TypeId> {
        Some(match self {
            Self::Bool => BOOL,
            Self::Int => INT,
            Self::Uint => UINT,
            Self::Float => FLOAT,
            Self::Bytes => BYTES,
            Self::String => STRING,
            _ => return None,
        })
    }
}

/// Writes one stream.
#[derive(Debug)]
pub struct Encoder {
    out: Vec<u8>,
    ids: Vec<(Type, TypeId)>,
    defined: Vec<TypeId>,
    next_id: TypeId,
}

impl Encoder {
    /// An encoder at the start of a stream that numbers its types from 65, as every Go runtime
    /// accepts it.
    #[must_use]
    pub fn new() -> Self {
        Self::numbering_from(65)
    }

    /// An encoder that numbers its types from `first`; readers refuse ids below 64.
    #[must_use]
    pub fn numbering_from(first: u32) -> Self {
        Self {
            out: Vec::new(),
            ids: Vec::new(),
            defined: Vec::new(),
            next_id: first.into(),
        }
    }

    /// Appends a top-level value, behind the definitions it needs that are not in the stream yet.
    ///
    /// Of a struct, fields that are absent from the value are left out, and so are zero numbers,
    /// empty texts, byte strings and slices; structs, maps and arrays that are present are sent
    /// even if empty.
    ///
    /// # Errors
    /// [`Error::LocalMismatch`] or [`Error::LocalUnknownField`] if the value is not of the type;
    /// nothing of the value is appended, its definitions may be.
    pub fn value(&mut self, ty: &Type, value: &Value) -> Result<(), Error> {
        let id = self.define(ty);
        let mut message = Vec::new();
        put_int(&mut message, id);
        if !matches!(ty, Type::Struct { .. }) {
            message.push(0);
        }
        put_value(&mut message, ty, value)?;
        put_bytes(&mut self.out, &message);
        Ok(())
    }

    /// Appends the definitions that a value of this type needs and that are not in the stream yet.
    /// Returns the id of the type: a message with a value begins with it.
    pub fn define(&mut self, ty: &Type) -> i64 {
        let id = self.id_of(ty);
        self.define_as(ty, id);
        id
    }

    /// The bytes of the stream.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn id_of(&mut self, ty: &Type) -> TypeId {
        if let Some(id) = ty.builtin_id() {
            return id;
        }
        if let Some((_, id)) = self.ids.iter().find(|(known, _)| known == ty) {
            return *id;
        }
        let own = matches!(ty, Type::Struct { .. }).then(|| self.take_id());
        for part in ty.parts() {
            self.id_of(part);
        }
        let id = own.unwrap_or_else(|| self.take_id());
        self.ids.push((ty.clone(), id));
        id
    }

    fn take_id(&mut self) -> TypeId {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn define_as(&mut self, ty: &Type, id: TypeId) {
        if ty.builtin_id().is_some() || self.defined.contains(&id) {
            return;
        }
        self.defined.push(id);
        let parts = ty.parts();
        let part_ids: Vec<_> = parts.iter().map(|part| self.id_of(part)).collect();
        put_bytes(&mut self.out, &definition(ty, id, &part_ids));
        for (part, part_id) in parts.into_iter().zip(part_ids) {
            self.define_as(part, part_id);
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The message that defines `ty` as `id`; `parts` are the ids of [`Type::parts`].
fn definition(ty: &Type, id: TypeId, parts: &[TypeId]) -> Vec<u8> {
    let mut out = Vec::new();
    put_int(&mut out, -id);
    let (field, name) = match ty {
        Type::Array { name, .. } => (1, name),
        Type::Slice { name, .. } => (2, name),
        Type::Struct { name, .. } => (3, name),
        Type::Map { name, .. } => (4, name),
        Type::Opaque { name } => (5, name),
        _ => return out,
    };
    out.extend([field, 1]);
    if name.is_empty() {
        out.push(2);
    } else {
        out.push(1);
        put_bytes(&mut out, name.as_bytes());
        out.push(1);
    }
    put_int(&mut out, id);
    out.push(0);
    match ty {
        Type::Struct { fields, .. } if !fields.is_empty() => {
            out.push(1);
            put_uint(&mut out, fields.len() as u64);
            for ((field, _), part) in fields.iter().zip(parts) {
                out.push(1);
                put_bytes(&mut out, field.as_bytes());
                out.push(1);
                put_int(&mut out, *part);
                out.push(0);
            }
        }
        Type::Struct { .. } => {}
        _ => {
            for part in parts {
                out.push(1);
                put_int(&mut out, *part);
            }
        }
    }
    if let Type::Array { len: len @ 1.., .. } = ty {
        out.push(1);
        put_int(&mut out, i64::from(*len));
    }
    out.extend([0, 0]);
    out
}

fn put_value(out: &mut Vec<u8>, ty: &Type, value: &Value) -> Result<(), Error> {
    match (ty, value) {
        (Type::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
        (Type::Int, Value::Int(value)) => put_int(out, *value),
        (Type::Uint, Value::Uint(value)) => put_uint(out, *value),
        (Type::Float, Value::Float(value)) => put_uint(out, value.to_bits().swap_bytes()),
        (Type::Bytes, Value::Bytes(bytes)) | (Type::Opaque { .. }, Value::Opaque(bytes)) => {
            put_bytes(out, bytes);
        }
        (Type::String, Value::String(text)) => put_bytes(out, text.as_bytes()),
        (Type::Array { len, .. }, Value::Slice(elements))
            if elements.len() as u64 != u64::from(*len) =>
        {
            return Err(Error::ArrayLength {
                declared: u64::from(*len),
                found: elements.len() as u64,
            });
        }
        (Type::Slice { elem, .. } | Type::Array { elem, .. }, Value::Slice(elements)) => {
            put_uint(out, elements.len() as u64);
            for element in elements {
                put_value(out, elem, element)?;
            }
        }
        (Type::Map { key, elem, .. }, Value::Map(entries)) => {
            put_uint(out, entries.len() as u64);
            for (entry_key, entry) in entries {
                put_value(out, key, entry_key)?;
                put_value(out, elem, entry)?;
            }
        }
        (Type::Struct { fields, .. }, Value::Struct(value)) => put_struct(out, fields, value)?,
        _ => {
            return Err(Error::LocalMismatch {
                wanted: ty.kind(),
                found: value.kind(),
            });
        }
    }
    Ok(())
}

fn put_struct(
    out: &mut Vec<u8>,
    types: &[(String, Type)],
    value: &StructValue,
) -> Result<(), Error> {
    let is_known = |field: &str| types.iter().any(|(name, _)| name == field);
    if let Some((stranger, _)) = value.fields().find(|(field, _)| !is_known(field)) {
        return Err(Error::LocalUnknownField(stranger.to_owned()));
    }
    let mut delta = 0;
    for (name, ty) in types {
        delta += 1;
        let Some(field) = value.field(name).filter(|field| !is_omitted(ty, field)) else {
            continue;
        };
        put_uint(out, delta);
        put_value(out, ty, field)?;
        delta = 0;
    }
    out.push(0);
    Ok(())
}

/// Whether a field of this type is left out; never if the value is of another kind.
fn is_omitted(ty: &Type, value: &Value) -> bool {
    match (ty, value) {
        (Type::Bool, Value::Bool(value)) => !value,
        (Type::Int, Value::Int(value)) => *value == 0,
        (Type::Uint, Value::Uint(value)) => *value == 0,
        (Type::Float, Value::Float(value)) => *value == 0.0,
        (Type::Bytes, Value::Bytes(bytes)) => bytes.is_empty(),
        (Type::String, Value::String(text)) => text.is_empty(),
        (Type::Slice { .. }, Value::Slice(elements)) => elements.is_empty(),
        _ => false,
    }
}

/// Appends a top-level unsigned integer.
pub(crate) fn put_top_uint(out: &mut Vec<u8>, value: u64) {
    let mut message = Vec::with_capacity(11);
    put_int(&mut message, UINT);
    message.push(0);
    put_uint(&mut message, value);
    put_bytes(out, &message);
}

/// Appends a top-level text.
pub(crate) fn put_top_str(out: &mut Vec<u8>, text: &str) {
    put_top(out, STRING, text.as_bytes());
}

/// Appends a top-level byte string.
pub(crate) fn put_top_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_top(out, BYTES, bytes);
}

fn put_top(out: &mut Vec<u8>, id: TypeId, bytes: &[u8]) {
    let mut head = Vec::with_capacity(11);
    put_int(&mut head, id);
    head.push(0);
    put_uint(&mut head, bytes.len() as u64);
    put_uint(out, (head.len() + bytes.len()) as u64);
    out.extend_from_slice(&head);
    out.extend_from_slice(bytes);
}
