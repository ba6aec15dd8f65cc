//! Routes of one moment, computed when they are first asked for.
//!
//! A change of our own connections counts at once, a change somewhere else with the next
//! recalculation; nobody ever waits for one. The first of several changes is followed at once, the
//! others within [`pace`], in which a message may take an old route; that saves a calculation for
//! each of many updates in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::RouteTable;
use crate::peer::PeerName;
use crate::random::Random;
use crate::topology::Topology;
use crate::topology::routes::{self, Changed, Graph, Relation, Router};

#[derive(Debug)]
pub(super) struct Routing {
    router: Router,
    /// The graph may be another one than the routes were computed from, and that counts.
    is_stale: bool,
    /// A peer that was in reach may be so no more.
    is_reach_stale: bool,
    /// The graph changed elsewhere since the routes were computed.
    is_behind: bool,
    /// Neighbours with how many peers each leads to, once computed.
    weights: Option<Vec<(PeerName, u64)>>,
    /// What everybody who knows the same graph has in common, and the revision it is of.
    digest: Option<(u64, u64)>,
    table: Arc<RouteTable>,
    is_table_stale: bool,
    /// The data routes are others than those in the table.
    are_data_routes_stale: bool,
    /// The revision of the topology that the table is of.
    table_revision: u64,
    /// When there may be another recalculation.
    next_recalculation: Duration,
}

