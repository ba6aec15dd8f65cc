//! Gob, Go's self-describing stream format, as far as Weave Net uses it.
//!
//! A stream is a sequence of length-delimited messages. A message either defines a type (a
//! negative id, then the description) or carries a value (the id of its type, then the value), so
//! a reader needs no schema: it follows the definitions it received. Type ids are the sender's
//! choice and mean something within one stream only.
//!
//! The decoder holds to one invariant: the memory it takes is proportional to the bytes it has
//! read, by the factors that [`Limits`] name, and no input makes it panic.

mod cursor;
mod decode;
mod encode;
mod error;
mod registry;
mod value;

pub use cursor::{Cursor, put_bytes, put_int, put_uint};
pub use decode::{Decoder, Limits};
pub use encode::{Encoder, Type};
pub use error::Error;
pub use value::{StructValue, Value};

pub(crate) use encode::{put_top_bytes, put_top_str, put_top_uint};
pub(crate) use registry::{
    BOOL, BYTES, Definition, Registry, STRING, StructDefinition, TypeId, UINT,
};

#[cfg(test)]
mod tests;
