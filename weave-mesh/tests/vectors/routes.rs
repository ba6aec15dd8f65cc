use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{list, load, name};
use weave_mesh::peer::{Link, PeerName, PeerRecord, Uid};
use weave_mesh::random::Random;
use weave_mesh::topology::Topology;
use weave_mesh::topology::routes::{
    self, Graph, Relation, Routes, gossip_fanout, gossip_targets, gossip_weights,
};

fn records(graph: &Json) -> Vec<PeerRecord> {
    let link = |json: &Json| Link {
        address: "10.0.0.1:6783".into(),
        outbound: json["outbound"] == true,
        established: json["established"] == true,
    };
    let connections = |json| {
        list(json)
            .iter()
            .map(|json| (name(&json["to"]), link(json)))
    };
    let peers = list(&graph["peers"]).iter();
    peers
        .map(|peer| PeerRecord {
            version: 1,
            connections: connections(&peer["connections"]).collect(),
            ..PeerRecord::new(name(&peer["name"]), "", Uid(1))
        })
        .collect()
}

fn view(records: &[PeerRecord], us: PeerName) -> Topology {
    let local = records
        .iter()
        .find(|record| record.name == us)
        .expect("we are in the graph");
    let mut topology = Topology::new(local.clone(), 1);
    let _ = topology.merge(records.to_vec());
    topology
}

fn table(json: &Json) -> BTreeMap<PeerName, PeerName> {
    let entries = json.as_object().expect("a map").iter();
    entries
        .map(|(peer, hop)| (peer.parse().expect("a name"), name(hop)))
        .collect()
}

#[test]
fn every_view_has_the_recorded_routes() {
    let vectors = load("routes");
    let mut views = 0;

    for graph in list(&vectors["graphs"]) {
        let records = records(graph);
        for expected in list(&graph["views"]) {
            let title = format!("{} from {}", graph["name"], expected["self"]);
            let us = name(&expected["self"]);
            let topology = view(&records, us);

            let routes = Routes::new(&topology);

            assert_eq!(routes.unicast, table(&expected["unicast"]), "{title}");
            assert_eq!(
                routes.unicast_all,
                table(&expected["unicast_all"]),
                "{title}"
            );
            for (relation, key) in [
                (Relation::Established, "broadcast"),
                (Relation::All, "broadcast_all"),
            ] {
                let hops = expected[key].as_object().expect("a map");
                for (source, hops) in hops {
                    let hops: BTreeSet<_> = list(hops).iter().map(name).collect();
                    let source = source.parse().expect("a name");
                    let found = routes::broadcast_hops(&topology, relation, source);
                    assert_eq!(found, hops, "{title}: {key} of {source}");
                    let again = Graph::new(&topology, relation).broadcast_hops(us, source);
                    assert_eq!(again, found);
                }
            }
            views += 1;
        }
    }
    assert_eq!(views, 104);
}

#[test]
fn every_view_collects_the_recorded_garbage() {
    let vectors = load("routes");

    for graph in list(&vectors["graphs"]) {
        let records = records(graph);
        for expected in list(&graph["views"]) {
            let mut topology = view(&records, name(&expected["self"]));

            let removed: Vec<_> = topology
                .collect_garbage()
                .removed
                .iter()
                .map(|record| record.name)
                .collect();

            let garbage: Vec<_> = list(&expected["garbage_collected"])
                .iter()
                .map(name)
                .collect();
            assert_eq!(
                removed, garbage,
                "{} from {}",
                graph["name"], expected["self"]
            );
        }
    }
}

#[test]
fn gossip_goes_to_the_recorded_number_of_weighted_neighbours() {
    let vectors = load("routes");
    let mut random = Random::new(1);

    for graph in list(&vectors["graphs"]) {
        let records = records(graph);
        for expected in list(&graph["views"]) {
            let all = Routes::new(&view(&records, name(&expected["self"]))).unicast_all;
            for case in list(&expected["gossip_fanout"]) {
                let except = name(&case["except"]);
                let needed = case["needed"].as_u64().unwrap();
                let weights = gossip_weights(&all, except);
                let recorded = case["weights"].as_object().expect("a map").iter();
                let recorded: BTreeMap<PeerName, u64> = recorded
                    .map(|(hop, weight)| (hop.parse().unwrap(), weight.as_u64().unwrap()))
                    .collect();

                let targets = gossip_targets(&all, except, &mut random);

                assert_eq!(weights, recorded, "{} {case}", graph["name"]);
                assert_eq!(gossip_fanout(all.len(), weights.len()) as u64, needed);
                let distinct: BTreeSet<_> = targets.iter().collect();
                assert_eq!(distinct.len() as u64, needed, "{} {case}", graph["name"]);
                assert!(distinct.iter().all(|target| weights.contains_key(target)));
            }
        }
    }
}
