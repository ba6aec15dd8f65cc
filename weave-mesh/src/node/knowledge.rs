//! What is known of what neighbours know, so that nothing is sent to them twice.
//!
//! A neighbour holds a record if we sent it (TCP delivers or the connection ends) or if it sent the
//! record or its head to us. Only the newest version counts: a record that changes is held by
//! nobody until told. One bit for each record and neighbour.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ConnectionId;
use crate::peer::{Head, PeerName};

/// What the neighbours of this peer are known to hold.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    neighbours: BTreeMap<ConnectionId, Neighbour>,
    free_seats: Vec<usize>,
    holders: BTreeMap<PeerName, Holders>,
}

/// What is remembered of one connection.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    /// The number of its bit.
    seat: usize,
    /// The version of our own record it was told last; 0 if none.
    pub(super) own_version: u64,
    /// Digests of the states of channels it is known to hold.
    pub(super) told: BTreeMap<Arc<str>, u64>,
    /// Records to tell it once somebody reachable lists them.
    pub(super) withheld: BTreeSet<PeerName>,
    /// When all heads may be sent again.
    pub(super) heads_after: Duration,
    /// When everything is told again whatever it is known to hold; `None` until first decided.
    pub(super) renewal: Option<Duration>,
}

/// Who holds one record.
#[derive(Debug)]
struct Holders {
    /// The version the bits are about.
    head: Head,
    bits: Vec<u64>,
}

impl Knowledge {
    /// What is remembered of a connection; nothing, at first.
    pub(super) fn of(&mut self, id: ConnectionId) -> &mut Neighbour {
        let taken = self.neighbours.len();
        let free_seats = &mut self.free_seats;
        self.neighbours.entry(id).or_insert_with(|| Neighbour {
            // Seats are numbered without gaps but for the free ones.
            seat: free_seats.pop().unwrap_or(taken),
            ..Neighbour::default()
        })
    }

    /// The neighbour holds this record, which is the newest known here.
    pub(super) fn learn(&mut self, id: ConnectionId, head: Head) {
        let seat = self.of(id).seat;
        let holders = self.holders.entry(head.name).or_insert_with(|| Holders {
            head,
            bits: Vec::new(),
        });
        if holders.head != head {
            holders.head = head;
            holders.bits.clear();
        }
        if holders.bits.len() <= seat / 64 {
            holders.bits.resize(seat / 64 + 1, 0);
        }
        holders.bits[seat / 64] |= 1 << (seat % 64);
    }

    /// Whether the neighbour is known to hold this record.
    pub(super) fn holds(&self, id: ConnectionId, head: Head) -> bool {
        let (Some(neighbour), Some(holders)) =
            (self.neighbours.get(&id), self.holders.get(&head.name))
        else {
            return false;
        };
        let word = holders.bits.get(neighbour.seat / 64).copied();
        holders.head == head && word.is_some_and(|word| word >> (neighbour.seat % 64) & 1 == 1)
    }

    /// Whether records wait until the neighbour can reach their peers.
    pub(super) fn withholds(&self, id: ConnectionId) -> bool {
        let neighbour = self.neighbours.get(&id);
        neighbour.is_some_and(|neighbour| !neighbour.withheld.is_empty())
    }

    /// The neighbour showed that it does not hold the newest record of this peer.
    pub(super) fn forget(&mut self, id: ConnectionId, name: PeerName) {
        if let (Some(neighbour), Some(holders)) =
            (self.neighbours.get(&id), self.holders.get_mut(&name))
            && let Some(word) = holders.bits.get_mut(neighbour.seat / 64)
        {
            *word &= !(1 << (neighbour.seat % 64));
        }
    }

    /// Nothing is known of what this neighbour holds any more.
    pub(super) fn forget_all(&mut self, id: ConnectionId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        neighbour.own_version = 0;
        neighbour.told.clear();
        let seat = neighbour.seat;
        for holders in self.holders.values_mut() {
            if let Some(word) = holders.bits.get_mut(seat / 64) {
                *word &= !(1 << (seat % 64));
            }
        }
    }

    /// The connection has ended.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.forget_all(id);
        if let Some(neighbour) = self.neighbours.remove(&id) {
            if self.neighbours.is_empty() {
                self.free_seats.clear();
            } else {
                self.free_seats.push(neighbour.seat);
            }
        }
    }

    /// The peer has left the topology.
    pub(super) fn forget_peer(&mut self, name: PeerName) {
        self.holders.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Uid;

    fn head(n: u64, version: u64) -> Head {
        Head {
            name: PeerName::try_from(n).unwrap(),
            uid: Uid(1),
            version,
            has_short_id: false,
        }
    }

    fn ids<const N: usize>() -> [ConnectionId; N] {
        std::array::from_fn(|n| ConnectionId::from(n as u64))
    }

    #[test]
    fn a_change_is_held_by_nobody_until_told() {
        let mut knowledge = Knowledge::default();
        let [a, b] = ids();
        knowledge.learn(a, head(1, 1));
        knowledge.learn(b, head(1, 1));
        assert!(knowledge.holds(a, head(1, 1)) && knowledge.holds(b, head(1, 1)));
        assert!(!knowledge.holds(a, head(1, 2)));

        knowledge.learn(b, head(1, 2));

        assert!(!knowledge.holds(a, head(1, 2)) && knowledge.holds(b, head(1, 2)));
        knowledge.forget(b, head(1, 2).name);
        assert!(!knowledge.holds(b, head(1, 2)));
    }

    #[test]
    fn a_connection_does_not_inherit_what_another_one_held() {
        let mut knowledge = Knowledge::default();
        let connections: [_; 131] = ids();
        for id in &connections[..130] {
            knowledge.learn(*id, head(1, 1));
        }
        knowledge.of(connections[70]).told.insert("c".into(), 1);

        knowledge.remove(connections[70]);
        let new = connections[130];

        assert_eq!(knowledge.of(new).seat, 70);
        assert!(knowledge.of(new).told.is_empty());
        assert!(!knowledge.holds(new, head(1, 1)));
        assert!(knowledge.holds(connections[129], head(1, 1)));
    }

    #[test]
    fn seats_are_distinct_whatever_comes_and_goes() {
        let mut knowledge = Knowledge::default();
        let mut live = BTreeSet::new();
        for n in 0..200_u64 {
            knowledge.of(ConnectionId::from(n));
            live.insert(n);
            if n % 3 != 0 {
                let gone = n / 2;
                if live.remove(&gone) {
                    knowledge.remove(ConnectionId::from(gone));
                }
            }
        }

        let seats: BTreeSet<_> = knowledge.neighbours.values().map(|n| n.seat).collect();
        assert_eq!(seats.len(), live.len());
    }
}
