//! The replicated names: every peer's entries, merged, and looked up by name and by address.
//!
//! Invariant: the copies of an entry grow in the order of [`Life`] and never shrink, except that
//! entries of peers that left and old tombstones are dropped (laws N1 to N6). Time comes in as
//! seconds since 1970, because tombstones carry it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use weave_mesh::peer::PeerName;

/// What an entry is about; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The full name with its final dot, in the case it was registered in.
    pub hostname: Box<str>,
    /// The peer that registered it.
    pub origin: PeerName,
    /// The container it names.
    pub container: Box<str>,
    /// The container's address.
    pub address: Ipv4Addr,
}

/// The state of an entry, in the order in which copies replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Raised by one with each change.
    pub version: i64,
    /// When it was deleted, in seconds since 1970; 0 while it lives.
    pub tombstone: i64,
}

/// A key with its state, as it is told to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub key: Key,
    /// Its state.
    pub life: Life,
}

impl Life {
    /// Whether the entry counts.
    pub fn is_live(self) -> bool {
        self.tombstone == 0
    }

    fn is_over(self, now: i64) -> bool {
        !self.is_live() && self.tombstone.saturating_add(TOMBSTONE_SECONDS) < now
    }
}

impl Ord for Key {
    /// By name in small letters first, so that one range has all spellings of a name.
    fn cmp(&self, other: &Self) -> Ordering {
        fold(&self.hostname)
            .cmp(fold(&other.hostname))
            .then(self.origin.cmp(&other.origin))
            .then_with(|| self.container.cmp(&other.container))
            .then(self.address.cmp(&other.address))
            .then_with(|| self.hostname.cmp(&other.hostname))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which of our entries to delete; what is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this container.
    pub container: Option<String>,
    /// At this address.
    pub address: Option<Ipv4Addr>,
    /// With this full name, in any case.
    pub hostname: Option<String>,
}

impl Selection {
    fn has(&self, key: &Key) -> bool {
        let is = |wanted: &Option<String>, same: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(same)
        };
        is(&self.container, &|id| id == &*key.container)
            && self.address.is_none_or(|address| address == key.address)
            && is(&self.hostname, &|name| {
                name.eq_ignore_ascii_case(&key.hostname)
            })
    }
}

/// What came of a merge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Merged {
    /// Something was learnt, to be passed on.
    pub is_news: bool,
    /// Others had said something else about entries of ours, to be broadcast.
    pub is_regained: bool,
    /// Entries that make no sense or have no room.
    pub refused: usize,
}

/// There is no room for another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many names: {PER_ORIGIN} of one peer and {IN_ALL} bytes of all are the most")]
pub struct Full;

/// Every entry.
#[derive(Debug)]
pub struct Store {
    us: PeerName,
    known: BTreeSet<PeerName>,
    entries: BTreeMap<Arc<Key>, Life>,
    by_address: BTreeSet<(Ipv4Addr, Arc<Key>)>,
    counts: BTreeMap<PeerName, usize>,
    /// What all entries weigh in a message.
    weight: usize,
    /// Entries of peers that the topology does not have yet, with the second until which they wait.
    waiting: Vec<(i64, Entry)>,
    revision: u64,
}

impl Store {
    /// The empty store of the peer `us`.
    pub fn new(us: PeerName) -> Self {
        Self {
            us,
            known: BTreeSet::new(),
            entries: BTreeMap::new(),
            by_address: BTreeSet::new(),
            counts: BTreeMap::new(),
            weight: 0,
            waiting: Vec::new(),
            revision: 0,
        }
    }

    /// Registers a name of ours; whether that changed anything.
    ///
    /// # Errors
    /// [`Full`]; the store is as before.
    pub fn add(
        &mut self,
        hostname: &str,
        container: &str,
        address: Ipv4Addr,
    ) -> Result<bool, Full> {
        let key = Key {
            hostname: hostname.into(),
            origin: self.us,
            container: container.into(),
            address,
        };
        if let Some(life) = self.entries.get_mut(&key) {
            if life.is_live() {
                return Ok(false);
            }
            life.version = life.version.saturating_add(1);
            life.tombstone = 0;
            self.revision += 1;
            return Ok(true);
        }
        if !self.has_room(&key) {
            return Err(Full);
        }
        self.insert(
            key,
            Life {
                version: 0,
                tombstone: 0,
            },
        );
        Ok(true)
    }

