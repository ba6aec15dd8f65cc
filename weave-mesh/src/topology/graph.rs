//! The graph under one relation, kept in step with a topology and made for searching.
//!
//! Peers are numbered in the order of their names, so comparing numbers compares names. After a
//! change only the neighbours of the peers that changed are looked at again; what results equals a
//! graph made from scratch (`ALGORITHM.md`, law R4).

use std::collections::{BTreeMap, BTreeSet};

use super::Topology;
use super::routes::Relation;
use crate::peer::PeerName;

/// The graph under one relation.
#[derive(Debug, Clone)]
pub struct Graph {
    relation: Relation,
    names: Vec<PeerName>,
    neighbours: Vec<Vec<usize>>,
    /// The revision of the topology that this is the graph of.
    revision: u64,
}

impl Graph {
    /// The graph of a topology. Connections to peers that are not known do not count.
    #[must_use]
    pub fn new(topology: &Topology, relation: Relation) -> Self {
        let names: Vec<_> = topology.records().map(|record| record.name).collect();
        let neighbours: Vec<_> = topology
            .records()
            .map(|record| {
                let mut found = Vec::with_capacity(record.connections.len());
                for (remote, link) in &record.connections {
                    let counts = relation == Relation::All || link.established;
                    found.extend(names.binary_search(remote).ok().filter(|_| counts));
                }
                found
            })
            .collect();
        let mut graph = Self {
            relation,
            names,
            neighbours,
            revision: topology.revision(),
        };
        if relation == Relation::Established {
            graph.keep_symmetric();
        }
        graph
    }

    /// Follows the changes of the topology this graph was made from. Returns whether the graph is
    /// another one than before: a record can change without a change of the graph.
    pub fn update(&mut self, topology: &Topology) -> bool {
        if self.revision == topology.revision() {
            return false;
        }
        let Some(names) = topology.changes_since(self.revision) else {
            return self.rebuild(topology);
        };
        let (mut added, mut removed) = (Vec::new(), BTreeSet::new());
        for &name in &names {
            match (topology.get(name).is_some(), self.number(name)) {
                (true, None) => added.push(name),
                (false, Some(_)) => {
                    removed.insert(name);
                }
                _ => {}
            }
        }
        if added.len() > MAX_ADDED || names.len() > MAX_ADDED + self.names.len() / 4 {
            return self.rebuild(topology);
        }
        let has_members_changed = !(added.is_empty() && removed.is_empty());
        if has_members_changed {
            self.renumber(&added, &removed);
        }
        let mut is_changed = has_members_changed;
        for &name in names.iter().filter(|name| !removed.contains(*name)) {
            is_changed |= self.update_peer(topology, name);
        }
        for &name in &added {
            is_changed |= self.update_listers(topology, name);
        }
        self.revision = topology.revision();
        is_changed
    }

    /// Next hop from `us` to each peer that can be reached; the own entry is
    /// [`PeerName::UNKNOWN`]. Empty if `us` is not in the graph.
    #[must_use]
    pub fn unicast(&self, us: PeerName) -> BTreeMap<PeerName, PeerName> {
        let Some(start) = self.number(us) else {
            return BTreeMap::new();
        };
        let search = self.search(start, None);
        let hop = |hop: usize| {
            if hop == start {
                PeerName::UNKNOWN
            } else {
                self.names[hop]
            }
        };
        let routes = self.names.iter().zip(search.first_hop);
        routes
            .filter_map(|(name, first)| Some((*name, hop(first?))))
            .collect()
    }

    /// The neighbours to which `us` passes on what `source` broadcasts.
    #[must_use]
    pub fn broadcast_hops(&self, us: PeerName, source: PeerName) -> BTreeSet<PeerName> {
        let (Some(us), Some(source)) = (self.number(us), self.number(source)) else {
            return BTreeSet::new();
        };
        let search = self.search(source, Some(us));
        if !search.is_found {
            return BTreeSet::new();
        }
        let reached = |neighbour: &usize| search.first_hop[*neighbour].is_some();
        let hops = self.neighbours[us]
            .iter()
            .filter(|neighbour| !reached(neighbour));
        hops.map(|hop| self.names[*hop]).collect()
    }

    /// The peers that can be reached from `from`, itself included.
    #[must_use]
    pub fn reachable(&self, from: PeerName) -> BTreeSet<PeerName> {
        self.unicast(from).into_keys().collect()
    }

    /// Whether this is the graph of a topology at this moment, as far as its revision tells.
    pub(super) fn is_of(&self, topology: &Topology, relation: Relation) -> bool {
        self.relation == relation && self.revision == topology.revision()
    }

    /// Peers by number.
    pub(super) fn names(&self) -> &[PeerName] {
        &self.names
    }

    /// The neighbours of a peer, in order.
    pub(super) fn neighbours(&self, peer: usize) -> &[usize] {
        &self.neighbours[peer]
    }

