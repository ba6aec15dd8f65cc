//! What a change of the graph costs: `cargo bench -p weave-mesh --bench routes`.
//!
//! The graph has 1000 peers of 30 connections each, all established, at random; and 200 peers that
//! are all connected to each other.

use std::collections::{BTreeMap, BTreeSet};

use divan::{Bencher, black_box};
use weave_mesh::node::RouteTable;
use weave_mesh::peer::{Link, PeerName, PeerRecord, Uid};
use weave_mesh::random::Random;
use weave_mesh::topology::Topology;
use weave_mesh::topology::routes::{Graph, Relation, Router};

fn main() {
    divan::main();
}

/// Peers and connections of each.
const SIZES: [(usize, usize); 2] = [(1000, 30), (200, 199)];

fn name(number: usize) -> PeerName {
    PeerName::try_from(0x0a00_0000_0001 + number as u64).expect("a small number")
}

fn link() -> Link {
    Link {
        address: "10.0.0.1:6783".into(),
        outbound: true,
        established: true,
    }
}

/// Peers with about `degree` connections each, the same at both ends.
fn topology((peers, degree): (usize, usize)) -> Topology {
    let mut random = Random::new(1);
    let mut edges: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); peers];
    for peer in 0..peers {
        let mut next = peer;
        while edges[peer].len() < degree.min(peers - 1) {
            // All of them in turn, or others at random.
            next = match degree + 1 >= peers {
                true => (next + 1) % peers,
                false => usize::try_from(random.below(peers as u64)).unwrap_or(peer),
            };
            if next != peer {
                edges[peer].insert(next);
                edges[next].insert(peer);
            }
        }
    }
    let record = |(peer, others): (usize, &BTreeSet<usize>)| PeerRecord {
        version: 1,
        connections: others.iter().map(|other| (name(*other), link())).collect(),
        ..PeerRecord::new(name(peer), format!("host-{peer}.example.org"), Uid(1))
    };
    let records: Vec<_> = edges.iter().enumerate().map(record).collect();
    let mut topology = Topology::new(records[0].clone(), 1);
    let _ = topology.merge(records);
    topology
}

/// Peer 150 loses its connection to `other`, or has it again.
fn change(topology: &mut Topology, other: PeerName) {
    let far = topology
        .get(name(150))
        .expect("there are more peers")
        .clone();
    let mut connections = far.connections;
    if connections.remove(&other).is_none() {
        connections.insert(other, link());
    }
    let record = PeerRecord {
        version: far.version + 1,
        connections,
        ..far
    };
    let _ = topology.merge(vec![record]);
}

/// One record changes, its graph too: everything a peer hands out, from the change to the tables.
#[divan::bench(args = SIZES)]
fn one_change_to_all_tables(bencher: Bencher<'_, '_>, size: (usize, usize)) {
    let mut topology = topology(size);
    let mut router = Router::new(&topology);
    let mut old = RouteTable::of(&topology);
    old.set_routes(&mut router);
    let far = topology.get(name(150)).expect("there are more peers");
    let other = *far.connections.keys().next().expect("it has connections");
    bencher.bench_local(|| {
        change(&mut topology, other);
        assert!(router.follow(&topology).established);
        black_box(router.unicast(Relation::All).len());
        let mut table = RouteTable::of(&topology);
        table.set_routes(&mut router);
        black_box(table == old);
        std::mem::replace(&mut old, table)
    });
}

/// One record has another version and the same connections.
#[divan::bench(args = SIZES)]
fn one_change_that_routes_do_not_see(bencher: Bencher<'_, '_>, size: (usize, usize)) {
    let mut topology = topology(size);
    let mut router = Router::new(&topology);
    bencher.bench_local(|| {
        let far = topology
            .get(name(150))
            .expect("there are more peers")
            .clone();
        let version = far.version + 1;
        let _ = topology.merge(vec![PeerRecord { version, ..far }]);
        assert!(!router.follow(&topology).all);
        black_box(router.unicast(Relation::All).len())
    });
}

#[divan::bench(args = SIZES)]
fn graph_from_scratch(bencher: Bencher<'_, '_>, size: (usize, usize)) {
    let topology = topology(size);
    bencher.bench_local(|| Graph::new(&topology, Relation::Established));
}

#[divan::bench(args = SIZES)]
fn next_hops(bencher: Bencher<'_, '_>, size: (usize, usize)) {
    let topology = topology(size);
    let graph = Graph::new(&topology, Relation::Established);
    bencher.bench_local(|| graph.unicast(name(0)));
}

/// The broadcast trees of all sources, as the data plane needs them.
#[divan::bench(args = SIZES)]
fn broadcasts_of_all_sources(bencher: Bencher<'_, '_>, size: (usize, usize)) {
    let topology = topology(size);
    let graph = Graph::new(&topology, Relation::Established);
    bencher.bench_local(|| graph.broadcast_table(name(0)));
}

/// The same by one search for each source.
#[divan::bench(args = SIZES, sample_count = 5)]
fn broadcasts_source_by_source(bencher: Bencher<'_, '_>, size: (usize, usize)) {
    let topology = topology(size);
    let graph = Graph::new(&topology, Relation::Established);
    let names: Vec<_> = topology.records().map(|record| record.name).collect();
    bencher.bench_local(|| {
        let hops = names
            .iter()
            .map(|source| (*source, graph.broadcast_hops(name(0), *source)));
        hops.collect::<BTreeMap<_, _>>()
    });
}