    /// Deletes the live entries of ours that `selection` has; how many those were.
    pub fn remove(&mut self, now: i64, selection: &Selection) -> usize {
        let us = self.us;
        let mut count = 0;
        for (key, life) in &mut self.entries {
            if key.origin == us && life.is_live() && selection.has(key) {
                life.version = life.version.saturating_add(1);
                life.tombstone = now.max(1);
                count += 1;
            }
        }
        self.revision += u64::from(count > 0);
        count
    }

    /// Takes in what a peer tells.
    pub fn merge(&mut self, now: i64, entries: impl IntoIterator<Item = Entry>) -> Merged {
        let mut merged = Merged::default();
        for entry in entries {
            if !is_sound(&entry) {
                merged.refused += 1;
            } else if entry.key.origin == self.us {
                self.answer_for_ours(now, entry, &mut merged);
            } else if self.known.contains(&entry.key.origin) {
                self.take(now, entry, &mut merged);
            } else if self.waiting.len() < WAITING {
                self.waiting.push((now.saturating_add(PATIENCE), entry));
            } else {
                merged.refused += 1;
            }
        }
        self.revision += u64::from(merged.is_news || merged.is_regained);
        merged
    }

    /// Learns which peers the topology has: entries of others go, those that waited for one come in.
    pub fn set_known(&mut self, now: i64, known: BTreeSet<PeerName>) -> Merged {
        self.known = known;
        let gone: BTreeSet<PeerName> = self
            .counts
            .keys()
            .filter(|origin| **origin != self.us && !self.known.contains(origin))
            .copied()
            .collect();
        if !gone.is_empty() {
            self.keep(|key, _| !gone.contains(&key.origin));
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (come, left) = waiting
            .into_iter()
            .filter(|(until, _)| *until >= now)
            .partition(|(_, entry)| self.known.contains(&entry.key.origin));
        self.waiting = left;
        self.merge(now, come.into_iter().map(|(_, entry): (i64, Entry)| entry))
    }

    /// Drops old tombstones, and what waited for its peer in vain.
    pub fn sweep(&mut self, now: i64) {
        self.keep(|_, life| !life.is_over(now));
        self.waiting.retain(|(until, _)| *until >= now);
    }

    /// The addresses of a full name, each once; in any case of letters.
    pub fn addresses(&self, hostname: &str) -> BTreeSet<Ipv4Addr> {
        let first = Key {
            hostname: hostname.into(),
            origin: PeerName::UNKNOWN,
            container: "".into(),
            address: Ipv4Addr::UNSPECIFIED,
        };
        self.entries
            .range(Arc::new(first)..)
            .take_while(|(key, _)| key.hostname.eq_ignore_ascii_case(hostname))
            .filter(|(_, life)| life.is_live())
            .map(|(key, _)| key.address)
            .collect()
    }

    /// The names of an address, in the order of the store.
    pub fn names(&self, address: Ipv4Addr) -> impl Iterator<Item = &str> {
        let first = Arc::new(Key {
            hostname: "".into(),
            origin: PeerName::UNKNOWN,
            container: "".into(),
            address,
        });
        self.by_address
            .range((address, first)..)
            .take_while(move |(other, _)| *other == address)
            .filter(|(_, key)| self.entries.get(key).is_some_and(|life| life.is_live()))
            .map(|(_, key)| &*key.hostname)
    }

    /// Every entry, dead ones included, by name in small letters.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Life)> {
        self.entries.iter().map(|(key, life)| (&**key, *life))
    }

