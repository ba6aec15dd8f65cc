//! Keeping the way to a peer whose control plane went silent.
//!
//! A daemon that is restarted or killed leaves its kernel programs running. Its neighbours lose the
//! TCP connection, and with it the routes; if they dropped their tables, the frames of its pods
//! would be lost although both data planes work. So an entry that would vanish is held for
//! [`HOLD`], until a better one appears.
//!
//! Invariant (no broadcast loops): a held hop stays in the tree of an origin only while our own way
//! to that origin is unchanged. Distances from an origin only grow when peers vanish, so a copy that
//! re-enters through the frozen tables of a silent peer always moves away from the origin.

use std::{collections::BTreeMap, time::Duration};

use super::{Entry, Hop, Path, PeerName, Route, ShortId, Tables};

/// How long the way to a silent peer is kept: the age limit of its MAC addresses.
pub const HOLD: Duration = Duration::from_secs(600);

/// The short ids held, each with the time at which it is given up.
#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<ShortId, Duration>);

impl Holds {
    /// Adds to `next` what is worth keeping from `previous`. Calling it again with its own result
    /// as `previous` and the same `next` and `now` changes nothing.
    pub(super) fn merge(
        &mut self,
        now: Duration,
        us: PeerName,
        previous: &Tables,
        next: &mut Tables,
    ) {
        let before = std::mem::take(&mut self.0);
        // An id that another peer has won is not ours any more: nothing may leave under it.
        let ours = |id: &ShortId| next.peers.get(id).is_none_or(|now| now.name == us);
        next.us = next.us.or_else(|| previous.us.filter(ours));
        let routed: Vec<PeerName> = routed_names(next).collect();
        for (id, entry) in &previous.peers {
            let own = Some(*id) == next.us && entry.name == us;
            let vanishes = if entry.name == us {
                !next.peers.contains_key(id)
            } else {
                is_free(next, *id, entry)
                    && matches!(entry.route, Route::Fastdp(_))
                    && !routed.contains(&entry.name)
            };
            let until = before.get(id).copied().unwrap_or(now + HOLD);
            if vanishes && (own || now < until) {
                next.peers.insert(*id, *entry);
                if !own {
                    self.0.insert(*id, until);
                }
            }
        }
        for (origin, hops) in &previous.trees {
            self.merge_tree(previous, next, *origin, hops);
        }
    }

    /// When the next hold ends.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.0.values().min().copied()
    }

    fn merge_tree(&self, previous: &Tables, next: &mut Tables, origin: ShortId, hops: &[Hop]) {
        let own = previous.us == Some(origin);
        let unchanged = previous.peers.get(&origin) == next.peers.get(&origin);
        let (true, Some(target)) = (own || unchanged, if own { next.us } else { Some(origin) })
        else {
            return;
        };
        let origin_held = self.0.contains_key(&origin);
        let mut tree = next.trees.remove(&target).unwrap_or_default();
        for hop in hops {
            let present = tree.iter().any(|kept| kept.id == hop.id);
            let wanted = origin_held || self.0.contains_key(&hop.id);
            if wanted && !present && next.path(hop.id) == Some(hop.path) {
                tree.push(*hop);
            }
        }
        tree.sort_unstable();
        if !tree.is_empty() {
            next.trees.insert(target, tree);
        }
    }
}

/// Whether `id` belongs to nobody else in `next`.
fn is_free(next: &Tables, id: ShortId, entry: &Entry) -> bool {
    next.peers.get(&id).is_none_or(|now| now.name == entry.name)
}

