//! Merging so that a contradiction costs one entry.
//!
//! The rules are those of [`Ring::merge`] with four differences. An entry that contradicts ours is
//! left out and reported, the rest is merged. A range is given up only if none of its addresses is
//! in use, whatever the order of entries (so what is lost is always idle). Between two owners of
//! one version there is a total order: more free addresses, then the lower name; but a tie never
//! gives a range to ourselves. Hints are clipped, for every owner.

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
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut news = theirs.entries.iter().peekable();
        for (index, mine) in self.entries.iter().enumerate() {
            while let Some(news) = news.next_if(|news| news.token < mine.token) {
                let parts = (None, Span::between(news.token, mine.token));
                entries.extend(self.admit_token(index, news, parts, &in_use, &mut merged));
            }
            let met = news.next_if(|news| news.token == mine.token);
            entries.push(met.map_or(*mine, |news| self.settle(index, news, &in_use, &mut merged)));
        }
        for news in news {
            let head = self
                .entries
                .first()
                .map(|e| Span::between(self.span.start(), e.token));
            let parts = (head, Span::between(news.token, self.span.end()));
            let index = self.entries.len();
            entries.extend(self.admit_token(index, news, parts, &in_use, &mut merged));
        }
        if entries.len() > MAX_ENTRIES {
            return Err(MergeError::TooLarge(entries.len()));
        }
        self.entries = entries;
        if self.seeds.is_empty() && !theirs.seeds.is_empty() {
            self.seeds.clone_from(&theirs.seeds);
            merged.updated = true;
        }
        self.clip();
        merged.contested = self.overlap(theirs);
        Ok(merged)
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

    /// One token, two entries: which stays.
    fn settle(
        &self,
        index: usize,
        news: &Entry,
        in_use: impl Fn(Span) -> bool,
        merged: &mut Merged,
    ) -> Entry {
        let mine = self.entries[index];
        if mine.version > news.version || (mine.version, mine.peer) == (news.version, news.peer) {
            return mine;
        }
        if mine.peer == self.peer && news.peer == self.peer {
            merged.outdated.push(mine.token);
            merged.updated = true;
            return Entry {
                version: news.version.saturating_add(1),
                ..mine
            };
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
            return mine;
        }
        if is_tie && (mine.outranks(news) || news.peer == self.peer) {
            return mine;
        }
        merged.updated = true;
        *news
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

impl Entry {
    /// The order between two owners of one version.
    fn outranks(&self, other: &Self) -> bool {
        (self.free, std::cmp::Reverse(self.peer)) > (other.free, std::cmp::Reverse(other.peer))
    }
}
