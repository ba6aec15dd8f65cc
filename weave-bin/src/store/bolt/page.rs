//! Pages and their parts: headers, elements, meta pages and their checksum.

use std::ops::Range;

use super::Malformed;

/// A page as its header describes it. `body` begins at the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) flags: u16,
    count: u16,
    body: &'a [u8],
}

/// What an element of a page says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) is_bucket: bool,
    pub(super) key: &'a [u8],
    /// The value of a leaf element, nothing for a branch element.
    pub(super) value: &'a [u8],
    /// The child of a branch element.
    pub(super) child: u64,
}

impl<'a> Page<'a> {
    /// The page number `id` of `image`, and which pages it takes.
    pub(super) fn at(
        image: &'a [u8],
        page_size: usize,
        id: u64,
    ) -> Result<(Self, Range<u64>), Malformed> {
        let beyond = || Malformed::new(format!("page {id} is beyond its end"));
        let start = usize::try_from(id)
            .ok()
            .and_then(|id| id.checked_mul(page_size))
            .ok_or_else(beyond)?;
        let head = image
            .get(start..start.saturating_add(HEADER))
            .ok_or_else(beyond)?;
        let found = u64_at(head, 0);
        if found != id {
            return Err(Malformed::new(format!(
                "page {id} calls itself page {found}"
            )));
        }
        let pages = u64::from(u32_at(head, 12)) + 1;
        let end = usize::try_from(pages)
            .ok()
            .and_then(|pages| pages.checked_mul(page_size))
            .and_then(|length| start.checked_add(length))
            .ok_or_else(beyond)?;
        let body = image.get(start..end).ok_or_else(beyond)?;
        Ok((Self::parse(body)?, id..id.saturating_add(pages)))
    }

    /// The page whose bytes are `body`; an inline page has no number of its own.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        if body.len() < HEADER {
            return Err(Malformed::new("a page is cut off"));
        }
        Ok(Self {
            flags: u16_at(body, 8),
            count: u16_at(body, 10),
            body,
        })
    }

    /// The elements of a leaf or branch page, in order.
    pub(super) fn elements(self) -> Result<Vec<Element<'a>>, Malformed> {
        let count = usize::from(self.count);
        if self.body.len() < HEADER + count * ELEMENT {
            return Err(Malformed::new("a page has more elements than fit"));
        }
        (0..count).map(|index| self.element(index)).collect()
    }

    fn element(self, index: usize) -> Result<Element<'a>, Malformed> {
        let start = HEADER + index * ELEMENT;
        let head = &self.body[start..start + ELEMENT];
        let is_leaf = self.flags == LEAF;
        let (pos, key_size, value_size) = if is_leaf {
            (u32_at(head, 4), u32_at(head, 8), u32_at(head, 12))
        } else {
            (u32_at(head, 0), u32_at(head, 4), 0)
        };
        let part = |from: usize, length: u32| -> Option<(&'a [u8], usize)> {
            let end = from.checked_add(usize::try_from(length).ok()?)?;
            Some((self.body.get(from..end)?, end))
        };
        let parts = usize::try_from(pos)
            .ok()
            .and_then(|pos| start.checked_add(pos))
            .and_then(|from| part(from, key_size))
            .and_then(|(key, end)| Some((key, part(end, value_size)?.0)));
        let Some((key, value)) = parts else {
            return Err(Malformed::new("an element reaches beyond its page"));
        };
        Ok(Element {
            is_bucket: is_leaf && u32_at(head, 0) & BUCKET != 0,
            key,
            value,
            child: if is_leaf { 0 } else { u64_at(head, 8) },
        })
    }
}

/// A meta page: where the tree of one transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Meta {
    /// Bytes a page.
    pub(in super::super) page_size: u32,
    /// Root page of the bucket of buckets.
    pub(in super::super) root: u64,
    /// The page with the list of unused pages.
    pub(in super::super) freelist: u64,
    /// The first page that was never used.
    pub(in super::super) high_water: u64,
    /// The transaction's number.
    pub(in super::super) txid: u64,
}

impl Meta {
    /// The page the meta of transaction `txid` goes to.
    pub(in super::super) fn slot(txid: u64) -> u64 {
        txid % 2
    }

    /// The bytes of the meta page, without the unused rest.
    pub(in super::super) fn emit(&self) -> Vec<u8> {
        let mut out = header(Self::slot(self.txid), META, 0, 0);
        for word in [MAGIC, FORMAT, self.page_size, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        // The second word is the sequence of the bucket of buckets, which has none.
        for word in [self.root, 0, self.freelist, self.high_water, self.txid] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let checksum = fnv1a(&out[HEADER..]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The meta page at `start`, unless it is damaged or something else.
    fn parse(image: &[u8], start: usize) -> Option<Self> {
        let page = image.get(start..start.checked_add(HEADER + META_BODY)?)?;
        let body = &page[HEADER..];
        let sound = u16_at(page, 8) & META != 0
            && u32_at(body, 0) == MAGIC
            && u32_at(body, 4) == FORMAT
            && u64_at(body, META_BODY - 8) == fnv1a(&body[..META_BODY - 8]);
        sound.then(|| Self {
            page_size: u32_at(body, 8),
            root: u64_at(body, 16),
            freelist: u64_at(body, 32),
            high_water: u64_at(body, 40),
            txid: u64_at(body, 48),
        })
    }
}

/// The valid meta pages of a file, the one with the higher transaction number first.
///
/// # Errors
/// The file is none of this format, or both meta pages are damaged.
pub(in super::super) fn metas(image: &[u8]) -> Result<Vec<Meta>, Malformed> {
    let usable = |meta: &Meta| PAGE_SIZES.contains(&meta.page_size) && meta.high_water >= 3;
    let first = Meta::parse(image, 0).filter(usable);
    // Where the second page begins is known from the first; when that is damaged, by trying.
    let sizes = match first {
        Some(meta) => vec![meta.page_size],
        None => PAGE_SIZES.to_vec(),
    };
    let second = sizes.into_iter().find_map(|size| {
        let start = usize::try_from(size).ok()?;
        Meta::parse(image, start).filter(|meta| meta.page_size == size && usable(meta))
    });
    let mut found: Vec<Meta> = first.into_iter().chain(second).collect();
    found.sort_by_key(|meta| std::cmp::Reverse(meta.txid));
    if found.is_empty() {
        return Err(Malformed::new("it does not begin as a data file does"));
    }
    Ok(found)
}

/// A page header.
pub(super) fn header(id: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + META_BODY);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&overflow.to_le_bytes());
    out
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// The eight bytes at `at`, which must be there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Page flags.
pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
const META: u16 = 0x04;
pub(super) const FREELIST: u16 = 0x10;
/// Flag of a leaf element whose value is a bucket.
pub(super) const BUCKET: u32 = 0x01;

/// Bytes of a page header, and of an element of either kind.
pub(super) const HEADER: usize = 16;
pub(super) const ELEMENT: usize = 16;
const META_BODY: usize = 64;
const MAGIC: u32 = 0xed0c_daed;
const FORMAT: u32 = 2;
/// The page sizes of Linux systems, and smaller ones that the format allows.
const PAGE_SIZES: [u32; 7] = [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
