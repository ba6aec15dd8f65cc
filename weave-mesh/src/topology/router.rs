//! Routes that follow a topology, computed when they are asked for and not before.

use std::collections::{BTreeMap, BTreeSet};

use super::Topology;
use super::graph::Graph;
use super::routes::Relation;
use crate::peer::PeerName;

/// Routes of one peer under both relations, as of the last [`Router::follow`].
#[derive(Debug, Clone)]
pub struct Router {
    us: PeerName,
    all: Kept,
    established: Kept,
    broadcasts: Option<BTreeMap<PeerName, Vec<PeerName>>>,
    calculations: u64,
}

/// A graph and what was derived from it.
#[derive(Debug, Clone)]
struct Kept {
    graph: Graph,
    unicast: Option<BTreeMap<PeerName, PeerName>>,
    hops: BTreeMap<PeerName, BTreeSet<PeerName>>,
}

/// Under which relations the graph is another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// Under [`Relation::All`].
    pub all: bool,
    /// Under [`Relation::Established`].
    pub established: bool,
}

impl Router {
    /// Routes from the peer that holds `topology`.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        Self {
            us: topology.local().name,
            all: Kept::new(topology, Relation::All),
            established: Kept::new(topology, Relation::Established),
            broadcasts: None,
            calculations: 0,
        }
    }

    /// Takes in what changed in the topology since the last time. What was derived from a graph
    /// that did not change stays.
    pub fn follow(&mut self, topology: &Topology) -> Changed {
        let changed = Changed {
            all: self.all.follow(topology),
            established: self.established.follow(topology),
        };
        if changed.established {
            self.broadcasts = None;
        }
        changed
    }

    /// Next hop to each peer that can be reached; our own entry is [`PeerName::UNKNOWN`].
    pub fn unicast(&mut self, relation: Relation) -> &BTreeMap<PeerName, PeerName> {
        let kept = match relation {
            Relation::All => &mut self.all,
            Relation::Established => &mut self.established,
        };
        kept.unicast.get_or_insert_with(|| {
            self.calculations += 1;
            kept.graph.unicast(self.us)
        })
    }

    /// The neighbours to which we pass on what `source` broadcasts.
    pub fn broadcast_hops(&mut self, relation: Relation, source: PeerName) -> &BTreeSet<PeerName> {
        let kept = match relation {
            Relation::All => &mut self.all,
            Relation::Established => &mut self.established,
        };
        kept.hops.entry(source).or_insert_with(|| {
            self.calculations += 1;
            kept.graph.broadcast_hops(self.us, source)
        })
    }

    /// The neighbours to which we pass on broadcasts of data, for every source that reaches us.
    pub fn broadcast_table(&mut self) -> &BTreeMap<PeerName, Vec<PeerName>> {
        self.broadcasts.get_or_insert_with(|| {
            self.calculations += 1;
            self.established.graph.broadcast_table(self.us)
        })
    }

    /// The graph of [`Relation::All`].
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.all.graph
    }

    /// How many tables and trees were computed so far.
    #[must_use]
    pub fn calculations(&self) -> u64 {
        self.calculations
    }
}

impl Kept {
    fn new(topology: &Topology, relation: Relation) -> Self {
        Self {
            graph: Graph::new(topology, relation),
            unicast: None,
            hops: BTreeMap::new(),
        }
    }

    fn follow(&mut self, topology: &Topology) -> bool {
        let is_changed = self.graph.update(topology);
        if is_changed {
            self.unicast = None;
            self.hops.clear();
        }
        is_changed
    }
}
