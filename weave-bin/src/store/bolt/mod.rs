//! The BoltDB file format, as far as one bucket of a few values needs it.
//!
//! Weave Net keeps its state in such a file, and so do we: a host can go over to either program
//! and back without an export. Everything here is pure: a file is a byte slice, a commit is a list
//! of bytes and where they go. Whatever the bytes are, reading ends, and never takes more memory
//! than they do.
//!
//! ```text
//!   page 0, 1   meta: which tree is current; the valid one with the higher transaction number
//!   page 2…     branch and leaf pages of the trees, freelist, unused pages
//!
//!   page:  id u64 | flags u16 | count u16 | overflow u32 | elements … | keys and values …
//!   leaf element:    flags u32 | pos u32 | key size u32 | value size u32
//!   branch element:  pos u32 | key size u32 | child page u64
//!   bucket (a value whose element has flag 1):  root page u64 | sequence u64 | inline page
//! ```
//!
//! `pos` counts from the element itself. A page with overflow continues in the pages behind it.
//! Integers have the byte order of the machine that wrote them; little-endian is read and written.

mod page;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

pub(super) use page::{Meta, metas};
pub(super) use read::{bucket, leaf_at};
pub(super) use write::commit;

/// The values of a bucket by key.
pub(super) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// The bytes are not a file of this format, or damaged. The text says in which way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(String);

impl Malformed {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
