//! The graph under one relation, kept in step with a topology and made for searching.
//!
//! Peers are numbered in the order of their names, so comparing numbers compares names. After a
//! change only the neighbours of the peers that changed are looked at again; what results equals a
//! graph made from scratch (`ALGORITHM.md`, law R4). Invariant: every list of numbers ascends.

use std::collections::{BTreeMap, BTreeSet};

use super::Topology;
use super::routes::Relation;
use crate::peer::{PeerName, PeerRecord};

/// The graph under one relation.
#[derive(Debug, Clone)]
pub struct Graph {
    relation: Relation,
    names: Vec<PeerName>,
    neighbours: Lists,
    /// Under [`Relation::Established`] whom each peer lists as established, whatever the other end
    /// says; else empty.
    claims: Lists,
    /// Peers that list somebody who is not known.
    with_gaps: BTreeSet<PeerName>,
    /// The revision of the topology that this is the graph of.
    revision: u64,
}

impl Graph {
    /// The graph of a topology. Connections to peers that are not known do not count.
    #[must_use]
    pub fn new(topology: &Topology, relation: Relation) -> Self {
        let names: Vec<_> = topology.records().map(|record| record.name).collect();
        let mut neighbours = Lists::with_capacity(names.len());
        let mut with_gaps = BTreeSet::new();
        for record in topology.records() {
            let listed = listed(&names, relation, record, &[]);
            if listed.has_gap {
                with_gaps.insert(record.name);
            }
            neighbours.push(listed.numbers);
        }
        let mut graph = Self {
            relation,
            names,
            neighbours,
            claims: Vec::new(),
            with_gaps,
            revision: topology.revision(),
        };
        if relation == Relation::Established {
            graph.claims.clone_from(&graph.neighbours);
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
        let has_members_changed = !(added.is_empty() && removed.is_empty());
        if has_members_changed {
            self.renumber(&added, &removed);
        }
        let mut is_changed = has_members_changed;
        for &name in names.iter().filter(|name| !removed.contains(*name)) {
            is_changed |= self.update_peer(topology, name);
        }
        if !added.is_empty() {
            // Others may have listed them before they were known.
            for name in std::mem::take(&mut self.with_gaps) {
                is_changed |= self.update_peer(topology, name);
            }
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
        let hops = self.neighbours(us).filter(|neighbour| !reached(neighbour));
        hops.map(|hop| self.names[hop]).collect()
    }

    /// The peers that can be reached from `from`, itself included.
    #[must_use]
    pub fn reachable(&self, from: PeerName) -> BTreeSet<PeerName> {
        self.unicast(from).into_keys().collect()
    }

    /// All peers, by the number of connections on the way from `from` to each; at the end those that
    /// cannot be reached.
    #[must_use]
    pub fn by_distance(&self, from: PeerName) -> Vec<PeerName> {
        let mut order: Vec<_> = self.number(from).into_iter().collect();
        let mut is_seen = vec![false; self.names.len()];
        for start in &order {
            is_seen[*start] = true;
        }
        let mut next = 0;
        while let Some(&peer) = order.get(next) {
            next += 1;
            for neighbour in self.neighbours(peer) {
                if !std::mem::replace(&mut is_seen[neighbour], true) {
                    order.push(neighbour);
                }
            }
        }
        order.extend((0..is_seen.len()).filter(|peer| !is_seen[*peer]));
        order.into_iter().map(|peer| self.names[peer]).collect()
    }

    /// Whether this is the graph of a topology at this moment, as far as its revision tells.
    pub(super) fn is_of(&self, topology: &Topology, relation: Relation) -> bool {
        self.relation == relation && self.revision == topology.revision()
    }

    /// How many peers there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Peers by number.
    pub(super) fn names(&self) -> &[PeerName] {
        &self.names
    }

    /// The neighbours of a peer, in order.
    pub(super) fn neighbours(&self, peer: usize) -> impl Iterator<Item = usize> {
        self.neighbours[peer].iter().map(|number| *number as usize)
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
        self.names = old
            .iter()
            .filter(|name| !removed.contains(*name))
            .copied()
            .collect();
        self.names.extend(added);
        self.names.sort_unstable();
        self.with_gaps.retain(|name| !removed.contains(name));
        let numbers: Vec<_> = old
            .iter()
            .map(|name| self.names.binary_search(name).ok().map(compact))
            .collect();
        for lists in [&mut self.neighbours, &mut self.claims] {
            let before = std::mem::take(lists);
            if before.is_empty() && !old.is_empty() {
                continue;
            }
            lists.resize(self.names.len(), Vec::new());
            for (mut list, number) in before.into_iter().zip(&numbers) {
                let Some(number) = *number else { continue };
                let length = list.len();
                if removed.is_empty() {
                    for peer in &mut list {
                        *peer = numbers[*peer as usize].unwrap_or(*peer);
                    }
                } else {
                    list.retain_mut(|peer| {
                        let kept = numbers[*peer as usize];
                        *peer = kept.unwrap_or(*peer);
                        kept.is_some()
                    });
                }
                if list.len() < length {
                    self.with_gaps.insert(self.names[number as usize]);
                }
                lists[number as usize] = list;
            }
        }
    }

    /// Brings the neighbours of one peer in line with its record.
    fn update_peer(&mut self, topology: &Topology, name: PeerName) -> bool {
        let (Some(record), Some(peer)) = (topology.get(name), self.number(name)) else {
            return false;
        };
        let before = match self.relation {
            Relation::All => &self.neighbours[peer],
            Relation::Established => &self.claims[peer],
        };
        let Listed {
            numbers: new,
            has_gap,
        } = listed(&self.names, self.relation, record, before);
        if has_gap {
            self.with_gaps.insert(name);
        } else {
            self.with_gaps.remove(&name);
        }
        if self.relation == Relation::All {
            let old = std::mem::replace(&mut self.neighbours[peer], new);
            return old != self.neighbours[peer];
        }
        let old = std::mem::replace(&mut self.claims[peer], new);
        let new = std::mem::take(&mut self.claims[peer]);
        let mut is_changed = false;
        for other in difference(&old, &new) {
            is_changed |= self.part(peer, other as usize);
        }
        for other in difference(&new, &old) {
            is_changed |= self.join(peer, other as usize);
        }
        self.claims[peer] = new;
        is_changed
    }

    /// `peer` lists `other` from now on: they are neighbours if that is mutual.
    fn join(&mut self, peer: usize, other: usize) -> bool {
        if peer == other {
            return insert(&mut self.neighbours[peer], compact(other));
        }
        if self.claims[other].binary_search(&compact(peer)).is_err() {
            return false;
        }
        insert(&mut self.neighbours[other], compact(peer));
        insert(&mut self.neighbours[peer], compact(other))
    }

    /// `peer` does not list `other` any more.
    fn part(&mut self, peer: usize, other: usize) -> bool {
        remove(&mut self.neighbours[other], compact(peer));
        remove(&mut self.neighbours[peer], compact(other)) || peer == other
    }

    fn keep_symmetric(&mut self) {
        for (peer, neighbours) in self.neighbours.iter_mut().enumerate() {
            let peer = compact(peer);
            neighbours.retain(|other| self.claims[*other as usize].binary_search(&peer).is_ok());
        }
    }

    /// Searches breadth first until `stop` is taken out of its level or everybody is reached.
    fn search(&self, start: usize, stop: Option<usize>) -> Search {
        let mut search = Search {
            is_found: false,
            levels: 0,
            first_hop: vec![None; self.names.len()],
        };
        search.first_hop[start] = Some(start);
        let mut missing = self.names.len() - 1;
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
                if missing == 0 {
                    // What is left of the search reaches nobody any more.
                    search.is_found = stop.is_some();
                    search.levels += usize::from(!next.is_empty());
                    return search;
                }
                for neighbour in self.neighbours(current) {
                    if search.first_hop[neighbour].is_none() {
                        let hop = if current == start {
                            Some(neighbour)
                        } else {
                            search.first_hop[current]
                        };
                        search.first_hop[neighbour] = hop;
                        missing -= 1;
                        next.push(neighbour);
                    }
                }
            }
            level = next;
        }
        search
    }
}