    /// How many live entries are ours.
    pub fn own(&self) -> usize {
        self.iter()
            .filter(|(key, life)| key.origin == self.us && life.is_live())
            .count()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Rises with each change of an entry.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// An entry of another peer.
    fn take(&mut self, now: i64, entry: Entry, merged: &mut Merged) {
        let has_room = self.has_room(&entry.key);
        match self.entries.get_mut(&entry.key) {
            Some(held) if *held >= entry.life => {}
            Some(held) => {
                *held = entry.life;
                merged.is_news = true;
            }
            None if entry.life.is_over(now) => {}
            None if !has_room => merged.refused += 1,
            None => {
                self.insert(entry.key, entry.life);
                merged.is_news = true;
            }
        }
    }

    /// What others say about an entry of ours (N2).
    fn answer_for_ours(&mut self, now: i64, entry: Entry, merged: &mut Merged) {
        let above = entry.life.version.saturating_add(1);
        let has_room = self.has_room(&entry.key);
        match self.entries.get_mut(&entry.key) {
            Some(held) if *held >= entry.life => {}
            Some(held) => {
                held.version = above;
                if !held.is_live() {
                    held.tombstone = now.max(1);
                }
                merged.is_regained = true;
            }
            None if entry.life.is_over(now) => {}
            None if !has_room => merged.refused += 1,
            // Dead as we would have it; a name added again goes on from its version.
            None if !entry.life.is_live() => {
                self.insert(entry.key, entry.life);
                merged.is_news = true;
            }
            None => {
                let life = Life {
                    version: above,
                    tombstone: now.max(1),
                };
                self.insert(entry.key, life);
                merged.is_regained = true;
            }
        }
    }

    fn has_room(&self, key: &Key) -> bool {
        self.weight + weight(key) <= IN_ALL
            && self.counts.get(&key.origin).copied().unwrap_or(0) < PER_ORIGIN
    }

    fn insert(&mut self, key: Key, life: Life) {
        let key = Arc::new(key);
        self.weight += weight(&key);
        *self.counts.entry(key.origin).or_default() += 1;
        self.by_address.insert((key.address, Arc::clone(&key)));
        self.entries.insert(key, life);
        self.revision += 1;
    }

    fn keep(&mut self, wanted: impl Fn(&Key, Life) -> bool) {
        let (counts, by_address) = (&mut self.counts, &mut self.by_address);
        let heavy = &mut self.weight;
        let before = self.entries.len();
        self.entries.retain(|key, life| {
            let stays = wanted(key, *life);
            if !stays {
                *heavy -= weight(key);
                by_address.remove(&(key.address, Arc::clone(key)));
                if let Some(count) = counts.get_mut(&key.origin) {
                    *count -= 1;
                }
            }
            stays
        });
        counts.retain(|_, count| *count > 0);
        self.revision += u64::from(self.entries.len() != before);
    }
}

/// The bytes of a name in small letters.
fn fold(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// The most an entry takes in a message: its texts, and 64 bytes for lengths and numbers.
fn weight(key: &Key) -> usize {
    key.hostname.len() + key.container.len() + 64
}

/// Whether the entry can be of any use: a name that can be asked for, and numbers that can grow.
fn is_sound(entry: &Entry) -> bool {
    let Entry { key, life } = entry;
    // The codec puts this character where the sender's bytes were no text.
    let is_text = |text: &str| !text.contains(char::REPLACEMENT_CHARACTER);
    (1..=255).contains(&key.hostname.len())
        && key.container.len() <= 255
        && is_text(&key.hostname)
        && is_text(&key.container)
        && key.origin != PeerName::UNKNOWN
        && (0..=i64::MAX / 2).contains(&life.version)
        && life.tombstone >= 0
}

/// How long a deletion is remembered (Weave Net's name server: 30 minutes).
pub const TOMBSTONE_SECONDS: i64 = 30 * 60;
/// How long an entry waits for the topology to tell of its peer, in seconds: two rounds of gossip.
pub const PATIENCE: i64 = 60;
/// Most entries of one peer.
pub const PER_ORIGIN: usize = 1 << 14;
/// Most bytes of all entries: they are told in one message, which a mesh limits to 10 MiB and its
/// decoder to a million values.
pub const IN_ALL: usize = 8 << 20;
/// Most entries that wait.
const WAITING: usize = 1 << 12;

#[cfg(test)]
mod tests;
