//! Who owns which addresses, agreed on without a store.
//!
//! The ring divides the universe at *tokens*: an entry's peer owns everything from its token to the
//! next (the last entry's range continues at the start of the universe). Only the owner edits an
//! entry and raises its version with each edit, so merging is taking the newer version of each.
//! Invariant: [`Ring::check`] holds for every ring this crate makes; what a peer sent is checked
//! before it is merged. See `ALGORITHM.md`.

use std::collections::BTreeSet;

use crate::peer::PeerId;
use crate::span::{AddressRange, Family, Span};

mod check;
mod confine;
mod donors;
mod edit;
mod heal;
mod merge;

pub use self::check::Violation;
pub use self::confine::Merged;
pub use self::edit::GrantError;
pub(crate) use self::edit::HAND_OVER;
pub use self::merge::{Conflict, ConflictKind, MergeError};

/// Entries a ring may have. A ring of this size is about 3 MB on the wire, where a message may
/// have 10 MiB; a merge or a grant that would exceed it is refused.
pub const MAX_ENTRIES: usize = 1 << 17;

/// One token: the peer owns the addresses from it to the next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First address of the range.
    pub token: u128,
    /// The owner.
    pub peer: PeerId,
    /// Raised by the owner with each edit.
    pub version: u32,
    /// How many addresses of the range the owner last reported free; a hint for choosing whom to
    /// ask. Saturates at `u32::MAX`.
    pub free: u32,
}

/// One peer's copy of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    family: Family,
    span: Span,
    peer: PeerId,
    entries: Vec<Entry>,
    seeds: Vec<PeerId>,
}

impl Ring {
    /// An empty ring over a universe, held by `peer`.
    #[must_use]
    pub const fn new(universe: AddressRange, peer: PeerId) -> Self {
        let AddressRange { family, span } = universe;
        Self {
            family,
            span,
            peer,
            entries: Vec::new(),
            seeds: Vec::new(),
        }
    }

    /// A ring as a peer sent it or a file held it, unchecked: see [`Ring::check`].
    #[must_use]
    pub const fn from_parts(
        universe: AddressRange,
        peer: PeerId,
        entries: Vec<Entry>,
        seeds: Vec<PeerId>,
    ) -> Self {
        let AddressRange { family, span } = universe;
        Self {
            family,
            span,
            peer,
            entries,
            seeds,
        }
    }

    /// The universe.
    #[must_use]
    pub const fn universe(&self) -> AddressRange {
        AddressRange {
            family: self.family,
            span: self.span,
        }
    }

    /// Who holds this copy.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// All entries, tokens ascending.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The peers among whom the universe was first divided; empty if not known.
    #[must_use]
    pub fn seeds(&self) -> &[PeerId] {
        &self.seeds
    }

    /// Whether the ring has not been formed yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the number lies in the universe.
    #[must_use]
    pub const fn contains(&self, number: u128) -> bool {
        self.span.contains(number)
    }

    /// Addresses from `a` up to `b`, going round the end of the universe; the whole universe if
    /// they are equal.
    #[must_use]
    pub const fn distance(&self, a: u128, b: u128) -> u128 {
        if b > a {
            b - a
        } else {
            self.span.end().saturating_sub(a) + b.saturating_sub(self.span.start())
        }
    }

    /// Who owns the address; `None` if the ring is empty.
    #[must_use]
    pub fn owner(&self, number: u128) -> Option<PeerId> {
        let after = self.entries.partition_point(|entry| entry.token <= number);
        let index = after
            .checked_sub(1)
            .or_else(|| self.entries.len().checked_sub(1))?;
        Some(self.entries[index].peer)
    }

    /// The ranges of a peer in ascending order, one per entry; a range that goes round the end of
    /// the universe gives two.
    #[must_use]
    pub fn ranges_of(&self, peer: PeerId) -> Vec<Span> {
        let mut ranges = Vec::new();
        let all = self.entries.iter().enumerate();
        for (index, _) in all.filter(|(_, entry)| entry.peer == peer) {
            let (head, tail) = self.spans_at(index);
            if let Some(head) = head {
                ranges.insert(0, head);
            }
            ranges.push(tail);
        }
        ranges
    }

    /// The peers that own something.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<PeerId> {
        self.entries.iter().map(|entry| entry.peer).collect()
    }

    /// Addresses of the range at `index`.
    #[must_use]
    pub fn size_at(&self, index: usize) -> u128 {
        let next = self.entries.get(index + 1).unwrap_or(&self.entries[0]);
        self.distance(self.entries[index].token, next.token)
    }

    /// The range at `index` as spans: the part at the start of the universe if it goes round, and
    /// the part that begins at the token.
    pub(crate) fn spans_at(&self, index: usize) -> (Option<Span>, Span) {
        let token = self.entries[index].token;
        match self.entries.get(index + 1) {
            Some(next) => (None, Span::between(token, next.token)),
            None => {
                let head = Span::between(self.span.start(), self.entries[0].token);
                let tail = Span::between(token, self.span.end());
                (Some(head).filter(|head| !head.is_empty()), tail)
            }
        }
    }
}

/// A count of addresses as the hint of an entry: saturates.
pub(crate) fn hint(count: u128) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
