//! What changed, so that what is derived from a topology can follow without looking at all of it.
//!
//! Two logs, both bounded. The [`Journal`] names the peers whose record came, went or changed, in
//! order; a reader remembers a revision and asks what came after it. A [`History`] names the
//! connections of one record that changed, by version; with it a record is told as a delta
//! (`ALGORITHM.md`, law D1).

use std::collections::{BTreeSet, VecDeque};

use crate::peer::PeerName;

/// The peers whose record changed lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    /// Changes that are no longer remembered.
    forgotten: u64,
    names: VecDeque<PeerName>,
}

impl Journal {
    pub(super) fn push(&mut self, name: PeerName) {
        self.names.push_back(name);
        if self.names.len() > MAX_JOURNAL {
            self.names.pop_front();
            self.forgotten += 1;
        }
    }

    /// The number of changes so far.
    pub(super) fn revision(&self) -> u64 {
        self.forgotten + self.names.len() as u64
    }

    /// The peers that changed after `revision`; `None` if that is too long ago to tell.
    pub(super) fn since(&self, revision: u64) -> Option<BTreeSet<PeerName>> {
        let skip = usize::try_from(revision.checked_sub(self.forgotten)?).ok()?;
        Some(self.names.iter().skip(skip).copied().collect())
    }
}

/// The connections of one record that changed, by the version that changed them.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Nothing is known of changes up to this version.
    floor: u64,
    changes: VecDeque<(u64, PeerName)>,
}

impl History {
    /// The history of a record that is known from this version on.
    pub(super) fn new(version: u64) -> Self {
        Self {
            floor: version,
            changes: VecDeque::new(),
        }
    }

    /// Notes that `version` added, changed or removed the connections to `remotes`. Versions do not
    /// go down. Of each connection the last change counts, and at most `limit` are kept: with more
    /// of them a delta is no shorter than the record.
    pub(super) fn note(&mut self, version: u64, mut remotes: Vec<PeerName>, limit: usize) {
        remotes.sort_unstable();
        remotes.dedup();
        self.changes
            .retain(|(_, remote)| remotes.binary_search(remote).is_err());
        let changes = remotes.into_iter().map(|remote| (version, remote));
        self.changes.extend(changes);
        while self.changes.len() > limit {
            if let Some((version, _)) = self.changes.pop_front() {
                self.floor = self.floor.max(version);
            }
        }
    }

    /// The connections that changed after `version`; `None` if that is too long ago to tell.
    pub(super) fn since(&self, version: u64) -> Option<BTreeSet<PeerName>> {
        if version < self.floor {
            return None;
        }
        let start = self.changes.partition_point(|(at, _)| *at <= version);
        let late = self.changes.range(start..);
        Some(late.map(|(_, remote)| *remote).collect())
    }

    /// A version low enough that somebody who follows this record has it, and high enough that
    /// only the latest `count` changes come after it.
    pub(super) fn recent(&self, count: usize) -> u64 {
        let older = self.changes.len().saturating_sub(count);
        let before = older.checked_sub(1).and_then(|last| self.changes.get(last));
        before.map_or(self.floor, |(version, _)| *version)
    }
}

/// Changes that a reader may lag behind before it has to start over.
const MAX_JOURNAL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> PeerName {
        PeerName::try_from(n).unwrap()
    }

    #[test]
    fn a_reader_gets_what_came_after_its_revision() {
        let mut journal = Journal::default();
        journal.push(name(1));
        let revision = journal.revision();
        journal.push(name(2));
        journal.push(name(2));

        assert_eq!(journal.since(revision), Some([name(2)].into()));
        assert_eq!(journal.since(journal.revision()), Some(BTreeSet::new()));
        assert_eq!(journal.since(0), Some([name(1), name(2)].into()));
    }

    #[test]
    fn a_reader_that_lags_too_far_is_told_to_start_over() {
        let mut journal = Journal::default();
        for _ in 0..=MAX_JOURNAL {
            journal.push(name(1));
        }

        assert_eq!(journal.since(0), None);
        assert_eq!(journal.since(1), Some([name(1)].into()));
        assert_eq!(journal.revision(), 1 + MAX_JOURNAL as u64);
    }

    #[test]
    fn a_history_is_complete_from_its_floor_on() {
        let mut history = History::new(3);
        for (version, remote) in [(4, 1), (5, 2), (5, 3), (7, 1)] {
            history.note(version, vec![name(remote)], 3);
        }

        let late = [name(1), name(2), name(3)];
        assert_eq!(history.since(3), Some(late.into()), "each name counts once");
        history.note(8, vec![name(4), name(5)], 3);
        assert_eq!(history.since(4), None, "the first changes are forgotten");
        assert_eq!(history.since(5), Some([name(1), name(4), name(5)].into()));
        assert_eq!(history.since(9), Some(BTreeSet::new()));
    }

    #[test]
    fn a_recent_version_leaves_few_changes() {
        let mut history = History::new(3);
        for version in 4..9 {
            history.note(version, vec![name(version)], 99);
        }

        assert_eq!(history.recent(0), 8);
        assert_eq!(history.recent(2), 6);
        assert_eq!(history.recent(5), 3);
        assert_eq!(history.recent(9), 3);
    }
}
