//! Reading values out of a stream, guided by the definitions in it.

use std::sync::Arc;

use super::registry::{self, BYTES, Definition, Registry, STRING, TypeId, UINT};
use super::{Cursor, Error, StructValue, Type, Value};

/// How much a stream may ask of its decoder, besides the bytes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels of lists, maps and structs inside each other.
    pub depth: usize,
    /// Types defined by one stream.
    pub types: usize,
    /// Fields of all struct types of one stream together.
    pub fields: usize,
    /// [`Value`]s built from one stream, nested ones included.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: MAX_DEPTH,
            types: MAX_TYPES,
            fields: MAX_FIELDS,
            values: MAX_VALUES,
        }
    }
}

/// Reads the top-level values of one stream.
#[derive(Debug)]
pub struct Decoder<'a> {
    input: Cursor<'a>,
    types: Registry,
    values_left: usize,
    depth: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of a stream, with the default [`Limits`].
    #[must_use]
    pub fn new(stream: &'a [u8]) -> Self {
        Self::with_limits(stream, Limits::default())
    }

    /// A decoder with limits of the caller's choice.
    #[must_use]
    pub fn with_limits(stream: &'a [u8], limits: Limits) -> Self {
        Self {
            input: Cursor::new(stream),
            types: Registry::new(limits),
            values_left: limits.values,
            depth: limits.depth,
        }
    }

    /// The next top-level value, `None` if the stream ends cleanly in front of it.
    ///
    /// # Errors
    /// An [`Error`] that names the sender's fault; the stream is to be dropped.
    #[expect(
        clippy::should_implement_trait,
        reason = "an error ends the stream, None is its end"
    )]
    pub fn next(&mut self) -> Result<Option<Value>, Error> {
        let Some((id, mut cursor)) = self.next_raw()? else {
            return Ok(None);
        };
        let mut builder = Builder {
            types: &self.types,
            values_left: self.values_left,
        };
        let value = builder.value(id, &mut cursor, self.depth, true)?;
        self.values_left = builder.values_left;
        Ok(Some(value))
    }

    /// The bytes of the next top-level value if its sender declares it as `ty`: the same kinds, and
    /// structs with the same fields in the same order. Ids and names of types do not matter. `None`
    /// if it is of another shape, or the stream ends; a new decoder can read it then.
    ///
    /// # Errors
    /// As [`Decoder::next`].
    pub fn next_shaped(&mut self, ty: &Type) -> Result<Option<Cursor<'a>>, Error> {
        let found = self.next_raw()?;
        Ok(found.and_then(|(id, cursor)| self.types.has_shape(id, ty).then_some(cursor)))
    }

    /// The next top-level value, which has to be an unsigned integer.
    ///
    /// # Errors
    /// As [`Decoder::next`]; [`Error::Eof`] at the end of the stream, [`Error::WrongKind`] if the
    /// value is something else.
    pub fn next_uint(&mut self) -> Result<u64, Error> {
        self.next_of(UINT)?.uint()
    }

    /// The next top-level value, which has to be text.
    ///
    /// # Errors
    /// As [`Decoder::next_uint`]; [`Error::NotUtf8`] if it is not UTF-8.
    pub fn next_str(&mut self) -> Result<&'a str, Error> {
        let bytes = self.next_of(STRING)?.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)
    }

    /// The next top-level value, which has to be a byte string.
    ///
    /// # Errors
    /// As [`Decoder::next_uint`].
    pub fn next_bytes(&mut self) -> Result<&'a [u8], Error> {
        self.next_of(BYTES)?.bytes()
    }

    /// The type and the bytes of the next top-level value; definitions in front of it are learnt.
    pub(crate) fn next_raw(&mut self) -> Result<Option<(TypeId, Cursor<'a>)>, Error> {
        while !self.input.is_empty() {
            let mut message = self.input.message()?;
            let id = message.int()?;
            if id < 0 {
                self.types.define(id.wrapping_neg(), &mut message)?;
                continue;
            }
            let is_struct = matches!(self.types.resolve(id)?, Definition::Struct(_));
            if !is_struct && message.uint()? != 0 {
                return Err(Error::NotSingleton);
            }
            return Ok(Some((id, message)));
        }
        Ok(None)
    }

    /// The types defined so far.
    pub(crate) fn types(&self) -> &Registry {
        &self.types
    }

    fn next_of(&mut self, wanted: TypeId) -> Result<Cursor<'a>, Error> {
        let (id, cursor) = self.next_raw()?.ok_or(Error::Eof)?;
        if id == wanted {
            return Ok(cursor);
        }
        let kind = |id| self.types.resolve(id).map(Definition::kind);
        Err(Error::WrongKind {
            wanted: kind(wanted)?,
            found: kind(id)?,
        })
    }
}

