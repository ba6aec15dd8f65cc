//! Edits by the owner: forming the ring, granting, reporting free space, handing over.
//!
//! Each edit keeps the invariants and raises the version of what it changes. A version never
//! falls; one that has reached its maximum cannot be granted away, because nobody would hear of it.

use super::{Entry, MAX_ENTRIES, Ring, hint};
use crate::peer::PeerId;
use crate::span::{Family, Span};

/// How much a hand-over raises versions, to win against ordinary edits made at the same time.
pub(crate) const HAND_OVER: u32 = 100;

impl Ring {
    /// Forms the ring: divides the universe among `seeds` by repeated halving. Nothing happens if
    /// the ring is not empty. The list is sorted and freed of repetitions first.
    ///
    /// The shares are powers of two and aligned, therefore not equal unless the number of seeds is
    /// a power of two.
    pub fn form(&mut self, seeds: &[PeerId]) {
        if !self.is_empty() || seeds.is_empty() {
            return;
        }
        let mut seeds = seeds.to_vec();
        seeds.sort_unstable();
        seeds.dedup();
        self.entries.reserve_exact(seeds.len());
        self.divide(self.span, &seeds);
        self.seeds = seeds;
    }

    /// Gives `range`, all of it ours, to another peer. Adds at most two entries.
    ///
    /// # Errors
    ///
    /// [`GrantError`]; the ring is unchanged then.
    pub fn grant(&mut self, range: Span, to: PeerId) -> Result<(), GrantError> {
        let first = self.grantable(range)?;
        // A ring is cloned and kept for long: it takes no more room than it needs.
        self.entries.reserve_exact(2);
        let (a, b) = (range.start(), range.end());
        let follower = self.entries[(first + 1) % self.entries.len()].token;
        let given = hint(self.distance(a, follower).min(range.size()));
        let mut next = first + 1;
        let head = &mut self.entries[first];
        head.version = head.version.saturating_add(1);
        if head.token == a {
            head.peer = to;
            head.free = given;
        } else {
            head.free = hint(a - head.token);
            self.entries.insert(
                next,
                Entry {
                    token: a,
                    peer: to,
                    version: 0,
                    free: given,
                },
            );
            next += 1;
        }
        while let Some(entry) = self.entries.get_mut(next).filter(|entry| entry.token < b) {
            entry.peer = to;
            entry.version = entry.version.saturating_add(1);
            entry.free = entry.free.min(hint(b - entry.token));
            next += 1;
        }
        self.resume_after(b, next);
        Ok(())
    }

    /// Stores how many addresses of each of our ranges are free and raises the version where the
    /// number changed. `free` is asked for each range, for both parts of one that goes round.
    /// Whether anything changed.
    pub fn report_free(&mut self, mut free: impl FnMut(Span) -> u128) -> bool {
        let mut changed = false;
        for index in 0..self.entries.len() {
            changed |= self.report_free_at(index, &mut free);
        }
        changed
    }

    /// The same for the one entry whose range holds `number`.
    pub fn report_free_near(&mut self, number: u128, mut free: impl FnMut(Span) -> u128) -> bool {
        let after = self.entries.partition_point(|entry| entry.token <= number);
        let index = after
            .checked_sub(1)
            .or_else(|| self.entries.len().checked_sub(1));
        index.is_some_and(|index| self.report_free_at(index, &mut free))
    }

    /// Hands everything `from` owns to `to`, with a jump in version. Returns the ranges.
    pub fn transfer(&mut self, from: PeerId, to: PeerId) -> Vec<Span> {
        let ranges = self.ranges_of(from);
        for entry in self.entries.iter_mut().filter(|entry| entry.peer == from) {
            entry.peer = to;
            entry.version = entry.version.saturating_add(HAND_OVER);
        }
        ranges
    }

    fn divide(&mut self, span: Span, peers: &[PeerId]) {
        let n = span.size();
        if n == 0 {
            return;
        }
        if n == 1 || peers.len() == 1 {
            let (token, peer) = (span.start(), peers[0]);
            self.entries.push(Entry {
                token,
                peer,
                version: 0,
                free: hint(n),
            });
            return;
        }
        let middle = span.start() + n / 2;
        let (lower, upper) = peers.split_at(peers.len() / 2);
        self.divide(Span::between(span.start(), middle), lower);
        self.divide(Span::between(middle + n % 2, span.end()), upper);
    }

    /// The index of the entry that holds the start of `range`, if we may give all of it.
    fn grantable(&self, range: Span) -> Result<usize, GrantError> {
        if range.is_empty() || !self.span.covers(range) {
            return Err(GrantError::OutOfRange);
        }
        let after = self
            .entries
            .partition_point(|entry| entry.token <= range.start());
        let first = after.checked_sub(1).ok_or(GrantError::NoEntry)?;
        if self.entries.len() + 2 > MAX_ENTRIES {
            return Err(GrantError::RingFull);
        }
        for entry in self.entries[first..]
            .iter()
            .take_while(|entry| entry.token < range.end())
        {
            let Entry {
                token,
                peer,
                version,
                ..
            } = *entry;
            if peer != self.peer {
                return Err(GrantError::NotOurs {
                    family: self.family,
                    token,
                    peer,
                });
            }
            if version == u32::MAX {
                return Err(GrantError::VersionExhausted {
                    family: self.family,
                    token,
                });
            }
        }
        Ok(first)
    }

    /// After a grant up to `b`: what follows stays ours, so there must be a token at `b`.
    fn resume_after(&mut self, b: u128, next: usize) {
        let wraps = b == self.span.end();
        let token = if wraps { self.span.start() } else { b };
        let at = if wraps { 0 } else { next };
        if self
            .entries
            .get(at)
            .is_some_and(|entry| entry.token == token)
        {
            return;
        }
        let follower = self.entries[at % self.entries.len()].token;
        let free = hint(self.distance(token, follower));
        self.entries.insert(
            at,
            Entry {
                token,
                peer: self.peer,
                version: 0,
                free,
            },
        );
    }

    fn report_free_at(&mut self, index: usize, free: &mut impl FnMut(Span) -> u128) -> bool {
        if self.entries[index].peer != self.peer {
            return false;
        }
        let (head, tail) = self.spans_at(index);
        let count = hint(head.map_or(0, &mut *free).saturating_add(free(tail)));
        let entry = &mut self.entries[index];
        if entry.free == count {
            return false;
        }
        entry.free = count;
        entry.version = entry.version.saturating_add(1);
        true
    }
}

/// Why a range cannot be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Empty, or not inside the universe.
    #[error("granted range is empty or outside the universe")]
    OutOfRange,
    /// The ring is empty, or the range lies before its first token.
    #[error("no ring entry begins at or before the granted range")]
    NoEntry,
    /// Part of the range belongs to another peer.
    #[error("cannot grant from {}, which peer {peer} owns", .family.address(*.token))]
    NotOurs {
        /// What the token is.
        family: Family,
        /// The entry.
        token: u128,
        /// Its owner.
        peer: PeerId,
    },
    /// The entry's version cannot rise any more.
    #[error("ring entry {} has used up its versions", .family.address(*.token))]
    VersionExhausted {
        /// What the token is.
        family: Family,
        /// The entry.
        token: u128,
    },
    /// The ring has [`MAX_ENTRIES`] entries.
    #[error("the ring has no room for more entries")]
    RingFull,
}
