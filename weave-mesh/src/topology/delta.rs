//! Records told as what changed, and what a topology is in one number.

use std::collections::BTreeSet;

use super::merge::Merge;
use super::{Merged, Topology};
use crate::peer::{Head, PeerName, PeerRecord};
use crate::wire::sync::{Body, RecordUpdate};

/// From where a record is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// From nothing: the receiver has no version of it, or it is not known which.
    Nothing,
    /// From a version of the same incarnation that the receiver is known to have.
    Version(u64),
    /// From a version that somebody who follows the record has; who has not asks for the rest.
    Recent,
}

/// What a set of deltas brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Synced {
    /// As for an update.
    pub merged: Merged,
    /// Deltas that were applied.
    pub applied: usize,
    /// Peers whose record is told from a version that is not known here: to be asked for.
    pub missing: BTreeSet<PeerName>,
}

impl Topology {
    /// A record as what changed since `base`, or whole if that is not known or no longer.
    #[must_use]
    pub fn delta(&self, name: PeerName, base: Base) -> Option<RecordUpdate> {
        let known = self.peers.get(&name)?;
        let record = &known.record;
        let base = match base {
            Base::Nothing => None,
            Base::Version(version) => Some(version),
            Base::Recent => Some(known.history.recent(RECENT)),
        };
        let changes = base
            // Version 0 is told whole: who has no version at all can use it too.
            .filter(|base| *base > 0 && *base < record.version)
            .and_then(|base| Some((base, known.history.since(base)?)));
        let body = match changes {
            Some((base, names)) => {
                let is_there = |name: &PeerName| record.connections.contains_key(name);
                let (there, removed): (Vec<_>, Vec<_>) = names.into_iter().partition(is_there);
                let link = |name| Some((name, record.connections.get(&name)?.clone()));
                Body::Since {
                    base,
                    changed: there.into_iter().filter_map(link).collect(),
                    removed,
                }
            }
            None => Body::Whole {
                nickname: record.nickname.clone(),
                connections: record.connections.clone(),
            },
        };
        Some(RecordUpdate {
            head: record.head(),
            short_id: record.short_id,
            body,
        })
    }

    /// Merges records, whole or as deltas. The result is that of [`Topology::merge`] of the records
    /// they were made of, but for those that are `missing` (`ALGORITHM.md`, law D1).
    pub fn merge_sync(&mut self, updates: Vec<RecordUpdate>) -> Synced {
        let mut merge = Merge::default();
        let mut synced = Synced::default();
        for update in updates {
            let head = update.head;
            match update.body {
                Body::Whole {
                    nickname,
                    connections,
                } => {
                    let record = PeerRecord {
                        name: head.name,
                        nickname,
                        uid: head.uid,
                        version: head.version,
                        short_id: update.short_id,
                        connections,
                    };
                    self.merge_record(record, &mut merge);
                }
                Body::Since { base, .. } => {
                    merge.merged.names.insert(head.name);
                    match self.position(head, base) {
                        Position::Follows => {
                            self.apply(update, &mut merge);
                            synced.applied += 1;
                        }
                        Position::Beyond => {
                            synced.missing.insert(head.name);
                        }
                        Position::Old => {}
                    }
                }
            }
        }
        synced.merged = self.finish(merge);
        synced
    }

    /// Whether a head says more of a peer than is known here. Of us it does if it is of another
    /// incarnation that ours has to be raised over.
    #[must_use]
    pub fn is_behind(&self, head: Head) -> bool {
        if head.name == PeerName::UNKNOWN {
            return false;
        }
        if head.name == self.us {
            let local = self.local();
            return head.uid != local.uid
                && head.version >= local.version
                && local.version < u64::MAX;
        }
        self.get(head.name)
            .is_none_or(|known| head.supersedes(known.head()))
    }

    /// Takes in the head of our own record as others remember it. Returns whether ours had to be
    /// raised and is to be announced.
    pub fn merge_own_head(&mut self, head: Head) -> bool {
        let mut effects = super::Effects::default();
        if head.name == self.us {
            self.supersede_incarnation(head, &mut effects);
        }
        effects.local_changed
    }

    fn position(&self, head: Head, base: u64) -> Position {
        if head.name == self.us {
            return Position::Old;
        }
        let Some(known) = self.get(head.name) else {
            return Position::Beyond;
        };
        if !head.supersedes(known.head()) {
            return Position::Old;
        }
        if known.uid == head.uid && (base..head.version).contains(&known.version) {
            Position::Follows
        } else {
            Position::Beyond
        }
    }

    fn apply(&mut self, update: RecordUpdate, merge: &mut Merge) {
        let Body::Since {
            changed, removed, ..
        } = update.body
        else {
            return;
        };
        let name = update.head.name;
        let Some(known) = self.peers.get_mut(&name) else {
            return;
        };
        let (old, new) = (known.record.short_id, update.short_id);
        known.record.version = update.head.version;
        known.record.short_id = new;
        let names = changed.iter().map(|(remote, _)| *remote);
        merge.mentioned.extend(names.clone());
        let touched: Vec<_> = removed.iter().copied().chain(names).collect();
        known.record.connections.update(&removed, changed);
        known.note(touched);
        self.journal.push(name);
        self.claim_short_id(name, old, new, &mut merge.effects);
        merge.merged.news.insert(name);
    }
}

/// Where a delta stands to what is known.
enum Position {
    /// It says nothing that is not known.
    Old,
    /// It can be applied.
    Follows,
    /// What lies between is not known.
    Beyond,
}

/// Changes that a delta for somebody who follows a record tells.
const RECENT: usize = 8;