/// The number of a peer, in less space.
type Number = u32;
/// For each peer the numbers of others, ascending.
type Lists = Vec<Vec<Number>>;

/// Whom a record lists under a relation.
struct Listed {
    numbers: Vec<Number>,
    /// It lists somebody who is not known, too.
    has_gap: bool,
}

/// Whom a record lists under a relation, as numbers. `before` is what it listed earlier, or
/// nothing: most of it will be the same, and is then found at once.
fn listed(
    names: &[PeerName],
    relation: Relation,
    record: &PeerRecord,
    before: &[Number],
) -> Listed {
    let mut found = Vec::with_capacity(record.connections.len());
    let mut has_gap = false;
    let mut expected = before.iter().copied().peekable();
    let mut from = 0;
    for (remote, link) in &record.connections {
        if relation == Relation::Established && !link.established {
            continue;
        }
        let is_next = |number: &Number| names.get(*number as usize) == Some(remote);
        if let Some(number) = expected.next_if(is_next) {
            found.push(number);
            from = number as usize + 1;
            continue;
        }
        // Links are sorted too, so the rest of the names is enough.
        match search_from(names, from, *remote) {
            Ok(place) => {
                found.push(compact(place));
                from = place + 1;
            }
            Err(place) => {
                from = place;
                has_gap = true;
            }
        }
        while expected
            .next_if(|number| (*number as usize) < from)
            .is_some()
        {}
    }
    Listed {
        numbers: found,
        has_gap,
    }
}

