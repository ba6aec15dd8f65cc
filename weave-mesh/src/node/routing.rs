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
use crate::topology::routes::{Graph, Relation};

#[derive(Debug)]
pub(super) struct Routing {
    all: Relations,
    established: Relations,
    /// The graph changed elsewhere since these were computed.
    is_behind: bool,
    table: Arc<RouteTable>,
    is_table_stale: bool,
}

/// What is derived from the graph under one relation, as far as it was asked for.
#[derive(Debug, Default)]
struct Relations {
    graph: Option<Graph>,
    /// Next hop of every peer.
    unicast: Option<BTreeMap<PeerName, PeerName>>,
    /// Our next hops for broadcasts, by source.
    hops: BTreeMap<PeerName, BTreeSet<PeerName>>,
}

impl Routing {
    pub(super) fn new(us: PeerName) -> Self {
        Self {
            all: Relations::default(),
            established: Relations::default(),
            is_behind: false,
            table: Arc::new(RouteTable::empty(us)),
            is_table_stale: true,
        }
    }

    /// Our own connections changed: next hops are wrong from now on.
    pub(super) fn neighbours_changed(&mut self) {
        self.all = Relations::default();
        self.established = Relations::default();
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
        self.all.unicast(topology, Relation::All)
    }

    /// Our next hops for broadcasts of gossip from `source`.
    pub(super) fn hops(&mut self, topology: &Topology, source: PeerName) -> &BTreeSet<PeerName> {
        self.all.hops(topology, Relation::All, source)
    }

    /// Next hops over established connections.
    pub(super) fn established(&mut self, topology: &Topology) -> &BTreeMap<PeerName, PeerName> {
        self.established.unicast(topology, Relation::Established)
    }

    /// Our next hops for broadcasts of data from `source`.
    pub(super) fn data_hops(
        &mut self,
        topology: &Topology,
        source: PeerName,
    ) -> &BTreeSet<PeerName> {
        self.established
            .hops(topology, Relation::Established, source)
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
                let hops = self.data_hops(topology, name);
                table.broadcast.insert(name, hops.iter().copied().collect());
            }
        }
        table
    }
}

impl Relations {
    fn unicast(
        &mut self,
        topology: &Topology,
        relation: Relation,
    ) -> &BTreeMap<PeerName, PeerName> {
        let graph = self
            .graph
            .get_or_insert_with(|| Graph::new(topology, relation));
        self.unicast
            .get_or_insert_with(|| graph.unicast(topology.local().name))
    }

    fn hops(
        &mut self,
        topology: &Topology,
        relation: Relation,
        source: PeerName,
    ) -> &BTreeSet<PeerName> {
        let graph = self
            .graph
            .get_or_insert_with(|| Graph::new(topology, relation));
        let us = topology.local().name;
        self.hops
            .entry(source)
            .or_insert_with(|| graph.broadcast_hops(us, source))
    }
}
