//! Routes of one moment, computed when they are first asked for.
//!
//! A change of our own connections counts at once, a change somewhere else with the next
//! recalculation; nobody ever waits for one. That costs at most 100 ms in which a message may take
//! an old route, and saves a calculation for each of many updates in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::RouteTable;
use crate::peer::PeerName;
use crate::topology::Topology;
use crate::topology::routes::{self, Graph, Relation};

#[derive(Debug)]
pub(super) struct Routing {
    /// Next hop of every peer over all connections.
    all: Option<BTreeMap<PeerName, PeerName>>,
    /// Next hop of every peer over connections both ends have established.
    established: Option<BTreeMap<PeerName, PeerName>>,
    /// Our next hops for broadcasts of gossip, by source.
    hops: BTreeMap<PeerName, BTreeSet<PeerName>>,
    /// The graph changed elsewhere since these were computed.
    is_behind: bool,
    table: Arc<RouteTable>,
    is_table_stale: bool,
}

impl Routing {
    pub(super) fn new(us: PeerName) -> Self {
        Self {
            all: None,
            established: None,
            hops: BTreeMap::new(),
            is_behind: false,
            table: Arc::new(RouteTable::empty(us)),
            is_table_stale: true,
        }
    }

    /// Our own connections changed: next hops are wrong from now on.
    pub(super) fn neighbours_changed(&mut self) {
        self.all = None;
        self.established = None;
        self.hops.clear();
        self.is_behind = false;
    }

    /// The graph changed elsewhere; a recalculation will follow.
    pub(super) fn graph_changed(&mut self) {
        self.is_behind = true;
    }

    /// Everything is to be computed anew when it is next needed.
    pub(super) fn recalculate(&mut self) {
        self.neighbours_changed();
        self.is_table_stale = true;
    }

    /// The next hop to `name` over all connections. A route that is missing is looked for in the
    /// graph of this moment.
    pub(super) fn next_hop(&mut self, topology: &Topology, name: PeerName) -> Option<PeerName> {
        if self.is_behind && !self.all(topology).contains_key(&name) {
            self.neighbours_changed();
        }
        self.all(topology).get(&name).copied()
    }

    /// Next hops over all connections.
    pub(super) fn all(&mut self, topology: &Topology) -> &BTreeMap<PeerName, PeerName> {
        self.all
            .get_or_insert_with(|| routes::unicast(topology, Relation::All))
    }

    /// Our next hops for broadcasts of gossip from `source`.
    pub(super) fn hops(&mut self, topology: &Topology, source: PeerName) -> &BTreeSet<PeerName> {
        self.hops
            .entry(source)
            .or_insert_with(|| routes::broadcast_hops(topology, Relation::All, source))
    }

    /// Next hops over established connections.
    pub(super) fn established(&mut self, topology: &Topology) -> &BTreeMap<PeerName, PeerName> {
        self.established
            .get_or_insert_with(|| routes::unicast(topology, Relation::Established))
    }

    /// True if data packets have a way to `name`.
    pub(super) fn reaches(&mut self, topology: &Topology, name: PeerName) -> bool {
        self.established(topology).contains_key(&name)
    }

    /// The table for the data plane if it changed since the last call.
    pub(super) fn poll_table(&mut self, topology: &Topology) -> Option<Arc<RouteTable>> {
        if !std::mem::take(&mut self.is_table_stale) {
            return None;
        }
        let table = self.build_table(topology);
        if table == *self.table {
            return None;
        }
        self.table = Arc::new(table);
        Some(Arc::clone(&self.table))
    }

    fn build_table(&mut self, topology: &Topology) -> RouteTable {
        let us = topology.local().name;
        let unicast = self.established(topology);
        let unicast: BTreeMap<_, _> = unicast
            .iter()
            .filter(|(destination, _)| **destination != us)
            .map(|(destination, hop)| (*destination, *hop))
            .collect();
        let mut table = RouteTable {
            unicast,
            ..RouteTable::empty(us)
        };
        let graph = Graph::new(topology, Relation::Established);
        for record in topology.records() {
            let name = record.name;
            table.known.insert(name);
            table.nicknames.insert(name, record.nickname.clone());
            if let Some(id) = record.short_id
                && topology.by_short_id(id) == Some(name)
            {
                table.short_ids.insert(name, id);
            }
            // Broadcasts of a peer we have no data route to cannot reach us.
            if name == us || table.unicast.contains_key(&name) {
                let hops = graph.broadcast_hops(us, name);
                table.broadcast.insert(name, hops.into_iter().collect());
            }
        }
        table
    }
}
