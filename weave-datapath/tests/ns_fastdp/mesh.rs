//! Routes as the mesh computes them, for a graph of hosts.

use std::collections::{BTreeMap, BTreeSet};

use weave_datapath::{PeerName, ShortId, fastdp::Routes};

/// Undirected connections between hosts, by index.
pub(crate) type Graph = BTreeSet<(usize, usize)>;

pub(crate) fn name(host: usize) -> PeerName {
    PeerName(u64::try_from(host).unwrap() + 1)
}

pub(crate) fn short_id(host: usize) -> ShortId {
    ShortId::try_from(u16::try_from(host).unwrap() * 0x111 + 0x0a1).unwrap()
}

/// The routes of host `us`, as Weave Net's topology section describes them.
pub(crate) fn routes(us: usize, hosts: usize, graph: &Graph) -> Routes {
    let reached = distances(us, graph);
    let mut routes = Routes::default();
    for host in (0..hosts).filter(|host| reached.contains_key(host)) {
        routes.short_ids.insert(name(host), short_id(host));
        let hops = broadcast_hops(us, host, graph);
        let hops = hops.into_iter().map(name).collect();
        routes.broadcast.insert(name(host), hops);
        if host != us {
            let from = distances(host, graph);
            let next = neighbours(us, graph)
                .into_iter()
                .min_by_key(|n| (from[n], *n));
            routes.unicast.insert(name(host), name(next.unwrap()));
        }
    }
    routes
}

fn neighbours(of: usize, graph: &Graph) -> BTreeSet<usize> {
    let ends = graph.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
    ends.filter(|(a, _)| *a == of).map(|(_, b)| b).collect()
}

fn distances(from: usize, graph: &Graph) -> BTreeMap<usize, usize> {
    let mut distances = BTreeMap::from([(from, 0)]);
    let mut level = vec![from];
    for distance in 1.. {
        let next: BTreeSet<usize> = level
            .iter()
            .flat_map(|host| neighbours(*host, graph))
            .filter(|host| !distances.contains_key(host))
            .collect();
        if next.is_empty() {
            return distances;
        }
        distances.extend(next.iter().map(|host| (*host, distance)));
        level = next.into_iter().collect();
    }
    distances
}

/// Search from the source, level by level, ascending within a level, until it would expand us: our
/// hops are the neighbours not reached by then.
fn broadcast_hops(us: usize, source: usize, graph: &Graph) -> Vec<usize> {
    let mut reached = BTreeSet::from([source]);
    let mut level = vec![source];
    while !level.is_empty() {
        let mut next = BTreeSet::new();
        for host in level {
            let near = neighbours(host, graph);
            if host == us {
                return near.difference(&reached).copied().collect();
            }
            for neighbour in near {
                if reached.insert(neighbour) {
                    next.insert(neighbour);
                }
            }
        }
        level = next.into_iter().collect();
    }
    Vec::new()
}
