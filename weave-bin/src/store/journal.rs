//! Commits to the data file, and finding the last one again.
//!
//! A commit writes a whole tree into pages that neither of the two trees before it uses, syncs
//! once, and then points a meta page at it. The commit is durable with that one sync: should the
//! meta page not reach the disk, [`recover`] finds the tree by its seal. The meta page is synced by
//! the next commit, or by [`Journal::settle`] when there is none for a while; only a power cut in
//! between makes Weave Net, which does not know seals, see the state before.
//!
//! Law: after a cut at any write, with any part of the writes since the last sync on disk,
//! `recover` yields the last commit that was acknowledged or a later one.

use std::io;
use std::ops::Range;

use super::bolt::{self, Malformed, Meta, Values};
use super::seal::{self, Broken, Digest, Sealed};

/// Where commits go.
pub(super) trait Disk {
    /// Writes all of `bytes` at `offset`, making the file longer when needed.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written is durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A data file that is written to.
#[derive(Debug)]
pub(super) struct Journal<D> {
    disk: D,
    position: Position,
    /// The meta pages are on disk as they were last written.
    settled: bool,
    /// The last attempt was acknowledged.
    sound: bool,
}

/// Where the next commit goes, and what it must leave alone.
#[derive(Debug, Clone)]
pub(super) struct Position {
    page_size: u32,
    next_txid: u64,
    parent: Digest,
    /// Pages of the commit before the last, then of the last, then of failed ones since.
    held: Vec<Vec<Range<u64>>>,
}

impl Position {
    /// The start of a file that does not exist. Its first meta page is page 0, which is the one
    /// that BoltDB learns the page size from.
    pub(super) fn fresh() -> Self {
        Self {
            page_size: PAGE_SIZE,
            next_txid: 2,
            parent: [0; 32],
            held: vec![Vec::new(), Vec::new()],
        }
    }

    /// The first of `length` consecutive pages that nothing uses.
    fn gap(&self, length: u64) -> u64 {
        let mut held: Vec<&Range<u64>> = self.held.iter().flatten().collect();
        held.sort_by_key(|range| range.start);
        let mut start = 2;
        for range in held {
            if start + length <= range.start {
                break;
            }
            start = start.max(range.end);
        }
        start
    }
}

impl<D: Disk> Journal<D> {
    /// Continues at `position`.
    pub(super) fn new(disk: D, position: Position) -> Self {
        Self {
            disk,
            position,
            settled: false,
            sound: false,
        }
    }

    /// Replaces the content; durable when this returns. One sync, or two for the first commit and
    /// after an error.
    ///
    /// # Errors
    /// Some write failed; the file holds the old or the new content.
    pub(super) fn commit(&mut self, mut values: Values, body: &[u8]) -> io::Result<()> {
        let txid = self.position.next_txid;
        let page_size = u64::from(self.position.page_size);
        let seal = seal::seal(&mut values, txid, &self.position.parent, body);
        let place = |length| self.position.gap(length);
        let commit = bolt::commit(self.position.page_size, txid, BUCKET, &values, place)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let careful = !self.sound;
        self.sound = false;
        self.position.next_txid += 1;
        self.position.held.push(vec![commit.pages.clone()]);

        self.disk
            .write_at(commit.pages.start * page_size, &commit.bytes)?;
        self.disk.sync()?;
        self.settled = false;
        self.disk
            .write_at(Meta::slot(txid) * page_size, &commit.meta.emit())?;
        if careful {
            self.settle()?;
        }
        let before = self.position.held.swap_remove(1);
        self.position.held = vec![before, vec![commit.pages]];
        self.position.parent = seal;
        self.sound = true;
        Ok(())
    }

    /// Syncs the meta page of the last commit, unless that has been done.
    ///
    /// # Errors
    /// The disk failed. The last commit is durable all the same.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.settled {
            return Ok(());
        }
        // After a failure the next commit syncs twice; repeating the sync proves nothing.
        self.settled = true;
        self.disk.sync().inspect_err(|_| self.sound = false)
    }

    /// Whether [`Journal::settle`] has nothing to do.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// The disk.
    pub(super) fn disk(&self) -> &D {
        &self.disk
    }
}

