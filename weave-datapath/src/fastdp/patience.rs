//! Bad news waits: a way that may still work is not left for another at once.
//!
//! When a daemon dies, its neighbours notice one after the other. Until all have, each is told of a
//! way through another one that does not exist. The old way works all the while, for the data plane
//! of the dead daemon lives. So a change that takes a way from a peer that has one is put off for
//! [`PATIENCE`]; most such changes have been taken back by then.
//!
//! Invariant: tables that only add (new peers, ways to unreachable ones, more hops) pass at once, and
//! nothing waits longer than [`PATIENCE`].

use std::{collections::BTreeSet, time::Duration};

use super::{Path, Route, Tables};

/// How long a re-route waits: time enough for a mesh to agree, and for a person not to notice.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a change is being put off, and until when.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Duration>);

impl Patience {
    /// Whether `previous` stays in force for now instead of `next`. `broken` are the paths known not
    /// to work: leaving those cannot wait.
    pub(super) fn waits(
        &mut self,
        now: Duration,
        previous: &Tables,
        next: &Tables,
        broken: &BTreeSet<Path>,
    ) -> bool {
        if !takes_away(previous, next, broken) {
            self.0 = None;
            return false;
        }
        let until = *self.0.get_or_insert(now + PATIENCE);
        if now >= until {
            self.0 = None;
        }
        now < until
    }

    /// When the waiting ends.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.0
    }
}

/// Whether a peer loses a way, or a tree a hop, that may work.
fn takes_away(previous: &Tables, next: &Tables, broken: &BTreeSet<Path>) -> bool {
    let works = |path: &Path| !broken.contains(path);
    let rerouted = previous.peers.iter().any(|(id, entry)| {
        let same_peer = next.peers.get(id).filter(|now| now.name == entry.name);
        match (entry.route, same_peer.map(|now| now.route)) {
            (Route::Fastdp(old), Some(now)) => works(&old) && now != entry.route,
            _ => false,
        }
    });
    let cut = previous.trees.iter().any(|(origin, hops)| {
        // The tree of an origin that is gone, or whose id is another's, is nobody's loss.
        let known = next.peers.get(origin).map(|now| now.name);
        let same_origin = known.is_some() && known == previous.peers.get(origin).map(|e| e.name);
        let kept = next
            .trees
            .get(origin)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let lost = |hop: &super::Hop| {
            works(&hop.path) && next.path(hop.id).is_some() && !kept.contains(hop)
        };
        same_origin && hops.iter().any(lost)
    });
    rerouted || cut
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use super::*;
    use crate::fastdp::{Entry, Hop, PeerName, ShortId};

    const NOW: Duration = Duration::from_secs(50);

    fn id(id: u8) -> ShortId {
        ShortId::try_from(u16::from(id)).unwrap()
    }

    fn path(host: u8) -> Path {
        Path {
            remote: Ipv4Addr::new(10, 0, 0, host),
            local: Ipv4Addr::new(10, 0, 0, 1),
            port: 6784,
        }
    }

    /// Peers, each with the neighbour on the way, and the hops of our tree.
    fn tables(peers: &[(u8, u8)], hops: &[u8]) -> Tables {
        let us = Entry {
            name: PeerName(1),
            route: Route::Us,
        };
        let entry = |(peer, via): &(u8, u8)| {
            let name = PeerName((*peer).into());
            let route = Route::Fastdp(path(*via));
            (id(*peer), Entry { name, route })
        };
        let hop = |peer: &u8| Hop {
            id: id(*peer),
            path: path(*peer),
        };
        Tables {
            us: Some(id(1)),
            peers: peers.iter().map(entry).chain([(id(1), us)]).collect(),
            trees: BTreeMap::from([(id(1), hops.iter().map(hop).collect())]),
            ..Tables::default()
        }
    }

    #[test]
    fn a_reroute_waits_and_then_passes() {
        let direct = tables(&[(2, 2), (3, 3)], &[2, 3]);
        let through = tables(&[(2, 3), (3, 3)], &[3]);
        let mut patience = Patience::default();
        let none = BTreeSet::new();

        assert!(patience.waits(NOW, &direct, &through, &none));
        assert_eq!(patience.poll_timeout(), Some(NOW + PATIENCE));
        assert!(patience.waits(NOW + PATIENCE / 2, &direct, &through, &none));
        assert!(!patience.waits(NOW + PATIENCE, &direct, &through, &none));
        assert_eq!(patience.poll_timeout(), None);
    }

    #[test]
    fn a_change_taken_back_starts_the_wait_anew() {
        let direct = tables(&[(2, 2), (3, 3)], &[2, 3]);
        let through = tables(&[(2, 3), (3, 3)], &[3]);
        let mut patience = Patience::default();
        let none = BTreeSet::new();
        assert!(patience.waits(NOW, &direct, &through, &none));

        assert!(!patience.waits(NOW, &direct, &direct, &none));
        assert!(patience.waits(NOW + PATIENCE, &direct, &through, &none));
    }

    #[test]
    fn additions_do_not_wait() {
        let fewer = tables(&[(2, 2)], &[2]);
        let more = tables(&[(2, 2), (3, 3)], &[2, 3]);
        let none = BTreeSet::new();

        assert!(!Patience::default().waits(NOW, &fewer, &more, &none));
        assert!(!Patience::default().waits(NOW, &Tables::default(), &more, &none));
    }

    #[test]
    fn a_path_known_to_be_broken_is_left_at_once() {
        let direct = tables(&[(2, 2), (3, 3)], &[2, 3]);
        let through = tables(&[(2, 3), (3, 3)], &[3]);
        let broken = BTreeSet::from([path(2)]);

        assert!(!Patience::default().waits(NOW, &direct, &through, &broken));
    }

    #[test]
    fn a_lost_hop_to_a_peer_that_is_still_there_waits() {
        let both = tables(&[(2, 2), (3, 3)], &[2, 3]);
        let one = tables(&[(2, 2), (3, 3)], &[3]);

        assert!(Patience::default().waits(NOW, &both, &one, &BTreeSet::new()));
    }

    #[test]
    fn an_id_that_changes_hands_does_not_wait() {
        let old = tables(&[(2, 2), (3, 3)], &[2, 3]);
        let mut new = tables(&[(3, 3)], &[3]);
        let other = Entry {
            name: PeerName(9),
            route: Route::Unreachable,
        };
        new.peers.insert(id(2), other);

        assert!(!Patience::default().waits(NOW, &old, &new, &BTreeSet::new()));
    }
}
