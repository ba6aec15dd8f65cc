//! Who is there and who is connected to whom, as far as this peer knows.
//!
//! The graph is a set of records, each written by its owner alone. Merging keeps the newest record
//! of every peer, so peers that hear the same records hold the same graph, whatever the order
//! (`ALGORITHM.md`, laws T1 to T6). Records that cannot be reached from here are collected.
//! Whatever is derived from records follows by [`Topology::revision`] and
//! [`Topology::changes_since`].

pub mod routes;

mod broadcast;
mod delta;
mod gc;
mod graph;
mod journal;
mod merge;
mod router;
#[cfg(feature = "sim")]
mod share;
mod short_ids;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::peer::{Link, PeerName, PeerRecord, ShortId};
use crate::random::Random;
use crate::wire::update::{self, EncodedRecord};
use journal::{History, Journal};
use short_ids::ShortIds;

pub use delta::{Base, Synced};
pub use gc::Collected;
pub use merge::Merged;
#[cfg(feature = "sim")]
pub(crate) use share::Pool;

/// The most peers a topology holds. A peer beyond is not taken in until others are collected.
pub const MAX_PEERS: usize = 16 * 1024;

/// The records of all known peers, our own among them.
#[derive(Debug, Clone)]
pub struct Topology {
    us: PeerName,
    peers: BTreeMap<PeerName, Known>,
    short_ids: ShortIds,
    journal: Journal,
    /// The revision after the last collection, unless something was released since.
    collected: Option<u64>,
    random: Random,
}

impl Topology {
    /// A topology that knows `local`, our own record, and nobody else. `seed` drives the choice of
    /// another short id after a collision.
    #[must_use]
    pub fn new(local: PeerRecord, seed: u64) -> Self {
        let mut short_ids = ShortIds::default();
        if let Some(id) = local.short_id {
            short_ids.add(id, local.name);
        }
        let us = local.name;
        let known = Known {
            references: 1,
            ..Known::new(local)
        };
        Self {
            us,
            peers: BTreeMap::from([(us, known)]),
            short_ids,
            journal: Journal::default(),
            collected: None,
            random: Random::new(seed),
        }
    }

    /// Adds the record of a peer that introduced itself, at version 0 and without connections. A
    /// record that is known already stays as it is: only gossip changes it.
    pub fn insert_handshake(&mut self, record: PeerRecord) -> Effects {
        let mut effects = Effects::default();
        if self.peers.contains_key(&record.name) || record.name == PeerName::UNKNOWN {
            return effects;
        }
        self.insert(record, &mut effects);
        self.leave_contested_short_id(&mut effects);
        effects
    }

    /// Keeps a peer from being collected until [`Topology::release`]. Returns false if it is not
    /// known.
    pub fn retain(&mut self, name: PeerName) -> bool {
        self.peers
            .get_mut(&name)
            .map(|known| known.references += 1)
            .is_some()
    }

    /// Takes back one [`Topology::retain`].
    pub fn release(&mut self, name: PeerName) {
        let least = u32::from(name == self.us);
        if let Some(known) = self.peers.get_mut(&name) {
            known.references = known.references.saturating_sub(1).max(least);
            self.collected = None;
        }
    }

    /// Adds a connection of ours, replacing one to the same peer. Our version goes up.
    pub fn add_connection(&mut self, remote: PeerName, link: Link) {
        self.change_local(Some(remote), |local| local.connections.insert(remote, link));
    }

    /// Marks a connection of ours as established; our version goes up. Returns false if there is
    /// no such connection or it is established already.
    pub fn establish(&mut self, remote: PeerName) -> bool {
        let connections = &self.local().connections;
        if connections.get(&remote).is_none_or(|link| link.established) {
            return false;
        }
        self.change_local(Some(remote), |local| {
            if let Some(link) = local.connections.get_mut(&remote) {
                link.established = true;
            }
        });
        true
    }

    /// Removes a connection of ours; our version goes up. Returns the connection, if there was one.
    pub fn remove_connection(&mut self, remote: PeerName) -> Option<Link> {
        if !self.local().connections.contains_key(&remote) {
            return None;
        }
        self.change_local(Some(remote), |local| local.connections.remove(&remote))
    }

