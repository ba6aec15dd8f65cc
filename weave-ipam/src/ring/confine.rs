//! Merging so that a contradiction costs one entry.
//!
//! The rules are those of [`Ring::merge`] with four differences. An entry that contradicts ours is
//! left out and reported, the rest is merged. A range is given up only if none of its addresses is
//! in use, whatever the order of entries (so what is lost is always idle). Between two owners of
//! one version there is a total order: more free addresses, then the lower name; but a tie never
//! gives a range to ourselves. Hints are clipped, for every owner.
//!
//! Two rings that meet are equal or nearly so. Hence the walk collects what is to change instead of
//! building a new list: a ring that brings no new token is merged in place, and one that brings
//! nothing costs a comparison.

use super::merge::{Conflict, ConflictKind, MergeError};
use super::{Entry, MAX_ENTRIES, Ring};
use crate::span::{Span, coalesce};

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Merged {
    /// Whether our ring changed.
    pub updated: bool,
    /// Tokens of ours for which the sender knew a newer version of our own: this peer was rolled
    /// back to an older state, or runs twice.
    pub outdated: Vec<u128>,
    /// The entries that were left out.
    pub conflicts: Vec<Conflict>,
    /// Our addresses which the sender, by its own ring, also owns. Nothing should be handed out
    /// there until it says otherwise.
    pub contested: Vec<Span>,
}

impl Ring {
    /// Takes what is newer in `theirs` and does not contradict what we use. `in_use` tells whether
    /// any address in a span is in use here.
    ///
    /// # Errors
    ///
    /// [`MergeError`] if `theirs` is unsound, seeded differently, over another universe, or too
    /// large; the ring is unchanged then. Never [`MergeError::Conflict`].
    pub fn merge_confined(
        &mut self,
        theirs: &Self,
        in_use: impl Fn(Span) -> bool,
    ) -> Result<Merged, MergeError> {
        self.admit(theirs)?;
        let mut merged = Merged::default();
        if self.is_empty() && !in_use(self.span) {
            if theirs.entries.len() > MAX_ENTRIES {
                return Err(MergeError::TooLarge(theirs.entries.len()));
            }
            merged.updated = !theirs.is_empty();
            self.entries = theirs.entries.clone();
        } else {
            let changes = self.changes(theirs, &in_use, &mut merged);
            self.apply(&changes)?;
        }
        if self.seeds.is_empty() && !theirs.seeds.is_empty() {
            self.seeds.clone_from(&theirs.seeds);
            merged.updated = true;
        }
        merged.contested = self.overlap(theirs);
        Ok(merged)
    }

    /// What the entries of `theirs` change, in ascending order of tokens.
    fn changes(
        &self,
        theirs: &Self,
        in_use: &impl Fn(Span) -> bool,
        merged: &mut Merged,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut rest = theirs.entries.iter().peekable();
        for (index, mine) in self.entries.iter().enumerate() {
            while let Some(news) = rest.next_if(|news| news.token < mine.token) {
                let parts = (None, Span::between(news.token, mine.token));
                let entry = self.admit_token(index, news, parts, in_use, merged);
                changes.extend(entry.map(|entry| Change::insert(index, entry)));
            }
            let met = rest.next_if(|news| news.token == mine.token);
            if let Some(news) = met.filter(|news| !mine.is_kept_against(news)) {
                let entry = self.settle(index, news, in_use, merged);
                changes.extend(entry.map(|entry| Change::replace(index, entry)));
            }
        }
        let index = self.entries.len();
        for news in rest {
            let first = self.entries.first();
            let head = first.map(|first| Span::between(self.span.start(), first.token));
            let parts = (head, Span::between(news.token, self.span.end()));
            let entry = self.admit_token(index, news, parts, in_use, merged);
            changes.extend(entry.map(|entry| Change::insert(index, entry)));
        }
        changes
    }