/// Builds [`Value`]s as long as the budget lasts.
struct Builder<'r> {
    types: &'r Registry,
    values_left: usize,
}

impl Builder<'_> {
    fn value(
        &mut self,
        id: TypeId,
        cursor: &mut Cursor<'_>,
        depth: usize,
        is_top: bool,
    ) -> Result<Value, Error> {
        let depth = depth
            .checked_sub(1)
            .ok_or(Error::Limit("levels of nesting"))?;
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(Error::Limit("values"))?;
        let types = self.types;
        Ok(match types.resolve(id)? {
            Definition::Bool => Value::Bool(cursor.uint()? != 0),
            Definition::Int => Value::Int(cursor.int()?),
            Definition::Uint => Value::Uint(cursor.uint()?),
            Definition::Float => Value::Float(cursor.float()?),
            Definition::Complex => Value::Slice(vec![
                Value::Float(cursor.float()?),
                Value::Float(cursor.float()?),
            ]),
            Definition::Bytes => Value::Bytes(cursor.bytes()?.to_vec()),
            Definition::String => {
                Value::String(String::from_utf8_lossy(cursor.bytes()?).into_owned())
            }
            Definition::Opaque => Value::Opaque(cursor.bytes()?.to_vec()),
            Definition::Interface => Value::Opaque(registry::interface(cursor)?.to_vec()),
            &Definition::Slice(element) => self.elements(element, cursor, depth)?,
            &Definition::Array { element, length } => {
                registry::check_length(length, *cursor)?;
                self.elements(element, cursor, depth)?
            }
            &Definition::Map { key, element } => {
                let mut entries = Vec::new();
                for _ in 0..cursor.count()? {
                    let key = self.value(key, cursor, depth, false)?;
                    entries.push((key, self.value(element, cursor, depth, false)?));
                }
                Value::Map(entries)
            }
            Definition::Struct(definition) => {
                let mut value = StructValue::received(Arc::clone(&definition.names));
                definition.walk(cursor, is_top, |index, cursor| {
                    let field = self.value(definition.types[index], cursor, depth, false)?;
                    value.push(Arc::clone(&definition.names[index]), field);
                    Ok(())
                })?;
                Value::Struct(value)
            }
        })
    }

    fn elements(
        &mut self,
        element: TypeId,
        cursor: &mut Cursor<'_>,
        depth: usize,
    ) -> Result<Value, Error> {
        let mut elements = Vec::new();
        for _ in 0..cursor.count()? {
            elements.push(self.value(element, cursor, depth, false)?);
        }
        Ok(Value::Slice(elements))
    }
}

/// Default of [`Limits::depth`]; the deepest stream of Weave Net, the state of an address
/// allocator, has 6 levels.
const MAX_DEPTH: usize = 64;
/// Default of [`Limits::types`]; an allocator's state defines 12.
const MAX_TYPES: usize = 256;
/// Default of [`Limits::fields`].
const MAX_FIELDS: usize = 4096;
/// Default of [`Limits::values`]: an allocator's ring of 200 000 entries.
const MAX_VALUES: usize = 1 << 20;