/// What a data file holds.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Our state as it was sealed last; `None` when Weave Net has written since, or only Weave Net
    /// ever has.
    pub(super) body: Option<Vec<u8>>,
    /// All other values.
    pub(super) values: Values,
    /// Where the next commit goes.
    pub(super) position: Position,
}

/// Why a data file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is damaged, or something else.
    Damaged(String),
    /// A later program wrote it.
    Version(u8),
}

/// Reads the content of a data file, whichever program wrote it.
///
/// # Errors
/// The file is damaged. Nothing of it is to be believed then.
pub(super) fn recover(image: &[u8]) -> Result<Recovered, Fault> {
    let damaged = |error: Malformed| Fault::Damaged(error.to_string());
    let metas = bolt::metas(image).map_err(damaged)?;
    let newest = metas[0];
    let size = usize::try_from(newest.page_size).unwrap_or(usize::MAX);
    let found = bolt::bucket(image, size, newest.root, BUCKET).map_err(damaged)?;
    let mut values = found.values;
    let sealed = match seal::open(&values) {
        Ok(sealed) => sealed,
        Err(Broken::Version(version)) => return Err(Fault::Version(version)),
        Err(Broken::Damaged) => return Err(Fault::Damaged("its seal is broken".to_owned())),
    };
    let mut position = Position {
        page_size: newest.page_size,
        next_txid: newest.txid + 1,
        parent: [0; 32],
        held: vec![pages_of(image, size, &metas), Vec::new()],
    };
    let body = match sealed {
        None if found.is_marked => return Err(Fault::Damaged("its seal is missing".to_owned())),
        None => None,
        Some(sealed) if sealed.fits && sealed.txid <= newest.txid => {
            let mut last = sealed;
            for successor in successors(image, size, &last) {
                position.next_txid = position.next_txid.max(successor.sealed.txid + 1);
                if successor.sealed.parent == last.seal {
                    last = successor.sealed;
                    values = successor.values;
                    position.held[1] = vec![successor.pages];
                }
            }
            position.parent = last.seal;
            Some(last.body)
        }
        // Weave Net has written since: its values stand, ours is of the past.
        Some(sealed) if sealed.txid < newest.txid => None,
        Some(_) => return Err(Fault::Damaged("its values are not those sealed".to_owned())),
    };
    values.remove(seal::KEY);
    Ok(Recovered {
        body,
        values,
        position,
    })
}

/// A sealed state that was committed after the one a meta page leads to.
struct Successor {
    sealed: Sealed,
    values: Values,
    pages: Range<u64>,
}

/// All states in the file sealed after `last`, in their order; of two after the same one the
/// later stands last.
fn successors(image: &[u8], page_size: usize, last: &Sealed) -> Vec<Successor> {
    let count = u64::try_from(image.len() / page_size).unwrap_or(0);
    let mut found = Vec::new();
    for page in 2..count {
        let Some(leaf) = bolt::leaf_at(image, page_size, page) else {
            continue;
        };
        if let Ok(Some(sealed)) = seal::open(&leaf.values)
            && sealed.fits
            && sealed.txid > last.txid
        {
            // The root page of a commit is the one before its values.
            let end = leaf.pages.first().map_or(page, |range| range.end);
            found.push(Successor {
                sealed,
                values: leaf.values,
                pages: page - 1..end,
            });
        }
    }
    // A state may have two successors: an attempt that failed, and the one that replaced it.
    found.sort_by_key(|successor| successor.sealed.txid);
    let parents: Vec<Digest> = found.iter().map(|found| found.sealed.parent).collect();
    let mut index = 0;
    found.retain(|_| {
        index += 1;
        !parents[index..].contains(&parents[index - 1])
    });
    found
}

/// The pages that the trees and freelists of `metas` use, as far as they can be read.
fn pages_of(image: &[u8], page_size: usize, metas: &[Meta]) -> Vec<Range<u64>> {
    let mut pages = Vec::new();
    for meta in metas {
        if let Ok(bucket) = bolt::bucket(image, page_size, meta.root, BUCKET) {
            pages.extend(bucket.pages);
        }
        pages.push(meta.freelist..meta.freelist.saturating_add(1));
    }
    pages
}

/// The bucket of all values.
const BUCKET: &[u8] = b"top";
/// The page size of files we create: that of amd64 and most arm64 systems.
const PAGE_SIZE: u32 = 4096;

#[cfg(test)]
mod tests;