impl Routing {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            router: Router::new(topology),
            is_stale: false,
            is_reach_stale: false,
            is_behind: false,
            weights: None,
            digest: None,
            table: Arc::new(RouteTable::empty(topology.local().name)),
            is_table_stale: true,
            are_data_routes_stale: true,
            table_revision: 0,
            next_recalculation: Duration::ZERO,
        }
    }

    /// Our own connections changed: next hops are wrong from now on.
    pub(super) fn neighbours_changed(&mut self) {
        self.is_stale = true;
        self.is_reach_stale = true;
    }

    /// We have another connection: next hops are wrong from now on, but who was in reach is.
    pub(super) fn neighbour_added(&mut self) {
        self.is_stale = true;
    }

    /// The graph changed elsewhere; a recalculation will follow.
    pub(super) fn graph_changed(&mut self) {
        self.is_behind = true;
    }

    /// Everything is to be computed anew when it is next needed.
    pub(super) fn recalculate(&mut self, now: Duration) {
        self.next_recalculation = now + pace(self.peers());
        self.neighbours_changed();
        self.is_table_stale = true;
    }

    /// How many peers there were when the routes were computed.
    pub(super) fn peers(&self) -> usize {
        self.router.graph().len()
    }

    /// When a recalculation that is wanted now may be made.
    pub(super) fn recalculate_at(&self, now: Duration) -> Duration {
        self.next_recalculation.max(now)
    }

    /// The next hop to `name` over all connections. A route that is missing is looked for in the
    /// graph of this moment.
    pub(super) fn next_hop(&mut self, topology: &Topology, name: PeerName) -> Option<PeerName> {
        if self.is_behind && !self.all(topology).contains_key(&name) {
            self.is_stale = true;
        }
        self.all(topology).get(&name).copied()
    }

    /// Next hops over all connections.
    pub(super) fn all(&mut self, topology: &Topology) -> &BTreeMap<PeerName, PeerName> {
        self.current(topology).unicast(Relation::All)
    }

    /// Our next hops for broadcasts of gossip from `source`.
    pub(super) fn hops(&mut self, topology: &Topology, source: PeerName) -> &BTreeSet<PeerName> {
        self.current(topology).broadcast_hops(Relation::All, source)
    }

    /// Next hops over established connections.
    pub(super) fn established(&mut self, topology: &Topology) -> &BTreeMap<PeerName, PeerName> {
        self.current(topology).unicast(Relation::Established)
    }

    /// Our next hops for broadcasts of data from `source`.
    pub(super) fn data_hops(
        &mut self,
        topology: &Topology,
        source: PeerName,
    ) -> &BTreeSet<PeerName> {
        self.current(topology)
            .broadcast_hops(Relation::Established, source)
    }

    /// True if gossip has a way to `name`.
    pub(super) fn reaches(&mut self, topology: &Topology, name: PeerName) -> bool {
        let is_known = !self.is_reach_stale && {
            let kept = self.router.unicast(Relation::All);
            kept.contains_key(&name)
        };
        is_known || self.all(topology).contains_key(&name)
    }

    /// Draws the neighbours other than `except` to gossip with.
    pub(super) fn gossip_targets(
        &mut self,
        topology: &Topology,
        except: PeerName,
        random: &mut Random,
    ) -> Vec<PeerName> {
        if self.is_stale {
            self.at_this_moment(topology);
        }
        let router = &mut self.router;
        let weights = self.weights.get_or_insert_with(|| {
            let all = router.unicast(Relation::All);
            let weights = routes::gossip_weights(all, PeerName::UNKNOWN);
            weights.into_iter().collect()
        });
        let peers = router.unicast(Relation::All).len();
        let others = weights.iter().filter(|(name, _)| *name != except);
        routes::draw(others.copied().collect(), peers, random)
    }

    /// What is known of the graph, in one number: the sum of the fingerprints of the records of
    /// all peers that can be reached and have connected to somebody.
    pub(super) fn digest(&mut self, topology: &Topology) -> u64 {
        let revision = topology.revision();
        if let Some((of, digest)) = self.digest
            && of == revision
        {
            return digest;
        }
        let all = self.at_this_moment(topology).unicast(Relation::All);
        let shared = topology
            .records()
            .filter(|record| record.version > 0 && all.contains_key(&record.name));
        let digest = shared
            .map(|record| record.head().fingerprint())
            .fold(0, u64::wrapping_add);
        self.digest = Some((revision, digest));
        digest
    }

    /// Next hops in the graph of this moment.
    pub(super) fn all_at_this_moment(
        &mut self,
        topology: &Topology,
    ) -> &BTreeMap<PeerName, PeerName> {
        self.at_this_moment(topology).unicast(Relation::All)
    }

    /// The graph of all connections at this moment.
    pub(super) fn graph(&mut self, topology: &Topology) -> &Graph {
        self.at_this_moment(topology).graph()
    }

    /// How many routes and trees were computed so far.
    pub(super) fn calculations(&self) -> u64 {
        self.router.calculations()
    }

    /// The table for the data plane if it changed since the last call.
    pub(super) fn poll_table(&mut self, topology: &Topology) -> Option<Arc<RouteTable>> {
        if !std::mem::take(&mut self.is_table_stale) {
            return None;
        }
        self.at_this_moment(topology);
        let revision = topology.revision();
        let is_first = self.table_revision == 0;
        if !self.are_data_routes_stale && self.table_revision == revision && !is_first {
            return None;
        }
        let mut table = RouteTable::of(topology);
        if self.are_data_routes_stale {
            table.set_routes(&mut self.router);
        } else {
            table.unicast.clone_from(&self.table.unicast);
            table.broadcast.clone_from(&self.table.broadcast);
        }
        self.are_data_routes_stale = false;
        self.table_revision = revision;
        if table == *self.table {
            return None;
        }
        self.table = Arc::new(table);
        Some(Arc::clone(&self.table))
    }

    /// The routes, brought in step with the graph if that is due.
    fn current(&mut self, topology: &Topology) -> &mut Router {
        if self.is_stale {
            self.at_this_moment(topology);
        }
        &mut self.router
    }

    fn at_this_moment(&mut self, topology: &Topology) -> &mut Router {
        self.is_stale = false;
        self.is_reach_stale = false;
        self.is_behind = false;
        let Changed { all, established } = self.router.follow(topology);
        if all {
            self.weights = None;
        }
        self.are_data_routes_stale |= established;
        &mut self.router
    }
}

/// Time between two searches of the whole graph of so many peers, if nobody waits for them. What
/// they cost grows with the graph, so what they cost in a second does not.
pub(super) fn pace(peers: usize) -> Duration {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX);
    PACE.max(PACE_EACH.saturating_mul(peers)).min(MAX_PACE)
}

/// Least time between two searches.
const PACE: Duration = Duration::from_millis(100);
/// The same for each peer of a large mesh.
const PACE_EACH: Duration = Duration::from_micros(400);
/// Most time between two searches.
const MAX_PACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_of_a_large_mesh_is_searched_less_often() {
        let paces = [2, 250, 500, 1000, 16_384].map(|peers| pace(peers).as_millis());

        assert_eq!(paces, [100, 100, 200, 400, 1000]);
    }
}
