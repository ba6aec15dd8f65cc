//! Merging so that a contradiction costs one entry.
//!
//! The rules are those of [`Ring::merge`] with four differences. An entry that contradicts ours is
//! left out and reported, the rest is merged. A range is given up only if none of its addresses is
//! in use, whatever the order of entries (so what is lost is always idle). Between two owners of
//! one version there is a total order: more free addresses, then the lower name; but a tie never
//! gives a range to ourselves, unless its owner by our ring says itself that it is ours. Hints are
//! clipped, for every owner; of two for one version the greater holds, until the owner, which knows
//! better, hears of it and raises the version.
//!
//! Two rings that meet are equal or nearly so. Hence the walk collects what is to change instead of
//! building a new list: a ring that brings no new token is merged in place, and one that brings
//! nothing costs a comparison.

use std::cmp::Ordering;

use super::merge::{Conflict, ConflictKind, MergeError};
use super::{Entry, MAX_ENTRIES, Ring, hint};
use crate::peer::PeerId;
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
        let (mine, news) = (&self.entries, &theirs.entries);
        let (mut i, mut j) = (0, 0);
        while j < news.len() {
            let mut both = mine[i..].iter().zip(&news[j..]);
            let skipped = both.position(|(mine, news)| !mine.is_kept_against(news));
            let common = (mine.len() - i).min(news.len() - j);
            let skipped = skipped.unwrap_or(common);
            (i, j) = (i + skipped, j + skipped);
            let Some(new) = news.get(j) else {
                break;
            };
            match mine.get(i).map(|mine| mine.token.cmp(&new.token)) {
                Some(Ordering::Less) => i += 1,
                Some(Ordering::Equal) => {
                    let entry = self.settle(i, new, theirs.peer, in_use, merged);
                    changes.extend(entry.map(|entry| Change::replace(i, entry)));
                    (i, j) = (i + 1, j + 1);
                }
                Some(Ordering::Greater) | None => {
                    let entry = self.admit_token(i, new, in_use, merged);
                    changes.extend(entry.map(|entry| Change::insert(i, entry)));
                    j += 1;
                }
            }
        }
        changes
    }

    /// Makes the changes, and clips the hints that they concern.
    fn apply(&mut self, changes: &[Change]) -> Result<(), MergeError> {
        let Some(any) = changes.first() else {
            return Ok(());
        };
        let inserted = changes.iter().filter(|change| change.is_new).count();
        let mut end = self.entries.len();
        let mut to = end + inserted;
        if to > MAX_ENTRIES {
            return Err(MergeError::TooLarge(to));
        }
        self.entries.reserve_exact(inserted);
        self.entries.resize(to, any.entry);
        // From the back, so that each entry moves once at most.
        for Change {
            index,
            is_new,
            entry,
        } in changes.iter().rev()
        {
            let from = index + usize::from(!is_new);
            if to > end {
                self.entries.copy_within(from..end, to - (end - from));
            }
            to -= end - from + 1;
            end = *index;
            self.entries[to] = *entry;
        }
        let mut shift = 0;
        for change in changes {
            let index = change.index + shift;
            self.clip_at(index);
            self.clip_at(index.checked_sub(1).unwrap_or(self.entries.len() - 1));
            shift += usize::from(change.is_new);
        }
        Ok(())
    }

    /// A token we do not have, about to divide the range before our entry `index`.
    fn admit_token(
        &self,
        index: usize,
        news: &Entry,
        in_use: impl Fn(Span) -> bool,
        merged: &mut Merged,
    ) -> Option<Entry> {
        let (head, tail) = match self.entries.get(index) {
            Some(next) => (None, Span::between(news.token, next.token)),
            None => {
                let first = self.entries.first();
                let head = first.map(|first| Span::between(self.span.start(), first.token));
                (head, Span::between(news.token, self.span.end()))
            }
        };
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
        sender: PeerId,
        in_use: impl Fn(Span) -> bool,
        merged: &mut Merged,
    ) -> Option<Entry> {
        let mine = self.entries[index];
        let is_tie = mine.version == news.version;
        if is_tie && mine.peer == news.peer {
            let entry = self.settle_hint(index, news);
            merged.updated |= entry.is_some();
            return entry;
        }
        if mine.peer == self.peer && news.peer == self.peer {
            merged.outdated.push(mine.token);
            merged.updated = true;
            return Some(Entry {
                version: news.version.saturating_add(1),
                ..mine
            });
        }
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
        // Each says that the other owns it: then the order decides, or it would be nobody's.
        let is_declined = mine.peer == sender;
        if is_tie && (mine.outranks(news) || news.peer == self.peer && !is_declined) {
            return None;
        }
        merged.updated = true;
        Some(*news)
    }

    /// One version, two hints: the greater holds until the owner hears of it and edits. What is
    /// more than fits into the range is no news, or who does not know of a token that divides it
    /// would be news each time.
    fn settle_hint(&self, index: usize, news: &Entry) -> Option<Entry> {
        let mine = self.entries[index];
        if mine.peer != self.peer {
            let free = news.free.min(hint(self.size_at(index)));
            return (free > mine.free).then_some(Entry { free, ..*news });
        }
        let version = mine.version.checked_add(1)?;
        Some(Entry { version, ..mine })
    }

    /// Our addresses that the sender counts as its own.
    fn overlap(&self, theirs: &Self) -> Vec<Span> {
        if theirs.peer == self.peer {
            return Vec::new();
        }
        let rival = |index: usize| theirs.entries[index].peer == theirs.peer;
        let mut common = Vec::new();
        for range in self.ranges_of(self.peer) {
            let mut start = range.start();
            let mut next = theirs.entries.partition_point(|entry| entry.token <= start);
            let Some(last) = theirs.entries.len().checked_sub(1) else {
                break;
            };
            while start < range.end() {
                let mut end = range.end();
                if let Some(entry) = theirs.entries.get(next) {
                    end = end.min(entry.token);
                }
                if rival(next.checked_sub(1).unwrap_or(last)) {
                    common.push(Span::between(start, end));
                }
                (start, next) = (end, next + 1);
            }
        }
        coalesce(common)
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
    /// Whether another entry has the same token and brings nothing, whoever they belong to.
    fn is_kept_against(&self, news: &Self) -> bool {
        self.token == news.token && self.version > news.version || self == news
    }

    /// The order between two owners of one version.
    fn outranks(&self, other: &Self) -> bool {
        (self.free, std::cmp::Reverse(self.peer)) > (other.free, std::cmp::Reverse(other.peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{AddressRange, Family};

    fn ring(holder: u64, owner: u64, free: u32) -> Ring {
        let span = Span::between(0, 16);
        let universe = AddressRange {
            family: Family::V4,
            span,
        };
        let entry = Entry {
            token: 0,
            peer: PeerId(owner),
            version: 3,
            free,
        };
        Ring::from_parts(universe, PeerId(holder), vec![entry], Vec::new())
    }

    #[test]
    fn a_range_that_each_says_is_the_others_gets_one_owner() {
        for (ours, theirs) in [(9, 9), (9, 4), (4, 9)] {
            let (mut a, mut b) = (ring(1, 2, ours), ring(2, 1, theirs));
            let (before_a, before_b) = (a.clone(), b.clone());

            let _ = a.merge_confined(&before_b, |_| false).unwrap();
            let _ = b.merge_confined(&before_a, |_| false).unwrap();

            assert_eq!(a.owner(0), b.owner(0), "with {ours} and {theirs} free");
        }
    }

    #[test]
    fn two_hints_of_one_version_become_the_owners() {
        // After a fault of identity the owner says 4 where others remember 9.
        let (mut owner, mut low, mut high) = (ring(1, 1, 4), ring(2, 1, 4), ring(3, 1, 9));

        let _ = low.merge_confined(&high, |_| false).unwrap();
        assert_eq!(low.entries, high.entries, "those who do not know agree");
        let again = high.merge_confined(&ring(2, 1, 4), |_| false).unwrap();
        assert_eq!(again, Merged::default());
        let heard = owner.merge_confined(&low, |_| true).unwrap();
        assert!(heard.updated && heard.outdated.is_empty() && heard.conflicts.is_empty());
        let _ = low.merge_confined(&owner, |_| false).unwrap();
        let _ = high.merge_confined(&owner, |_| false).unwrap();

        assert_eq!((owner.entries[0].version, owner.entries[0].free), (4, 4));
        assert_eq!(
            (&low.entries, &high.entries),
            (&owner.entries, &owner.entries)
        );
    }

    #[test]
    fn a_hint_that_is_more_than_its_range_is_news_once() {
        let theirs = ring(3, 3, 16);
        let mut ours = ring(1, 2, 4);
        ours.entries[0].token = 8;

        let first = ours.merge_confined(&theirs, |_| false).unwrap();
        let entries = ours.entries.clone();
        let again = ours.merge_confined(&theirs, |_| false).unwrap();

        assert!(first.updated);
        assert_eq!((ours.entries[0].free, entries.len()), (8, 2));
        assert_eq!((again, &ours.entries), (Merged::default(), &entries));
    }

    #[test]
    fn a_hint_of_the_last_version_stays_as_it_is() {
        let mut owner = ring(1, 1, 4);
        let mut theirs = ring(2, 1, 9);
        owner.entries[0].version = u32::MAX;
        theirs.entries[0].version = u32::MAX;

        let merged = owner.merge_confined(&theirs, |_| true).unwrap();

        assert_eq!((merged, owner.entries[0].free), (Merged::default(), 4));
    }

    #[test]
    fn a_third_party_gives_nobody_a_range_by_a_tie() {
        let mut a = ring(1, 2, 4);

        let _ = a.merge_confined(&ring(3, 1, 9), |_| false).unwrap();

        assert_eq!(a.owner(0), Some(PeerId(2)));
    }
}
