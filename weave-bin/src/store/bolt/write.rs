//! Writing: one commit is a whole tree, in pages that nothing else uses, and a meta page.

use std::ops::Range;

use super::page::{BUCKET, ELEMENT, FREELIST, HEADER, LEAF, Meta, header};
use super::{Malformed, Values};

/// What one commit puts into the file.
#[derive(Debug, Clone)]
pub(in super::super) struct Commit {
    /// The pages of the tree and the freelist, one behind the other.
    pub(in super::super) pages: Range<u64>,
    /// Their bytes.
    pub(in super::super) bytes: Vec<u8>,
    /// The meta page that makes them current.
    pub(in super::super) meta: Meta,
}

/// The commit `txid` of a file that has one bucket, `name`, with `values`.
///
/// `place` finds the first of as many consecutive pages as it is told.
///
/// # Errors
/// There is more than the format can hold.
pub(in super::super) fn commit(
    page_size: u32,
    txid: u64,
    name: &[u8],
    values: &Values,
    place: impl Fn(u64) -> u64,
) -> Result<Commit, Malformed> {
    let size = usize::try_from(page_size).map_err(|_| too_much())?;
    let elements: Vec<(u32, &[u8], &[u8])> = values
        .iter()
        .map(|(key, value)| (0, key.as_slice(), value.as_slice()))
        .collect();
    let tree_pages = 1 + leaf_length(&elements).div_ceil(size);
    let mut freelist_pages = 1;
    let (start, length, free) = loop {
        let length = pages_of(tree_pages + freelist_pages)?;
        let start = place(length);
        // What is in front of this commit is unused once it is current; what is behind it counts
        // as if it had never been used.
        let free: Vec<u64> = (FIRST..start).collect();
        if freelist_length(free.len()) <= freelist_pages * size {
            break (start, length, free);
        }
        freelist_pages += 1;
    };

    let freelist = start + pages_of(tree_pages)?;
    let mut bucket = (start + 1).to_le_bytes().to_vec();
    bucket.extend_from_slice(&MARK.to_le_bytes());
    let mut bytes = leaf(start, &[(BUCKET, name, &bucket)], size)?;
    bytes.extend(leaf(start + 1, &elements, size)?);
    bytes.extend(free_list(freelist, &free, freelist_pages * size, size)?);
    let high_water = start + length;
    Ok(Commit {
        pages: start..high_water,
        bytes,
        meta: Meta {
            page_size,
            root: start,
            freelist,
            high_water,
            txid,
        },
    })
}

/// A leaf page with its overflow, filled up to whole pages.
fn leaf(id: u64, elements: &[(u32, &[u8], &[u8])], page_size: usize) -> Result<Vec<u8>, Malformed> {
    let length = leaf_length(elements);
    let overflow = overflow(length, page_size)?;
    let count = u16::try_from(elements.len()).map_err(|_| too_much())?;
    let mut out = header(id, LEAF, count, overflow);
    out.reserve(length.next_multiple_of(page_size));
    let mut end = HEADER + elements.len() * ELEMENT;
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        let pos = end - (HEADER + index * ELEMENT);
        out.extend_from_slice(&flags.to_le_bytes());
        for word in [pos, key.len(), value.len()] {
            let word = u32::try_from(word).map_err(|_| too_much())?;
            out.extend_from_slice(&word.to_le_bytes());
        }
        end += key.len() + value.len();
    }
    for (_, key, value) in elements {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    out.resize(length.next_multiple_of(page_size), 0);
    Ok(out)
}

/// A freelist of `length` bytes. A count that does not fit the header is the first word of the list.
fn free_list(id: u64, free: &[u64], length: usize, page_size: usize) -> Result<Vec<u8>, Malformed> {
    let count = u16::try_from(free.len()).ok().filter(|count| *count < LONG);
    let mut out = header(
        id,
        FREELIST,
        count.unwrap_or(LONG),
        overflow(length, page_size)?,
    );
    if count.is_none() {
        out.extend_from_slice(&pages_of(free.len())?.to_le_bytes());
    }
    for page in free {
        out.extend_from_slice(&page.to_le_bytes());
    }
    out.resize(length, 0);
    Ok(out)
}

fn leaf_length(elements: &[(u32, &[u8], &[u8])]) -> usize {
    let content: usize = elements
        .iter()
        .map(|(_, key, value)| ELEMENT + key.len() + value.len())
        .sum();
    HEADER + content
}

fn freelist_length(count: usize) -> usize {
    let long = usize::from(count >= usize::from(LONG));
    HEADER + (count + long) * 8
}

fn overflow(length: usize, page_size: usize) -> Result<u32, Malformed> {
    u32::try_from(length.div_ceil(page_size) - 1).map_err(|_| too_much())
}

fn pages_of(count: usize) -> Result<u64, Malformed> {
    u64::try_from(count).map_err(|_| too_much())
}

fn too_much() -> Malformed {
    Malformed::new("the state is larger than a data file can hold")
}

/// The first page that is no meta page.
const FIRST: u64 = 2;
/// This count in a freelist's header means that the list says itself how long it is.
const LONG: u16 = 0xffff;
/// The bucket's sequence, which Weave Net does not use and keeps: the mark that we wrote here.
const MARK: u64 = 1;
