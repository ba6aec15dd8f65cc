//! Which peer is behind which hardware address, where no kernel program keeps the table.
//!
//! The same rules as in the kernel programs: what a peer sends teaches at once; what the own bridge
//! sends is believed unless a peer that is active has the address. Then it is a reflection of that
//! peer's own frame, or a duplicate address, until it announces itself or the peer falls silent.
//! (Weave Net never takes an address over from a peer: a pod that moves here is cut off for up to
//! ten minutes.) The invariants: an address has one owner; a frame whose source was refused is never
//! forwarded, so that reflected frames cannot circle.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use crate::{fastdp::PeerName, packet::ethernet::Mac};

/// Age at which an address that was not seen is forgotten.
pub const MAX_AGE: Duration = Duration::from_secs(600);
/// A peer that has not used an address for so long may lose it.
pub const SILENT: Duration = Duration::from_secs(1);
/// So soon after a frame of its peer an announcement may be that frame, reflected.
pub const ECHO: Duration = Duration::from_millis(100);
/// Addresses kept at most; further ones are treated as unknown and flooded.
pub const CAPACITY: usize = 32_768;

/// Who is behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Our own bridge.
    Local,
    /// A peer.
    Peer(PeerName),
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    owner: Owner,
    seen: Duration,
}

/// The table.
#[derive(Debug, Default)]
pub struct MacTable {
    entries: HashMap<Mac, Learned>,
}

impl MacTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who is behind `mac`.
    #[must_use]
    pub fn owner(&self, mac: Mac) -> Option<Owner> {
        self.entries.get(&mac).map(|learned| learned.owner)
    }

    /// A frame from our bridge has the source `mac`; `announces`: it is an ARP packet in which the
    /// source states its own address. `false`: a peer has the address, drop the frame.
    #[must_use]
    pub fn learn_local(&mut self, now: Duration, mac: Mac, announces: bool) -> bool {
        if let Some(known) = self.entries.get(&mac)
            && known.owner != Owner::Local
        {
            let age = now.saturating_sub(known.seen);
            if age < SILENT && !(announces && age >= ECHO) {
                return false;
            }
        }
        self.put(now, mac, Owner::Local);
        true
    }

    /// A frame of `peer` has the source `mac`. The owner before, if it was another.
    pub fn learn_remote(&mut self, now: Duration, mac: Mac, peer: PeerName) -> Option<Owner> {
        let owner = Owner::Peer(peer);
        self.put(now, mac, owner).filter(|before| *before != owner)
    }

    fn put(&mut self, now: Duration, mac: Mac, owner: Owner) -> Option<Owner> {
        if mac.is_group() {
            return None;
        }
        let full = self.entries.len() >= CAPACITY;
        let learned = Learned { owner, seen: now };
        match self.entries.entry(mac) {
            Entry::Occupied(mut entry) => Some(entry.insert(learned).owner),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(entry) => {
                entry.insert(learned);
                None
            }
        }
    }

    /// Forgets what has not been seen for [`MAX_AGE`].
    pub fn sweep(&mut self, now: Duration) {
        self.entries
            .retain(|_, learned| now.saturating_sub(learned.seen) < MAX_AGE);
    }

    /// Forgets the addresses of all peers but those that `is_there` knows.
    pub fn retain(&mut self, is_there: impl Fn(PeerName) -> bool) {
        self.entries.retain(|_, learned| match learned.owner {
            Owner::Local => true,
            Owner::Peer(peer) => is_there(peer),
        });
    }

    /// Forgets all addresses of a peer that has left.
    pub fn forget(&mut self, peer: PeerName) {
        self.entries
            .retain(|_, learned| learned.owner != Owner::Peer(peer));
    }

    /// All entries: address, owner, and time since it was seen.
    pub fn iter(&self, now: Duration) -> impl Iterator<Item = (Mac, Owner, Duration)> {
        self.entries
            .iter()
            .map(move |(mac, learned)| (*mac, learned.owner, now.saturating_sub(learned.seen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const PEER: PeerName = PeerName(1);
    const OTHER: PeerName = PeerName(2);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_peer_teaches_at_once_and_says_who_had_it() {
        let mut table = MacTable::new();
        assert!(table.learn_local(ms(0), MAC, false));
        assert_eq!(table.learn_remote(ms(1), MAC, PEER), Some(Owner::Local));
        assert_eq!(table.learn_remote(ms(2), MAC, PEER), None);
        assert_eq!(
            table.learn_remote(ms(3), MAC, OTHER),
            Some(Owner::Peer(PEER))
        );
    }

    #[test]
    fn a_reflected_frame_is_refused_and_a_moved_pod_is_not() {
        let mut table = MacTable::new();
        table.learn_remote(ms(0), MAC, PEER);
        assert!(
            !table.learn_local(ms(50), MAC, true),
            "the echo of its announcement"
        );
        assert!(
            !table.learn_local(ms(150), MAC, false),
            "its peer is active"
        );
        assert_eq!(table.owner(MAC), Some(Owner::Peer(PEER)));
        assert!(table.learn_local(ms(150), MAC, true), "it announces itself");
        table.learn_remote(ms(200), MAC, PEER);
        assert!(
            table.learn_local(ms(1_200), MAC, false),
            "its peer is silent"
        );
    }

    #[test]
    fn what_is_not_seen_is_forgotten() {
        let mut table = MacTable::new();
        table.learn_remote(ms(0), MAC, PEER);
        table.sweep(MAX_AGE - ms(1));
        assert_eq!(table.iter(ms(5)).count(), 1);
        table.sweep(MAX_AGE);
        assert_eq!(table.owner(MAC), None);
        table.learn_remote(ms(0), MAC, PEER);
        table.forget(OTHER);
        assert_eq!(table.owner(MAC), Some(Owner::Peer(PEER)));
        table.forget(PEER);
        assert_eq!(table.owner(MAC), None);
        table.learn_remote(ms(0), MAC, PEER);
        table.retain(|peer| peer == PEER);
        assert_eq!(table.owner(MAC), Some(Owner::Peer(PEER)));
        table.retain(|peer| peer == OTHER);
        assert_eq!(table.owner(MAC), None);
    }

    #[test]
    fn nobody_can_fill_the_memory_or_own_a_group() {
        let mut table = MacTable::new();
        for number in 0..u32::try_from(CAPACITY).unwrap() + 10 {
            let [a, b, c, d] = number.to_be_bytes();
            table.learn_remote(ms(0), Mac([2, 0, a, b, c, d]), PEER);
        }
        assert_eq!(table.iter(ms(0)).count(), CAPACITY);
        let mut table = MacTable::new();
        table.learn_remote(ms(0), Mac::BROADCAST, PEER);
        assert_eq!(table.owner(Mac::BROADCAST), None);
    }
}