    pub(super) fn number(&self, name: PeerName) -> Option<usize> {
        self.names.binary_search(&name).ok()
    }

    pub(super) fn relation(&self) -> Relation {
        self.relation
    }

    /// How many connections away the farthest peer is that can be reached from `start`.
    pub(super) fn eccentricity(&self, start: usize) -> usize {
        self.search(start, None).levels.saturating_sub(1)
    }

    fn rebuild(&mut self, topology: &Topology) -> bool {
        let new = Self::new(topology, self.relation);
        let is_changed = new.names != self.names || new.neighbours != self.neighbours;
        *self = new;
        is_changed
    }

    /// Inserts peers without neighbours and takes others out, keeping numbers in order of names.
    fn renumber(&mut self, added: &[PeerName], removed: &BTreeSet<PeerName>) {
        let old = std::mem::take(&mut self.names);
        let mut lists: BTreeMap<PeerName, Vec<usize>> = old
            .iter()
            .copied()
            .zip(std::mem::take(&mut self.neighbours))
            .filter(|(name, _)| !removed.contains(name))
            .collect();
        lists.extend(added.iter().map(|name| (*name, Vec::new())));
        (self.names, self.neighbours) = lists.into_iter().unzip();
        let numbers: Vec<_> = old.iter().map(|name| self.number(*name)).collect();
        for list in &mut self.neighbours {
            let kept = list.iter().filter_map(|peer| numbers[*peer]);
            *list = kept.collect();
        }
    }

    /// Brings the neighbours of one peer in line with its record.
    fn update_peer(&mut self, topology: &Topology, name: PeerName) -> bool {
        let (Some(record), Some(peer)) = (topology.get(name), self.number(name)) else {
            return false;
        };
        let mut new = Vec::with_capacity(record.connections.len());
        for (remote, link) in &record.connections {
            let counts = match self.relation {
                Relation::All => true,
                Relation::Established => {
                    link.established
                        && topology
                            .get(*remote)
                            .and_then(|remote| remote.connections.get(&name))
                            .is_some_and(|back| back.established)
                }
            };
            new.extend(self.number(*remote).filter(|_| counts));
        }
        let old = std::mem::replace(&mut self.neighbours[peer], new);
        if old == self.neighbours[peer] {
            return false;
        }
        if self.relation == Relation::Established {
            self.mirror(peer, &old);
        }
        true
    }

    /// After the neighbours of `peer` changed from `old`: makes each of them agree.
    fn mirror(&mut self, peer: usize, old: &[usize]) {
        let new = self.neighbours[peer].clone();
        for &gone in old.iter().filter(|old| new.binary_search(old).is_err()) {
            self.neighbours[gone].retain(|neighbour| *neighbour != peer);
        }
        for &added in &new {
            let list = &mut self.neighbours[added];
            if let Err(place) = list.binary_search(&peer) {
                list.insert(place, peer);
            }
        }
    }

    /// Adds the connections that others list to a peer that was not known until now.
    fn update_listers(&mut self, topology: &Topology, name: PeerName) -> bool {
        let mut is_changed = false;
        for record in topology.records() {
            if record.connections.contains_key(&name) {
                is_changed |= self.update_peer(topology, record.name);
            }
        }
        is_changed
    }

    fn keep_symmetric(&mut self) {
        let all = self.neighbours.clone();
        for (peer, neighbours) in self.neighbours.iter_mut().enumerate() {
            neighbours.retain(|neighbour| all[*neighbour].binary_search(&peer).is_ok());
        }
    }

    /// Searches breadth first until `stop` is taken out of its level.
    fn search(&self, start: usize, stop: Option<usize>) -> Search {
        let mut search = Search {
            is_found: false,
            levels: 0,
            first_hop: vec![None; self.names.len()],
        };
        search.first_hop[start] = Some(start);
        let mut level = vec![start];
        while !level.is_empty() {
            level.sort_unstable();
            search.levels += 1;
            let mut next = Vec::new();
            for current in level {
                if Some(current) == stop {
                    search.is_found = true;
                    return search;
                }
                for &neighbour in &self.neighbours[current] {
                    if search.first_hop[neighbour].is_none() {
                        let hop = if current == start {
                            Some(neighbour)
                        } else {
                            search.first_hop[current]
                        };
                        search.first_hop[neighbour] = hop;
                        next.push(neighbour);
                    }
                }
            }
            level = next;
        }
        search
    }
}

/// Where a search got to.
struct Search {
    /// Whether the peer to stop at was reached.
    is_found: bool,
    /// Levels begun, that of the start included.
    levels: usize,
    /// For each peer reached so far the first hop on the way to it; the start itself for the
    /// start.
    first_hop: Vec<Option<usize>>,
}

/// Peers that appear at a time above which it is cheaper to start over: for each of them all
/// records are searched for connections to it.
const MAX_ADDED: usize = 16;
