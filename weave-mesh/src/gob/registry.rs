//! The types a stream has defined so far.
//!
//! Definitions may refer to types that are defined later, so an id is resolved only when a value
//! of that type is met.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cursor, Error, Limits, Type};

/// A type id: below 64 built in, otherwise the sender's choice.
pub(crate) type TypeId = i64;

/// Id of the built-in boolean type.
pub(crate) const BOOL: TypeId = 1;
/// Id of the built-in signed integer type.
pub(crate) const INT: TypeId = 2;
/// Id of the built-in unsigned integer type.
pub(crate) const UINT: TypeId = 3;
/// Id of the built-in float type.
pub(crate) const FLOAT: TypeId = 4;
/// Id of the built-in byte string type.
pub(crate) const BYTES: TypeId = 5;
/// Id of the built-in text type.
pub(crate) const STRING: TypeId = 6;
const COMPLEX: TypeId = 7;
const INTERFACE: TypeId = 8;
const FIRST_FREE: TypeId = 64;

/// What a type id stands for.
#[derive(Debug)]
pub(crate) enum Definition {
    Bool,
    Int,
    Uint,
    Float,
    Bytes,
    String,
    Complex,
    Interface,
    Slice(TypeId),
    Array { element: TypeId, length: u64 },
    Map { key: TypeId, element: TypeId },
    Struct(StructDefinition),
    Opaque,
}

impl Definition {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Float => "float",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Complex => "complex",
            Self::Interface => "interface",
            Self::Slice(_) => "slice",
            Self::Array { .. } => "array",
            Self::Map { .. } => "map",
            Self::Struct(_) => "struct",
            Self::Opaque => "opaque",
        }
    }
}

/// The fields of a struct type, by position.
#[derive(Debug)]
pub(crate) struct StructDefinition {
    pub(crate) names: Arc<[Arc<str>]>,
    pub(crate) types: Vec<TypeId>,
}

impl StructDefinition {
    /// [`walk`]s the fields of a value of this type.
    pub(crate) fn walk<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        may_end: bool,
        visit: impl FnMut(usize, &mut Cursor<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        walk(cursor, self.types.len(), may_end, visit)
    }
}

/// Calls `visit` with the position of each field that is present in the struct value at `cursor`;
/// `visit` has to move the cursor past the field.
///
/// `may_end` accepts the end of the message instead of the terminator. Only a top-level value may
/// do so: inside lists it would let elements take no bytes at all.
fn walk<'a>(
    cursor: &mut Cursor<'a>,
    fields: usize,
    may_end: bool,
    mut visit: impl FnMut(usize, &mut Cursor<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut next = 0_usize;
    while !(may_end && cursor.is_empty()) {
        let delta = cursor.uint()?;
        if delta == 0 {
            break;
        }
        next = usize::try_from(delta)
            .ok()
            .and_then(|delta| next.checked_add(delta))
            .filter(|&next| next <= fields)
            .ok_or(Error::FieldOutOfBounds)?;
        visit(next - 1, cursor)?;
    }
    Ok(())
}