    /// Our own record.
    #[must_use]
    pub fn local(&self) -> &PeerRecord {
        &self
            .peers
            .get(&self.us)
            .expect("invariant: our own record is never removed")
            .record
    }

    /// The record of a peer.
    #[must_use]
    pub fn get(&self, name: PeerName) -> Option<&PeerRecord> {
        self.peers.get(&name).map(|known| &known.record)
    }

    /// All records, in the order of names, our own among them.
    pub fn records(&self) -> impl Iterator<Item = &PeerRecord> {
        self.peers.values().map(|known| &known.record)
    }

    /// The bytes of a record in an update, encoded once for each version of it.
    #[must_use]
    pub fn encoded(&self, name: PeerName) -> Option<&EncodedRecord> {
        let known = self.peers.get(&name)?;
        Some(
            known
                .encoded
                .get_or_init(|| update::encode_record(&known.record)),
        )
    }

    /// Counts the changes of records: as long as it is the same, nothing has changed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.journal.revision()
    }

    /// The peers whose record came, went or changed after a revision; `None` if that is too long
    /// ago to tell.
    #[must_use]
    pub fn changes_since(&self, revision: u64) -> Option<BTreeSet<PeerName>> {
        self.journal.since(revision)
    }

    /// How many peers are known, us included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Never true: a topology knows us.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The owner of a short id: of the peers that claim it, the one with the lowest name.
    #[must_use]
    pub fn by_short_id(&self, id: ShortId) -> Option<PeerName> {
        self.short_ids.owner(id)
    }

    /// Changes our own record, `touched` being the connection that is another one afterwards.
    fn change_local<T>(
        &mut self,
        touched: Option<PeerName>,
        change: impl FnOnce(&mut PeerRecord) -> T,
    ) -> T {
        let known = self
            .peers
            .get_mut(&self.us)
            .expect("invariant: our own record is never removed");
        known.record.version = known.record.version.saturating_add(1);
        let result = change(&mut known.record);
        known.note(touched.into_iter().collect());
        self.journal.push(self.us);
        result
    }

    fn insert(&mut self, record: PeerRecord, effects: &mut Effects) {
        if let Some(id) = record.short_id {
            effects
                .short_id_changes
                .extend(self.short_ids.add(id, record.name));
        }
        self.journal.push(record.name);
        self.peers.insert(record.name, Known::new(record));
    }

    /// Moves us to another short id if somebody with a lower name claims ours.
    fn leave_contested_short_id(&mut self, effects: &mut Effects) {
        let Some(old) = self.local().short_id else {
            return;
        };
        if self.short_ids.owner(old) == Some(self.us) {
            return;
        }
        // With every id taken we stay; a collection that frees one tries again.
        let Some(new) = self.short_ids.choose(&mut self.random) else {
            return;
        };
        effects
            .short_id_changes
            .extend(self.short_ids.remove(old, self.us));
        effects
            .short_id_changes
            .extend(self.short_ids.add(new, self.us));
        self.change_local(None, |local| local.short_id = Some(new));
        effects.local_changed = true;
    }
}

/// What a change of the topology means for its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Our own record changed by itself and has to be announced.
    pub local_changed: bool,
    /// Short ids that stand for another peer than before: what was derived from them is invalid.
    pub short_id_changes: BTreeSet<ShortId>,
}

#[derive(Debug, Clone)]
struct Known {
    record: PeerRecord,
    references: u32,
    history: History,
    encoded: OnceLock<EncodedRecord>,
}

impl Known {
    fn new(record: PeerRecord) -> Self {
        Self {
            references: 0,
            history: History::new(record.version),
            encoded: OnceLock::new(),
            record,
        }
    }

    /// The record has changed, in these connections.
    fn note(&mut self, touched: Vec<PeerName>) {
        self.encoded = OnceLock::new();
        let limit = self.record.connections.len() + MIN_HISTORY;
        self.history.note(self.record.version, touched, limit);
    }
}

/// Changes that are remembered even of a record with few connections.
const MIN_HISTORY: usize = 16;

#[cfg(test)]
mod tests;
