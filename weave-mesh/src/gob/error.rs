//! What can be wrong with a gob stream or with a value to encode.

/// Why a gob stream was refused or a value could not be encoded.
///
/// Every variant but the `Local…` ones names a fault of the sender; the decoder's position is
/// undefined afterwards and the stream is to be dropped. Texts follow Go's `encoding/gob` where
/// operators know them from logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended cleanly where a value had to begin.
    #[error("EOF")]
    Eof,
    /// The stream or a message ended inside an item.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// An integer of more than 8 bytes.
    #[error("gob: encoded unsigned integer out of range")]
    IntegerTooLong,
    /// A string, byte string or list is longer than what is left of its message.
    #[error("gob: length {0} exceeds the rest of the message")]
    LengthBeyondMessage(u64),
    /// A type id below 64 is defined, or one is defined twice.
    #[error("gob: duplicate type received (id {0})")]
    DuplicateType(i64),
    /// A value or an element has a type that no definition describes.
    #[error("gob: unknown type id or corrupted data (id {0})")]
    UnknownType(i64),
    /// A type definition is malformed.
    #[error("gob: bad type definition: {0}")]
    BadDefinition(&'static str),
    /// Bytes follow a type definition inside its message.
    #[error("extra data in buffer")]
    ExtraData,
    /// The byte in front of a top-level value that is not a struct is not 0.
    #[error("gob: decode: corrupted data: non-zero delta for singleton")]
    NotSingleton,
    /// A struct value names a field beyond its definition.
    #[error("gob: bad data: field numbers out of bounds")]
    FieldOutOfBounds,
    /// An array value has another length than its type.
    #[error("gob: array of {found} elements where the type has {declared}")]
    ArrayLength {
        /// Length in the definition.
        declared: u64,
        /// Length in the value.
        found: u64,
    },
    /// A value is of another kind than its reader needs.
    #[error("gob: wrong type: {found} where {wanted} is needed")]
    WrongKind {
        /// What the reader needs.
        wanted: &'static str,
        /// What the sender declared.
        found: &'static str,
    },
    /// A received struct type shares no field with the one its reader needs.
    #[error("gob: type mismatch: no fields matched compiling decoder for {0}")]
    NoCommonField(&'static str),
    /// A value is of the right kind and does not fit its destination.
    #[error("value for \"{0}\" out of range")]
    OutOfRange(&'static str),
    /// Text that has to be UTF-8 is not.
    #[error("gob: text is not UTF-8")]
    NotUtf8,
    /// The stream needs more of something than the decoder's limits allow.
    #[error("gob: too many {0}")]
    Limit(&'static str),
    /// A value to encode does not have the type it is to be encoded as.
    #[error("gob: cannot encode {found} as {wanted}")]
    LocalMismatch {
        /// Kind of the type.
        wanted: &'static str,
        /// Kind of the value.
        found: &'static str,
    },
    /// A struct to encode has a field that its type lacks.
    #[error("gob: cannot encode field \"{0}\": the type has no such field")]
    LocalUnknownField(String),
}
