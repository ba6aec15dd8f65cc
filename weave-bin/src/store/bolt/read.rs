//! Reading: from a root page to the values of a bucket.

use std::collections::BTreeSet;
use std::ops::Range;

use super::page::{BRANCH, LEAF, Page, u64_at};
use super::{Malformed, Values};

/// A bucket and the pages that were read to find it.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Bucket {
    /// Its values. Buckets inside it are left out.
    pub(in super::super) values: Values,
    /// Whether it has the mark of [`commit`](super::commit).
    pub(in super::super) is_marked: bool,
    /// The pages of the trees, without the freelist.
    pub(in super::super) pages: Vec<Range<u64>>,
}

/// The bucket `name` under the root page `root`.
///
/// # Errors
/// Some page is damaged or missing, or there is no such bucket.
pub(in super::super) fn bucket(
    image: &[u8],
    page_size: usize,
    root: u64,
    name: &[u8],
) -> Result<Bucket, Malformed> {
    let mut walk = Walk::new(image, page_size);
    walk.tree(root)?;
    let Some(value) = walk.buckets.iter().find(|(key, _)| *key == name) else {
        return Err(Malformed::new(format!(
            "it has no bucket {:?}",
            String::from_utf8_lossy(name)
        )));
    };
    let value = value.1;
    if value.len() < BUCKET_HEADER {
        return Err(Malformed::new("a bucket is cut off"));
    }
    walk.values.clear();
    walk.copied = 0;
    match u64_at(value, 0) {
        0 => walk.leaf(Page::parse(&value[BUCKET_HEADER..])?)?,
        page => walk.tree(page)?,
    }
    Ok(Bucket {
        values: walk.values,
        is_marked: u64_at(value, 8) != 0,
        pages: walk.pages,
    })
}

/// The values of page `id`, when it is a sound leaf page, and the pages it takes.
pub(in super::super) fn leaf_at(image: &[u8], page_size: usize, id: u64) -> Option<Bucket> {
    let (page, pages) = Page::at(image, page_size, id).ok()?;
    let mut walk = Walk::new(image, page_size);
    walk.leaf(page).ok()?;
    Some(Bucket {
        values: walk.values,
        is_marked: false,
        pages: vec![pages],
    })
}

struct Walk<'a> {
    image: &'a [u8],
    page_size: usize,
    values: Values,
    buckets: Vec<(&'a [u8], &'a [u8])>,
    pages: Vec<Range<u64>>,
    copied: usize,
}

impl<'a> Walk<'a> {
    fn new(image: &'a [u8], page_size: usize) -> Self {
        Self {
            image,
            page_size,
            values: Values::new(),
            buckets: Vec::new(),
            pages: Vec::new(),
            copied: 0,
        }
    }

    /// Reads a tree. Every page is read once at most, so damaged links cannot make this endless.
    fn tree(&mut self, root: u64) -> Result<(), Malformed> {
        let mut seen = BTreeSet::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                return Err(Malformed::new(format!("page {id} is linked twice")));
            }
            let (page, pages) = Page::at(self.image, self.page_size, id)?;
            self.pages.push(pages);
            if page.flags == BRANCH {
                open.extend(page.elements()?.iter().map(|element| element.child));
            } else {
                self.leaf(page)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, page: Page<'a>) -> Result<(), Malformed> {
        if page.flags != LEAF {
            return Err(Malformed::new("a page is of another kind than its place"));
        }
        for element in page.elements()? {
            if element.is_bucket {
                self.buckets.push((element.key, element.value));
                continue;
            }
            // Elements that overlap could otherwise make much of little.
            self.copied += element.key.len() + element.value.len();
            if self.copied > self.image.len() {
                return Err(Malformed::new("its values overlap"));
            }
            self.values
                .insert(element.key.to_vec(), element.value.to_vec());
        }
        Ok(())
    }
}

/// A bucket's root page and sequence, in bytes.
const BUCKET_HEADER: usize = 16;