/// The definitions of one stream.
#[derive(Debug)]
pub(crate) struct Registry {
    definitions: BTreeMap<TypeId, Definition>,
    fields_left: usize,
    limits: Limits,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            definitions: BTreeMap::new(),
            fields_left: limits.fields,
            limits,
        }
    }

    /// Learns the type `id` from the rest of a definition message.
    pub(crate) fn define(&mut self, id: TypeId, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        if id < FIRST_FREE || self.definitions.contains_key(&id) {
            return Err(Error::DuplicateType(id));
        }
        if self.definitions.len() >= self.limits.types {
            return Err(Error::Limit("types"));
        }
        let definition = self.wire_type(cursor)?;
        if !cursor.is_empty() {
            return Err(Error::ExtraData);
        }
        self.definitions.insert(id, definition);
        Ok(())
    }

    /// What `id` stands for.
    pub(crate) fn resolve(&self, id: TypeId) -> Result<&Definition, Error> {
        Ok(match id {
            BOOL => &Definition::Bool,
            INT => &Definition::Int,
            UINT => &Definition::Uint,
            FLOAT => &Definition::Float,
            BYTES => &Definition::Bytes,
            STRING => &Definition::String,
            COMPLEX => &Definition::Complex,
            INTERFACE => &Definition::Interface,
            _ => self.definitions.get(&id).ok_or(Error::UnknownType(id))?,
        })
    }

    /// Whether `id` is defined like `ty`, whatever the ids and names of types.
    pub(crate) fn has_shape(&self, id: TypeId, ty: &Type) -> bool {
        let Ok(definition) = self.resolve(id) else {
            return false;
        };
        match (definition, ty) {
            (Definition::Bool, Type::Bool)
            | (Definition::Int, Type::Int)
            | (Definition::Uint, Type::Uint)
            | (Definition::Float, Type::Float)
            | (Definition::Bytes, Type::Bytes)
            | (Definition::String, Type::String)
            | (Definition::Opaque, Type::Opaque { .. }) => true,
            (&Definition::Slice(element), Type::Slice { elem, .. }) => {
                self.has_shape(element, elem)
            }
            (&Definition::Array { element, length }, Type::Array { elem, len, .. }) => {
                length == u64::from(*len) && self.has_shape(element, elem)
            }
            (&Definition::Map { key, element }, Type::Map { key: k, elem, .. }) => {
                self.has_shape(key, k) && self.has_shape(element, elem)
            }
            (Definition::Struct(found), Type::Struct { fields, .. }) => {
                let mut names = found.names.iter().zip(&found.types).zip(fields);
                found.types.len() == fields.len()
                    && names.all(|((name, id), (field, ty))| {
                        **name == **field && self.has_shape(*id, ty)
                    })
            }
            _ => false,
        }
    }

    /// Levels of nesting a value may have.
    pub(crate) fn depth(&self) -> usize {
        self.limits.depth
    }

    /// Moves `cursor` past a value of the type `id` that nests at most `depth` levels.
    pub(crate) fn skip(
        &self,
        id: TypeId,
        cursor: &mut Cursor<'_>,
        depth: usize,
    ) -> Result<(), Error> {
        let depth = depth
            .checked_sub(1)
            .ok_or(Error::Limit("levels of nesting"))?;
        match self.resolve(id)? {
            Definition::Bool | Definition::Int | Definition::Uint | Definition::Float => {
                cursor.uint()?;
            }
            Definition::Complex => {
                cursor.uint()?;
                cursor.uint()?;
            }
            Definition::Bytes | Definition::String | Definition::Opaque => {
                cursor.bytes()?;
            }
            Definition::Interface => {
                interface(cursor)?;
            }
            &Definition::Slice(element) => self.skip_elements(&[element], cursor, depth)?,
            &Definition::Array { element, length } => {
                check_length(length, *cursor)?;
                self.skip_elements(&[element], cursor, depth)?;
            }
            &Definition::Map { key, element } => {
                self.skip_elements(&[key, element], cursor, depth)?;
            }
            Definition::Struct(fields) => fields.walk(cursor, false, |index, cursor| {
                self.skip(fields.types[index], cursor, depth)
            })?,
        }
        Ok(())
    }

    fn skip_elements(
        &self,
        types: &[TypeId],
        cursor: &mut Cursor<'_>,
        depth: usize,
    ) -> Result<(), Error> {
        for _ in 0..cursor.count()? {
            for &id in types {
                self.skip(id, cursor, depth)?;
            }
        }
        Ok(())
    }

    /// The built-in type "wire type": exactly one of its fields is present.
    fn wire_type(&mut self, cursor: &mut Cursor<'_>) -> Result<Definition, Error> {
        let mut definition = None;
        walk(cursor, 7, false, |index, cursor| {
            let previous = definition.replace(match index {
                0 => {
                    let [element, length] = described(cursor, 3)?;
                    let length = u64::try_from(length)
                        .map_err(|_| Error::BadDefinition("an array of negative length"))?;
                    Definition::Array { element, length }
                }
                1 => Definition::Slice(described(cursor, 2)?[0]),
                2 => Definition::Struct(self.struct_type(cursor)?),
                3 => {
                    let [key, element] = described(cursor, 3)?;
                    Definition::Map { key, element }
                }
                _ => {
                    described(cursor, 1)?;
                    Definition::Opaque
                }
            });
            match previous {
                None => Ok(()),
                Some(_) => Err(Error::BadDefinition("more than one kind of type")),
            }
        })?;
        definition.ok_or(Error::BadDefinition("no kind of type"))
    }

    /// The built-in "struct type": the common part, then a list of named fields.
    fn struct_type(&mut self, cursor: &mut Cursor<'_>) -> Result<StructDefinition, Error> {
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut types = Vec::new();
        walk(cursor, 2, false, |index, cursor| {
            if index == 0 {
                return common(cursor);
            }
            let count = cursor.count()?;
            self.fields_left = self
                .fields_left
                .checked_sub(count)
                .ok_or(Error::Limit("fields"))?;
            for _ in 0..count {
                let (mut name, mut id) = (&[][..], 0);
                walk(cursor, 2, false, |index, cursor| {
                    match index {
                        0 => name = cursor.bytes()?,
                        _ => id = cursor.int()?,
                    }
                    Ok(())
                })?;
                names.push(String::from_utf8_lossy(name).into());
                types.push(id);
            }
            Ok(())
        })?;
        Ok(StructDefinition {
            names: names.into(),
            types,
        })
    }
}

/// The integers behind the common part of an array, slice or map type of `fields` fields.
fn described(cursor: &mut Cursor<'_>, fields: usize) -> Result<[i64; 2], Error> {
    let mut numbers = [0; 2];
    walk(cursor, fields, false, |index, cursor| match index {
        0 => common(cursor),
        _ => {
            numbers[index - 1] = cursor.int()?;
            Ok(())
        }
    })?;
    Ok(numbers)
}

/// The common part of a type: its name and its id, both only informative.
fn common(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    walk(cursor, 2, false, |index, cursor| match index {
        0 => cursor.bytes().map(drop),
        _ => cursor.int().map(drop),
    })
}

/// Checks the length of an array value, without moving past it.
pub(crate) fn check_length(declared: u64, mut cursor: Cursor<'_>) -> Result<(), Error> {
    let found = cursor.uint()?;
    if found == declared {
        Ok(())
    } else {
        Err(Error::ArrayLength { declared, found })
    }
}

/// The bytes of an interface value: nothing if it is nil, else the encoded concrete value behind
/// the concrete type's name and id.
pub(crate) fn interface<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
    if cursor.bytes()?.is_empty() {
        return Ok(&[]);
    }
    let id = cursor.int()?;
    if id < 0 {
        return Err(Error::BadDefinition(
            "a type defined inside an interface value",
        ));
    }
    cursor.bytes()
}
