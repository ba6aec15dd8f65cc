//! What waits for a neighbour that takes digests and deltas: names, not messages.
//!
//! Everything is encoded from the state of the moment at which it is written, so asking twice for
//! the same merges, and the queue is bounded by the number of peers and channels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::peer::PeerName;
use crate::topology::Base;

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SyncItem {
    /// The digest of the graph.
    Digest,
    /// The heads of all records.
    AllHeads,
    /// The heads of these records.
    Heads(BTreeSet<PeerName>),
    /// A request for a record, given the version held.
    Want(PeerName, u64),
    /// A record.
    Record(PeerName, Base),
    /// The digest of a channel, and whether it is to be answered.
    Channel(Arc<str>, bool),
}

/// Everything to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SyncQueue {
    pub(crate) is_digest_due: bool,
    pub(crate) are_heads_due: bool,
    /// Empty if all heads are due.
    pub(crate) heads: BTreeSet<PeerName>,
    pub(crate) wants: BTreeMap<PeerName, u64>,
    pub(crate) records: BTreeMap<PeerName, Base>,
    pub(crate) channels: BTreeMap<Arc<str>, bool>,
}

impl SyncQueue {
    /// Merges an item. Returns false if it was there already.
    pub(crate) fn put(&mut self, item: SyncItem) -> bool {
        match item {
            SyncItem::Digest => !std::mem::replace(&mut self.is_digest_due, true),
            SyncItem::AllHeads => {
                self.heads.clear();
                !std::mem::replace(&mut self.are_heads_due, true)
            }
            SyncItem::Heads(names) => {
                if self.are_heads_due {
                    return false;
                }
                let before = self.heads.len();
                self.heads.extend(names);
                self.heads.len() > before
            }
            // The lower version leads to the longer answer, which fits in both cases.
            SyncItem::Want(name, version) => {
                let is_new = !self.wants.contains_key(&name);
                let held = self.wants.entry(name).or_insert(version);
                *held = version.min(*held);
                is_new
            }
            SyncItem::Record(name, base) => {
                let is_new = !self.records.contains_key(&name);
                let known = self.records.entry(name).or_insert(base);
                *known = base.min(*known);
                is_new
            }
            SyncItem::Channel(channel, is_answer_wanted) => {
                let is_new = !self.channels.contains_key(&channel);
                *self.channels.entry(channel).or_default() |= is_answer_wanted;
                is_new
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> PeerName {
        PeerName::try_from(n).unwrap()
    }

    #[test]
    fn what_is_asked_for_twice_is_sent_once_and_from_farther_back() {
        let mut queue = SyncQueue::default();

        assert!(queue.put(SyncItem::Record(name(1), Base::Recent)));
        assert!(!queue.put(SyncItem::Record(name(1), Base::Version(7))));
        assert!(!queue.put(SyncItem::Record(name(1), Base::Version(9))));
        assert_eq!(queue.records[&name(1)], Base::Version(7));
        assert!(!queue.put(SyncItem::Record(name(1), Base::Nothing)));
        assert_eq!(queue.records[&name(1)], Base::Nothing);

        assert!(queue.put(SyncItem::Want(name(1), 5)));
        assert!(!queue.put(SyncItem::Want(name(1), 3)));
        assert_eq!(queue.wants[&name(1)], 3);
    }

    #[test]
    fn all_heads_cover_some() {
        let mut queue = SyncQueue::default();

        assert!(queue.put(SyncItem::Heads([name(1)].into())));
        assert!(queue.put(SyncItem::AllHeads));
        assert!(!queue.put(SyncItem::Heads([name(2)].into())));

        assert!(queue.are_heads_due && queue.heads.is_empty());
    }

    #[test]
    fn a_channel_is_answered_if_one_asks_for_it() {
        let mut queue = SyncQueue::default();
        assert!(queue.is_empty());

        assert!(queue.put(SyncItem::Channel("a".into(), true)));
        assert!(!queue.put(SyncItem::Channel("a".into(), false)));

        assert!(queue.channels["a"]);
        assert!(!queue.is_empty());
    }
}