fn routed_names(tables: &Tables) -> impl Iterator<Item = PeerName> {
    let routed = |entry: &&Entry| matches!(entry.route, Route::Fastdp(Path { .. }) | Route::Sleeve);
    tables.peers.values().filter(routed).map(|entry| entry.name)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const US: PeerName = PeerName(1);
    const NOW: Duration = Duration::from_secs(1000);

    fn id(id: u16) -> ShortId {
        ShortId::try_from(id).unwrap()
    }

    fn path(host: u8) -> Path {
        Path {
            remote: Ipv4Addr::new(10, 0, 0, host),
            local: Ipv4Addr::new(10, 0, 0, 1),
            port: 6784,
        }
    }

    fn via(name: u64, host: u8) -> Entry {
        Entry {
            name: PeerName(name),
            route: Route::Fastdp(path(host)),
        }
    }

    fn hop(host: u8) -> Hop {
        Hop {
            id: id(host.into()),
            path: path(host),
        }
    }

    /// We are 1; neighbours 2 and 3; peer 4 behind 3.
    fn settled() -> Tables {
        let ours = Entry {
            name: US,
            route: Route::Us,
        };
        Tables {
            us: Some(id(1)),
            peers: BTreeMap::from([
                (id(1), ours),
                (id(2), via(2, 2)),
                (id(3), via(3, 3)),
                (id(4), via(4, 3)),
            ]),
            trees: BTreeMap::from([(id(1), vec![hop(2), hop(3)]), (id(2), vec![hop(3)])]),
            ..Tables::default()
        }
    }

    /// The routes after the connection to 3 is lost.
    fn without_three() -> Tables {
        let mut tables = settled();
        tables.peers.remove(&id(3));
        tables.peers.remove(&id(4));
        tables.trees = BTreeMap::from([(id(1), vec![hop(2)])]);
        tables
    }

    #[test]
    fn a_silent_neighbour_and_all_behind_it_are_kept() {
        let mut next = without_three();

        Holds::default().merge(NOW, US, &settled(), &mut next);

        assert_eq!(next, settled());
    }

    #[test]
    fn a_hold_ends_once_and_for_all() {
        let mut holds = Holds::default();
        let mut held = without_three();
        holds.merge(NOW, US, &settled(), &mut held);
        assert_eq!(holds.poll_timeout(), Some(NOW + HOLD));

        let mut still = without_three();
        holds.merge(NOW + HOLD / 2, US, &held, &mut still);
        assert_eq!(holds.poll_timeout(), Some(NOW + HOLD));
        assert_eq!(still, held);

        let mut over = without_three();
        holds.merge(NOW + HOLD, US, &held, &mut over);
        assert_eq!(over, without_three());
        assert_eq!(holds.poll_timeout(), None);
    }

    #[test]
    fn another_way_to_the_peer_replaces_the_held_one() {
        let mut next = without_three();
        next.peers.insert(id(3), via(3, 2));
        next.peers.insert(id(4), via(4, 2));
        let wanted = next.clone();
        let mut holds = Holds::default();

        holds.merge(NOW, US, &settled(), &mut next);

        assert_eq!(next, wanted);
        assert_eq!(holds.poll_timeout(), None);
    }

    #[test]
    fn a_short_id_taken_by_another_peer_is_not_held() {
        let mut next = without_three();
        next.peers.insert(id(3), via(9, 2));
        let mut holds = Holds::default();

        holds.merge(NOW, US, &settled(), &mut next);

        assert_eq!(next.peers[&id(3)], via(9, 2));
        assert_eq!(next.trees[&id(1)], [hop(2)]);
    }

    #[test]
    fn a_peer_back_under_another_id_is_reached_by_the_old_one_until_it_has_a_route() {
        let mut holds = Holds::default();
        let mut back = without_three();
        back.peers.insert(
            id(33),
            Entry {
                name: PeerName(3),
                route: Route::Unreachable,
            },
        );
        holds.merge(NOW, US, &settled(), &mut back);
        assert_eq!(back.path(id(3)), Some(path(3)));

        let mut routed = without_three();
        routed.peers.insert(id(33), via(3, 3));
        holds.merge(NOW, US, &back, &mut routed);

        assert!(!routed.peers.contains_key(&id(3)));
        assert_eq!(
            back.diff_to(&routed).macs,
            BTreeMap::from([(id(3), Some(id(33)))])
        );
    }

    #[test]
    fn a_held_hop_leaves_the_tree_of_an_origin_that_is_reached_another_way() {
        let mut next = without_three();
        next.peers.insert(id(2), via(2, 5));

        Holds::default().merge(NOW, US, &settled(), &mut next);

        assert!(!next.trees.contains_key(&id(2)));
        assert!(next.trees[&id(1)].contains(&hop(3)));
    }

    #[test]
    fn our_own_id_is_given_up_when_another_peer_wins_it() {
        let mut lost = settled();
        lost.us = None;
        lost.peers.insert(id(1), via(9, 2));
        lost.trees.clear();

        Holds::default().merge(NOW, US, &settled(), &mut lost);

        assert_eq!(lost.us, None);
        assert_eq!(lost.peers[&id(1)], via(9, 2));
        assert!(
            !lost.trees.contains_key(&id(1)),
            "no tree for frames of ours"
        );
    }

    #[test]
    fn our_own_id_and_tree_survive_until_the_mesh_gives_another() {
        let mut holds = Holds::default();
        let mut nothing = Tables::default();
        holds.merge(NOW, US, &settled(), &mut nothing);
        assert_eq!(nothing, settled());

        let mut renamed = settled();
        renamed.us = Some(id(11));
        let ours = renamed.peers.remove(&id(1)).unwrap();
        renamed.peers.insert(id(11), ours);
        let tree = renamed.trees.remove(&id(1)).unwrap();
        renamed.trees.insert(id(11), tree);
        let wanted = renamed.clone();
        holds.merge(NOW, US, &settled(), &mut renamed);

        assert_eq!(renamed.peers[&id(1)], ours, "late packets still find us");
        assert_eq!(renamed.trees, wanted.trees);
    }
}