    /// Makes the changes, and clips the hints that they concern.
    fn apply(&mut self, changes: &[Change]) -> Result<(), MergeError> {
        let inserted = changes.iter().filter(|change| change.is_new).count();
        if inserted == 0 {
            for Change { index, entry, .. } in changes {
                self.entries[*index] = *entry;
                self.clip_at(*index);
            }
            return Ok(());
        }
        let len = self.entries.len() + inserted;
        if len > MAX_ENTRIES {
            return Err(MergeError::TooLarge(len));
        }
        let mut entries = Vec::with_capacity(len);
        let mut next = 0;
        for change in changes {
            entries.extend_from_slice(&self.entries[next..change.index]);
            entries.push(change.entry);
            next = change.index + usize::from(!change.is_new);
        }
        entries.extend_from_slice(&self.entries[next..]);
        self.entries = entries;
        self.clip();
        Ok(())
    }

    /// A token we do not have, about to divide the range before our entry `index`.
    fn admit_token(
        &self,
        index: usize,
        news: &Entry,
        (head, tail): (Option<Span>, Span),
        in_use: impl Fn(Span) -> bool,
        merged: &mut Merged,
    ) -> Option<Entry> {
        if news.peer != self.peer && (in_use(tail) || head.is_some_and(&in_use)) {
            let before = index
                .checked_sub(1)
                .or_else(|| self.entries.len().checked_sub(1));
            let version = before.map_or(0, |index| self.entries[index].version);
            let kind = ConflictKind::Inserted;
            merged
                .conflicts
                .push(Conflict::new(self, kind, news, version, tail));
            return None;
        }
        merged.updated = true;
        Some(*news)
    }

    /// One token, two entries, and ours is not kept for its version alone: what takes its place,
    /// if anything.
    fn settle(
        &self,
        index: usize,
        news: &Entry,
        in_use: impl Fn(Span) -> bool,
        merged: &mut Merged,
    ) -> Option<Entry> {
        let mine = self.entries[index];
        if mine.peer == self.peer && news.peer == self.peer {
            merged.outdated.push(mine.token);
            merged.updated = true;
            return Some(Entry {
                version: news.version.saturating_add(1),
                ..mine
            });
        }
        let is_tie = mine.version == news.version;
        let (head, tail) = self.spans_at(index);
        if mine.peer == self.peer && (in_use(tail) || head.is_some_and(&in_use)) {
            let kind = if is_tie {
                ConflictKind::SameVersion
            } else {
                ConflictKind::Newer
            };
            let conflict = Conflict::new(self, kind, news, mine.version, tail);
            merged.conflicts.push(conflict);
            return None;
        }
        if is_tie && (mine.outranks(news) || news.peer == self.peer) {
            return None;
        }
        merged.updated = true;
        Some(*news)
    }

    /// Our addresses that the sender counts as its own.
    fn overlap(&self, theirs: &Self) -> Vec<Span> {
        if theirs.peer == self.peer {
            return Vec::new();
        }
        let (ours, rival) = (
            coalesce(self.ranges_of(self.peer)),
            coalesce(theirs.ranges_of(theirs.peer)),
        );
        let (mut i, mut j, mut common) = (0, 0, Vec::new());
        while let (Some(a), Some(b)) = (ours.get(i), rival.get(j)) {
            common.extend(a.intersection(*b));
            if a.end() <= b.end() { i += 1 } else { j += 1 }
        }
        common
    }
}

/// An entry to be put in front of the one at `index`, or in its place.
struct Change {
    index: usize,
    is_new: bool,
    entry: Entry,
}

impl Change {
    const fn insert(index: usize, entry: Entry) -> Self {
        Self {
            index,
            is_new: true,
            entry,
        }
    }

    const fn replace(index: usize, entry: Entry) -> Self {
        Self {
            index,
            is_new: false,
            entry,
        }
    }
}

impl Entry {
    /// Whether another entry of the same token brings nothing, whoever they belong to.
    fn is_kept_against(&self, news: &Self) -> bool {
        self.version > news.version || (self.version == news.version && self.peer == news.peer)
    }

    /// The order between two owners of one version.
    fn outranks(&self, other: &Self) -> bool {
        (self.free, std::cmp::Reverse(self.peer)) > (other.free, std::cmp::Reverse(other.peer))
    }
}