/// Binary search in ever longer pieces from `from` on: what is looked for is mostly near.
fn search_from(names: &[PeerName], from: usize, name: PeerName) -> Result<usize, usize> {
    let (mut start, mut step) = (from, 1);
    while let Some(probe) = names.get(start + step - 1)
        && *probe < name
    {
        start += step;
        step *= 2;
    }
    let end = names.len().min(start + step);
    let place = names[start..end].binary_search(&name);
    place.map(|at| start + at).map_err(|at| start + at)
}

/// What is in one list and not in the other.
fn difference(list: &[Number], other: &[Number]) -> Vec<Number> {
    let mut other = other.iter().peekable();
    let mut found = Vec::new();
    for number in list {
        while other.next_if(|other| *other < number).is_some() {}
        if other.peek() != Some(&number) {
            found.push(*number);
        }
    }
    found
}

/// Puts a number into a list; false if it is there.
fn insert(list: &mut Vec<Number>, number: Number) -> bool {
    let place = list.binary_search(&number);
    if let Err(place) = place {
        list.insert(place, number);
    }
    place.is_err()
}

/// Takes a number out of a list; false if it is not there.
fn remove(list: &mut Vec<Number>, number: Number) -> bool {
    let place = list.binary_search(&number);
    if let Ok(place) = place {
        list.remove(place);
    }
    place.is_ok()
}

fn compact(index: usize) -> Number {
    Number::try_from(index).expect("invariant: there are at most MAX_PEERS numbers")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_come_in_the_order_of_their_distance() {
        let name = |n: u64| PeerName::try_from(n).unwrap();
        let link = || crate::peer::Link {
            address: "10.0.0.1:6783".into(),
            outbound: true,
            established: false,
        };
        // A line 5 - 1 - 4 - 2, and 3 that nobody is connected to.
        let record = |n: u64, to: &[u64]| PeerRecord {
            version: 1,
            connections: to.iter().map(|to| (name(*to), link())).collect(),
            ..PeerRecord::new(name(n), "", crate::peer::Uid(n))
        };
        let mut topology = Topology::new(record(5, &[1]), 1);
        let update = [(1, &[5, 4][..]), (4, &[1, 2]), (2, &[4]), (3, &[])];
        let _ = topology.merge(update.map(|(n, to)| record(n, to)).into());

        let order = Graph::new(&topology, Relation::All).by_distance(name(5));

        assert_eq!(order, [5, 1, 4, 2, 3].map(name));
    }

    #[test]
    fn a_search_finds_what_is_there_from_every_place() {
        let name = |n: usize| PeerName::try_from(2 * n as u64).unwrap();
        for count in 0..40 {
            let names: Vec<_> = (0..count).map(name).collect();
            for from in 0..=count {
                for wanted in 2 * from..=2 * count {
                    let wanted = PeerName::try_from(wanted as u64).unwrap();
                    let place = search_from(&names, from, wanted);
                    assert_eq!(place, names.binary_search(&wanted), "{wanted} of {count}");
                }
            }
        }
    }
}
