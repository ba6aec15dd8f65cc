//! Taking in what others say about the graph.

use std::collections::BTreeSet;

use super::journal::History;
use super::{Effects, MAX_PEERS, Topology};
use crate::gob;
use crate::peer::{Head, Link, Links, PeerName, PeerRecord, ShortId};
use crate::wire::update;

/// What an update brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Merged {
    /// Every peer the update has a record of.
    pub names: BTreeSet<PeerName>,
    /// The peers whose record was taken over: what is worth passing on.
    pub news: BTreeSet<PeerName>,
    /// The peers whose record is older than the one known here: what the sender lacks.
    pub stale: BTreeSet<PeerName>,
    /// Our own record changed by itself (an older incarnation of us was superseded, or our short
    /// id was contested) and has to be announced.
    pub local_changed: bool,
    /// Short ids that stand for another peer than before.
    pub short_id_changes: BTreeSet<ShortId>,
    /// Peers that were not taken in: the topology is full, or the name is
    /// [`PeerName::UNKNOWN`].
    pub refused: usize,
}

impl Topology {
    /// Merges a decoded update (mesh protocol, "merging an update").
    ///
    /// A record replaces the one that is known if it [supersedes](PeerRecord::supersedes) it, or if
    /// none is known; then every peer it lists a connection to becomes known too. Our own record
    /// is never replaced. Of a peer that occurs twice the newest record counts. (Weave Net keeps
    /// the connections of the last one, whatever its version.)
    pub fn merge(&mut self, update: Vec<PeerRecord>) -> Merged {
        let mut merge = Merge::default();
        for record in update {
            self.merge_record(record, &mut merge);
        }
        self.finish(merge)
    }

    /// Decodes an update and merges it, looking closer only at records that are news.
    ///
    /// # Errors
    /// As [`update::decode`]; the topology is unchanged then.
    pub fn merge_update(&mut self, update: &[u8]) -> Result<Merged, gob::Error> {
        let records = update::decode_news(update, |record| self.is_news(record))?;
        Ok(self.merge(records))
    }

    pub(super) fn merge_record(&mut self, record: PeerRecord, merge: &mut Merge) {
        let name = record.name;
        merge.merged.names.insert(name);
        if name == self.us {
            if record.head() != self.local().head() {
                merge.merged.stale.insert(name);
            }
            self.supersede_incarnation(record.head(), &mut merge.effects);
        } else if self.is_news(&record) {
            if self.is_refused(name) {
                merge.merged.refused += 1;
                return;
            }
            let strangers = record
                .connections
                .keys()
                .filter(|n| self.get(**n).is_none());
            merge.mentioned.extend(strangers.copied());
            self.take_over(record, &mut merge.effects);
            merge.merged.news.insert(name);
            merge.merged.stale.remove(&name);
        } else if self.get(name).map(PeerRecord::head) != Some(record.head()) {
            merge.merged.stale.insert(name);
        }
    }

    /// What is done once for all records of an update: placeholders, our short id.
    pub(super) fn finish(&mut self, merge: Merge) -> Merged {
        let Merge {
            mut merged,
            mut effects,
            mentioned,
        } = merge;
        for name in mentioned {
            if self.is_refused(name) {
                merged.refused += 1;
            } else if self.get(name).is_none() {
                self.insert(PeerRecord::placeholder(name), &mut effects);
            }
        }
        self.leave_contested_short_id(&mut effects);
        merged.local_changed = effects.local_changed;
        merged.short_id_changes = effects.short_id_changes;
        merged
    }

    /// Whether a record of another peer would be taken over by [`Topology::merge`].
    #[must_use]
    pub fn is_news(&self, record: &PeerRecord) -> bool {
        record.name != self.us
            && self
                .get(record.name)
                .is_none_or(|old| record.supersedes(old))
    }

    /// Raises our version over what others remember of an earlier incarnation of us.
    ///
    /// Nothing is above the largest version; if somebody claims it for us, ours equals it and the
    /// incarnation with the larger id wins. (In Weave Net the version wraps to 0.)
    pub(super) fn supersede_incarnation(&mut self, remembered: Head, effects: &mut Effects) {
        let (uid, version) = (self.local().uid, self.local().version);
        if remembered.uid != uid && remembered.version >= version && version < u64::MAX {
            self.change_local(None, |local| {
                local.version = remembered.version.saturating_add(1);
            });
            effects.local_changed = true;
        }
    }

    fn take_over(&mut self, record: PeerRecord, effects: &mut Effects) {
        let Some(known) = self.peers.get_mut(&record.name) else {
            self.insert(record, effects);
            return;
        };
        let (name, old, new) = (record.name, known.record.short_id, record.short_id);
        let is_later = known.record.uid == record.uid
            && known.record.nickname == record.nickname
            && known.record.version < record.version;
        let touched = if is_later {
            differences(&known.record.connections, &record.connections)
        } else {
            known.history = History::new(record.version);
            Vec::new()
        };
        known.record = record;
        known.note(touched);
        self.journal.push(name);
        self.claim_short_id(name, old, new, effects);
    }

    /// Follows a change of the short id that another peer claims.
    pub(super) fn claim_short_id(
        &mut self,
        name: PeerName,
        old: Option<ShortId>,
        new: Option<ShortId>,
        effects: &mut Effects,
    ) {
        if old != new {
            let removed = old.and_then(|id| self.short_ids.remove(id, name));
            let added = new.and_then(|id| self.short_ids.add(id, name));
            effects
                .short_id_changes
                .extend(removed.into_iter().chain(added));
        }
    }

    fn is_refused(&self, name: PeerName) -> bool {
        name == PeerName::UNKNOWN || (self.len() >= MAX_PEERS && self.get(name).is_none())
    }
}

/// An update that is being merged.
#[derive(Default)]
pub(super) struct Merge {
    pub(super) merged: Merged,
    pub(super) effects: Effects,
    /// Peers that records taken over list a connection to.
    pub(super) mentioned: BTreeSet<PeerName>,
}

/// The names under which one has another connection than the other, or none.
fn differences(old: &Links, new: &Links) -> Vec<PeerName> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut names = Vec::new();
    loop {
        let next = match (old.peek(), new.peek()) {
            (Some((old, _)), Some((new, _))) => **old.min(new),
            (Some((name, _)), None) | (None, Some((name, _))) => **name,
            (None, None) => return names,
        };
        let is_next = |(name, _): &(&PeerName, &Link)| **name == next;
        let (was, is) = (old.next_if(is_next), new.next_if(is_next));
        if was != is {
            names.push(next);
        }
    }
}
