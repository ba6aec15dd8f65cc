//! From routes and live connections to the tables the kernel should have. A pure function.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Hop, Path, PeerName, Route, ShortId, Tables};

/// What the mesh knows about the way to every peer (established and symmetric connections only).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    /// Short id of each peer that owns one, us included.
    pub short_ids: BTreeMap<PeerName, ShortId>,
    /// Next hop towards each destination.
    pub unicast: BTreeMap<PeerName, PeerName>,
    /// For each source, us included, the neighbours that get our copies of its broadcasts.
    pub broadcast: BTreeMap<PeerName, Vec<PeerName>>,
}

impl Routes {
    /// The same, but a short id that several peers claim is of the one with the lowest name, and the
    /// others have none: nothing can be sent to or from them by the tunnel until they have taken
    /// another.
    pub(super) fn settled(mut self) -> Self {
        let mut taken = BTreeSet::new();
        // Ascending by name.
        self.short_ids.retain(|_, id| taken.insert(*id));
        self
    }
}

/// A direct neighbour as the overlay sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Short id stated in the handshake; the mesh's own view of it wins.
    pub(super) id: Option<ShortId>,
    pub(super) carrier: Carrier,
}

/// How frames get to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// By the tunnel.
    Fastdp(Path),
    /// By sleeve.
    Sleeve,
    /// Not at all.
    None,
}

/// The tables for `us` with these routes over these neighbours.
///
/// Neighbours whose id no other peer owns are entered even before the routes know them, so that
/// their heartbeats are let in.
pub(super) fn tables(
    us: PeerName,
    routes: &Routes,
    neighbours: &BTreeMap<PeerName, Neighbour>,
) -> Tables {
    let carrier = |name: &PeerName| neighbours.get(name).map_or(Carrier::None, |n| n.carrier);
    let route = |name: &PeerName| {
        if *name == us {
            return Route::Us;
        }
        match routes.unicast.get(name).map_or(Carrier::None, carrier) {
            Carrier::Fastdp(path) => Route::Fastdp(path),
            Carrier::Sleeve => Route::Sleeve,
            Carrier::None => Route::Unreachable,
        }
    };

    let mut tables = Tables {
        us: routes.short_ids.get(&us).copied(),
        ..Tables::default()
    };
    for (name, id) in &routes.short_ids {
        let entry = Entry {
            name: *name,
            route: route(name),
        };
        tables.peers.insert(*id, entry);
    }
    for (name, neighbour) in neighbours {
        let unknown = !routes.short_ids.contains_key(name);
        if let (true, Some(id)) = (unknown, neighbour.id) {
            tables.peers.entry(id).or_insert_with(|| Entry {
                name: *name,
                route: route(name),
            });
        }
    }
    for (source, hops) in &routes.broadcast {
        let Some(origin) = routes.short_ids.get(source) else {
            continue;
        };
        if hops.iter().any(|name| carrier(name) == Carrier::Sleeve) {
            tables.sleeve_trees.insert(*origin);
        }
        let hop = |name: &PeerName| match carrier(name) {
            Carrier::Fastdp(path) => Some(Hop {
                id: *routes.short_ids.get(name)?,
                path,
            }),
            Carrier::Sleeve | Carrier::None => None,
        };
        let mut hops: Vec<Hop> = hops.iter().filter_map(hop).collect();
        hops.sort_unstable();
        hops.dedup();
        if !hops.is_empty() {
            tables.trees.insert(*origin, hops);
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const US: PeerName = PeerName(1);
    const NEAR: PeerName = PeerName(2);
    const FAR: PeerName = PeerName(3);

    fn id(id: u16) -> ShortId {
        ShortId::try_from(id).unwrap()
    }

    fn near(usable: bool) -> (Path, BTreeMap<PeerName, Neighbour>) {
        let path = Path {
            remote: Ipv4Addr::new(10, 0, 0, 2),
            local: Ipv4Addr::new(10, 0, 0, 1),
            port: 6784,
        };
        let neighbour = Neighbour {
            id: Some(id(20)),
            carrier: if usable {
                Carrier::Fastdp(path)
            } else {
                Carrier::None
            },
        };
        (path, BTreeMap::from([(NEAR, neighbour)]))
    }

    fn line() -> Routes {
        Routes {
            short_ids: BTreeMap::from([(US, id(10)), (NEAR, id(20)), (FAR, id(30))]),
            unicast: BTreeMap::from([(NEAR, NEAR), (FAR, NEAR)]),
            broadcast: BTreeMap::from([(US, vec![NEAR]), (NEAR, vec![]), (FAR, vec![])]),
        }
    }

    #[test]
    fn far_peers_are_reached_through_the_neighbour() {
        let (path, neighbours) = near(true);

        let tables = tables(US, &line(), &neighbours);

        assert_eq!(tables.us, Some(id(10)));
        assert_eq!(tables.peers[&id(10)].route, Route::Us);
        assert_eq!(tables.path(id(20)), Some(path));
        assert_eq!(tables.path(id(30)), Some(path));
        assert_eq!(
            tables.trees,
            BTreeMap::from([(id(10), vec![Hop { id: id(20), path }])])
        );
    }

    #[test]
    fn an_unusable_neighbour_carries_nothing() {
        let tables = tables(US, &line(), &near(false).1);

        assert_eq!(tables.peers[&id(30)].route, Route::Unreachable);
        assert!(tables.trees.is_empty());
    }

    #[test]
    fn what_lies_behind_a_sleeve_neighbour_goes_by_sleeve() {
        let (_, mut neighbours) = near(true);
        for neighbour in neighbours.values_mut() {
            neighbour.carrier = Carrier::Sleeve;
        }

        let tables = tables(US, &line(), &neighbours);

        assert_eq!(tables.peers[&id(20)].route, Route::Sleeve);
        assert_eq!(tables.peers[&id(30)].route, Route::Sleeve);
        assert!(tables.trees.is_empty());
        assert_eq!(tables.sleeve_trees, [id(10)].into_iter().collect());
    }

    #[test]
    fn a_contested_short_id_is_of_the_lowest_name() {
        let mut routes = line();
        routes.short_ids.insert(FAR, id(20));
        let neighbours = near(true).1;

        let contested = routes.clone().settled();
        let known = tables(US, &contested, &neighbours);
        assert_eq!(known.peers[&id(20)].name, NEAR);
        assert_eq!(known.peers.len(), 2, "FAR has no short id");

        routes.short_ids.insert(US, id(20));
        let ours = tables(US, &routes.clone().settled(), &neighbours);
        assert_eq!(ours.us, Some(id(20)));
        assert_eq!(ours.peers[&id(20)].route, Route::Us);

        routes.short_ids.insert(PeerName(0), id(20));
        let lost = tables(US, &routes.settled(), &neighbours);
        assert_eq!(lost.us, None, "nothing leaves under an id of another peer");
    }

    #[test]
    fn a_neighbour_is_known_before_the_routes_know_it() {
        let mut routes = Routes {
            short_ids: BTreeMap::from([(US, id(10))]),
            ..Routes::default()
        };
        let neighbours = near(true).1;

        let known = tables(US, &routes, &neighbours);
        assert_eq!(known.peers[&id(20)].name, NEAR);
        assert_eq!(known.peers[&id(20)].route, Route::Unreachable);

        routes.short_ids.insert(FAR, id(20));
        let contested = tables(US, &routes, &neighbours);
        assert_eq!(contested.peers[&id(20)].name, FAR);
    }
}
