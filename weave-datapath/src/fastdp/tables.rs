//! What the kernel programs look up, as plain values, and the difference between two of them.
//!
//! Law: `a.apply(&a.diff_to(&b))` makes `a` equal to `b`, and the difference of equal tables is
//! empty. Property test: `tests/prop_fastdp.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{PeerName, ShortId};

/// The two ends of a tunnel hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Underlay address of the next hop.
    pub remote: Ipv4Addr,
    /// Our underlay address towards it.
    pub local: Ipv4Addr,
    /// UDP port of the tunnel, that of the side that was dialled.
    pub port: u16,
}

/// How frames for a peer travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Route {
    /// The peer is this one.
    Us,
    /// Through the tunnel to the next hop on the way.
    Fastdp(Path),
    /// By sleeve to the next hop on the way: user space knows to which.
    Sleeve,
    /// The peer is known, but no way leads to it.
    Unreachable,
}

/// The owner of a short id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Name of the peer.
    pub name: PeerName,
    /// The way to it.
    pub route: Route,
}

/// A direct neighbour that gets a copy of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Its short id, the destination half of the copy's VNI.
    pub id: ShortId,
    /// The way to it.
    pub path: Path,
}

/// The complete forwarding state. Invariant: no tree is empty, and every tree's hops ascend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tables {
    /// Our short id; without one nothing is sent.
    pub us: Option<ShortId>,
    /// Known short ids.
    pub peers: BTreeMap<ShortId, Entry>,
    /// Where we pass on the broadcasts of each origin by the tunnel.
    pub trees: BTreeMap<ShortId, Vec<Hop>>,
    /// Origins whose broadcasts we also pass on by sleeve.
    pub sleeve_trees: BTreeSet<ShortId>,
}

/// What changes from one [`Tables`] to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct TableUpdate {
    /// Our short id, if it changes.
    pub us: Option<Option<ShortId>>,
    /// Changed entries; `None` removes.
    pub peers: BTreeMap<ShortId, Option<Entry>>,
    /// Changed trees, whole; an empty one is removed.
    pub trees: BTreeMap<ShortId, Vec<Hop>>,
    /// [`Tables::sleeve_trees`], if they change.
    pub sleeve_trees: Option<BTreeSet<ShortId>>,
    /// What becomes of the MAC addresses learned from a short id: `Some` moves them to the id that
    /// their peer has after the change, `None` forgets them. All at once: ids can swap owners.
    pub macs: BTreeMap<ShortId, Option<ShortId>>,
}

impl TableUpdate {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.us.is_none()
            && self.peers.is_empty()
            && self.trees.is_empty()
            && self.sleeve_trees.is_none()
            && self.macs.is_empty()
    }
}

impl Tables {
    /// The smallest update that turns `self` into `next`.
    pub fn diff_to(&self, next: &Self) -> TableUpdate {
        TableUpdate {
            us: (self.us != next.us).then_some(next.us),
            peers: changed(&self.peers, &next.peers)
                .map(|(id, entry)| (id, entry.copied()))
                .collect(),
            trees: changed(&self.trees, &next.trees)
                .map(|(id, hops)| (id, hops.cloned().unwrap_or_default()))
                .collect(),
            sleeve_trees: (self.sleeve_trees != next.sleeve_trees)
                .then(|| next.sleeve_trees.clone()),
            macs: self.moved_macs(next),
        }
    }

    /// Applies an update.
    pub fn apply(&mut self, update: &TableUpdate) {
        if let Some(us) = update.us {
            self.us = us;
        }
        for (id, entry) in &update.peers {
            match entry {
                Some(entry) => self.peers.insert(*id, *entry),
                None => self.peers.remove(id),
            };
        }
        for (id, hops) in &update.trees {
            if hops.is_empty() {
                self.trees.remove(id);
            } else {
                self.trees.insert(*id, hops.clone());
            }
        }
        if let Some(origins) = &update.sleeve_trees {
            self.sleeve_trees.clone_from(origins);
        }
    }

    /// The tunnel path towards the owner of `id`.
    #[must_use]
    pub fn path(&self, id: ShortId) -> Option<Path> {
        match self.peers.get(&id)?.route {
            Route::Fastdp(path) => Some(path),
            Route::Us | Route::Sleeve | Route::Unreachable => None,
        }
    }

    /// Every path that a way or a copy takes; some more than once.
    pub(crate) fn paths(&self) -> impl Iterator<Item = Path> {
        let ways = self.peers.keys().filter_map(|id| self.path(*id));
        ways.chain(self.trees.values().flatten().map(|hop| hop.path))
    }

    /// The tables without the ways and copies that take one of these paths.
    pub(super) fn without(&self, is_gone: impl Fn(Path) -> bool) -> Self {
        let mut rest = self.clone();
        rest.peers
            .retain(|_, entry| !matches!(entry.route, Route::Fastdp(path) if is_gone(path)));
        for hops in rest.trees.values_mut() {
            hops.retain(|hop| !is_gone(hop.path));
        }
        rest.trees.retain(|_, hops| !hops.is_empty());
        rest
    }

    /// The tables with only those ways and copies changed to what `next` says that take one of these
    /// paths.
    pub(super) fn left_for(&self, next: &Self, is_gone: impl Fn(Path) -> bool) -> Self {
        let mut rest = self.without(is_gone);
        for (id, entry) in &self.peers {
            let same = |now: &&Entry| now.name == entry.name;
            if let Some(now) = next.peers.get(id).filter(same) {
                rest.peers.entry(*id).or_insert(*now);
            }
        }
        rest
    }

    /// Whether any way or copy takes `path`.
    #[must_use]
    pub fn uses(&self, path: Path) -> bool {
        let mut ways = self.peers.values().map(|entry| entry.route);
        let mut hops = self.trees.values().flatten();
        ways.any(|route| route == Route::Fastdp(path)) || hops.any(|hop| hop.path == path)
    }

    fn moved_macs(&self, next: &Self) -> BTreeMap<ShortId, Option<ShortId>> {
        let keeps =
            |id, entry: &Entry| next.peers.get(id).is_some_and(|now| now.name == entry.name);
        let lost = self.peers.iter().filter(|(id, entry)| !keeps(id, entry));
        let remote = lost.filter(|(_, entry)| entry.route != Route::Us);
        remote
            .map(|(id, entry)| {
                let moved = next.peers.iter().find(|(_, now)| now.name == entry.name);
                (*id, moved.map(|(id, _)| *id))
            })
            .collect()
    }
}

/// Keys whose value differs, with the new value.
fn changed<'a, K: Ord + Copy, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<&'a V>)> {
    let removed = old.keys().filter(|key| !new.contains_key(key));
    let written = new
        .iter()
        .filter(|(key, value)| old.get(key) != Some(value));
    removed
        .map(|key| (*key, None))
        .chain(written.map(|(key, value)| (*key, Some(value))))
}
