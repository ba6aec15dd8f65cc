//! Laws of what is kept instead of computed anew: graphs, broadcast tables, deltas, encodings;
//! named in `ALGORITHM.md`.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use weave_mesh::peer::{Head, Link, Links, PeerName, PeerRecord, ShortId, Uid};
use weave_mesh::topology::routes::{Graph, Relation};
use weave_mesh::topology::{Base, Topology};
use weave_mesh::wire::sync::{Body, RecordUpdate, Sync};
use weave_mesh::wire::update;

const PEERS: u8 = 9;

fn name(number: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, number])
}

fn link(established: bool) -> Link {
    Link {
        address: "10.0.0.1:6783".into(),
        outbound: true,
        established,
    }
}

/// One thing that happens to a topology.
#[derive(Debug, Clone)]
enum Step {
    /// A peer says: these are my connections.
    Says(PeerRecord),
    Connects(u8, bool),
    Establishes(u8),
    Loses(u8),
    Collects,
}

fn any_connections() -> impl Strategy<Value = Links> {
    let links = proptest::collection::btree_map(
        (1..=PEERS).prop_map(name),
        any::<bool>().prop_map(link),
        0..5,
    );
    links.prop_map(|links| links.into_iter().collect())
}

fn any_record(peers: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = PeerRecord> {
    let short_id = proptest::option::of(0_u16..4);
    (peers, 1_u64..3, 0_u64..6, short_id, any_connections()).prop_map(
        |(peer, uid, version, short_id, mut connections)| {
            connections.remove(&name(peer));
            PeerRecord {
                version,
                connections,
                short_id: short_id.and_then(|id| ShortId::try_from(id).ok()),
                ..PeerRecord::new(name(peer), "n", Uid(uid))
            }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_record(2..=PEERS).prop_map(Step::Says),
        2 => (2..=PEERS, any::<bool>()).prop_map(|(peer, established)| {
            Step::Connects(peer, established)
        }),
        1 => (2..=PEERS).prop_map(Step::Establishes),
        1 => (2..=PEERS).prop_map(Step::Loses),
        1 => Just(Step::Collects),
    ]
}

fn us() -> Topology {
    Topology::new(PeerRecord::new(name(1), "us", Uid(1)), 7)
}

fn take(topology: &mut Topology, step: &Step) {
    match step {
        Step::Says(record) => {
            let _ = topology.merge(vec![record.clone()]);
        }
        Step::Connects(peer, established) => {
            let _ = topology.insert_handshake(PeerRecord::new(name(*peer), "n", Uid(1)));
            topology.add_connection(name(*peer), link(*established));
        }
        Step::Establishes(peer) => {
            topology.establish(name(*peer));
        }
        Step::Loses(peer) => {
            topology.remove_connection(name(*peer));
        }
        Step::Collects => {
            let _ = topology.collect_garbage();
        }
    }
}

/// The connections of the graph, peer by peer.
fn edges(graph: &Graph, topology: &Topology) -> Vec<BTreeMap<PeerName, PeerName>> {
    let names = topology.records().map(|record| record.name);
    names.map(|name| graph.unicast(name)).collect()
}

proptest! {
    /// Law R4.
    #[test]
    fn a_kept_graph_is_the_graph_from_scratch(steps in vec((any_step(), any::<bool>()), 0..40)) {
        let mut topology = us();
        let mut kept =
            [Relation::All, Relation::Established].map(|relation| (relation, Graph::new(&topology, relation)));
        for (step, is_followed) in steps {
            take(&mut topology, &step);
            if !is_followed {
                continue;
            }
            for (relation, graph) in &mut kept {
                let before = graph.clone();
                let is_changed = graph.update(&topology);

                let new = Graph::new(&topology, *relation);
                prop_assert_eq!(edges(graph, &topology), edges(&new, &topology));
                for source in (1..=PEERS).map(name) {
                    prop_assert_eq!(
                        graph.broadcast_hops(name(1), source),
                        new.broadcast_hops(name(1), source)
                    );
                }
                if !is_changed {
                    prop_assert_eq!(edges(&before, &topology), edges(graph, &topology));
                }
                prop_assert!(!graph.update(&topology), "nothing has changed since");
            }
        }
    }

    /// Law R5.
    #[test]
    fn the_table_of_broadcasts_is_that_of_each_source(records in vec(any_record(1..=PEERS), 0..30)) {
        let mut topology = us();
        let _ = topology.merge(records);
        let graph = Graph::new(&topology, Relation::Established);
        for us in (1..=PEERS).map(name) {
            let table = graph.broadcast_table(us);

            let reached = graph.unicast(us);
            prop_assert!(table.keys().eq(reached.keys()));
            for (source, hops) in table {
                let expected: Vec<_> = graph.broadcast_hops(us, source).into_iter().collect();
                prop_assert_eq!(hops, expected, "broadcasts of {} at {}", source, us);
            }
        }
    }

    /// Law D1.
    #[test]
    fn a_delta_leads_to_the_record_it_was_made_of(
        changes in vec((any_connections(), proptest::option::of(0_u16..4)), 1..12),
        behind in any::<prop::sample::Index>(),
        base in any::<prop::sample::Index>(),
    ) {
        let mut owner = us();
        let mut versions = Vec::new();
        for (index, (connections, short_id)) in changes.iter().enumerate() {
            let record = PeerRecord {
                version: index as u64 + 1,
                connections: connections.clone(),
                short_id: short_id.and_then(|id| ShortId::try_from(id).ok()),
                ..PeerRecord::new(name(2), "n", Uid(1))
            };
            let _ = owner.merge(vec![record.clone()]);
            versions.push(record);
        }
        let old = behind.get(&versions);
        let mut follower = us();
        let _ = follower.merge(vec![old.clone()]);
        let base = match base.index(versions.len() + 2) {
            0 => Base::Nothing,
            1 => Base::Recent,
            version => Base::Version(version as u64 - 1),
        };

        let delta = owner.delta(name(2), base).unwrap();
        let message = Sync::Records(vec![delta.clone()]).emit();
        prop_assert_eq!(Sync::parse(&message), Ok(Sync::Records(vec![delta.clone()])));
        let synced = follower.merge_sync(vec![delta.clone()]);

        let newest = versions.last().unwrap();
        let is_usable = match &delta.body {
            Body::Whole { .. } => true,
            Body::Since { base, .. } => old.version >= *base,
        };
        let is_news = old.version < newest.version;
        prop_assert_eq!(synced.merged.news.contains(&name(2)), is_news && is_usable);
        prop_assert_eq!(synced.missing.contains(&name(2)), is_news && !is_usable);
        let expected = if is_usable { newest } else { old };
        prop_assert_eq!(follower.get(name(2)), Some(expected));
        // Who applied a delta can hand on another one.
        if let Some(next) = follower.delta(name(2), Base::Recent) {
            let mut third = us();
            let _ = third.merge(vec![expected.clone()]);
            prop_assert!(third.merge_sync(vec![next]).missing.is_empty());
        }
    }

    /// Law D2.
    #[test]
    fn a_kept_encoding_is_that_of_the_record(steps in vec(any_step(), 0..30)) {
        let mut topology = us();
        for step in steps {
            take(&mut topology, &step);
            for record in topology.records() {
                let kept = topology.encoded(record.name);
                prop_assert_eq!(kept, Some(&update::encode_record(record)));
            }
        }
    }

    /// Law D3.
    #[test]
    fn arbitrary_sync_messages_do_no_harm(
        body in vec(any::<u8>(), 0..200),
        kind in 0_u8..6,
        records in vec(any_record(1..=PEERS), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let damaged = [&[kind], &body[..]].concat();
        if let Ok(Sync::Records(records)) = Sync::parse(&damaged) {
            let _ = us().merge_sync(records);
        }
        let whole: Vec<_> = records
            .into_iter()
            .map(|record| RecordUpdate {
                head: record.head(),
                short_id: record.short_id,
                body: Body::Whole { nickname: record.nickname, connections: record.connections },
            })
            .collect();
        let bytes = Sync::Records(whole.clone()).emit();
        let end = cut.index(bytes.len());
        prop_assert!(Sync::parse(&bytes[..end]).is_err(), "a part of a message is refused");
        prop_assert_eq!(Sync::parse(&bytes), Ok(Sync::Records(whole)));
    }

    /// Law D4.
    #[test]
    fn heads_tell_what_a_merge_would_take(known in any_record(1..=3), offered in any_record(1..=3)) {
        let mut topology = us();
        let _ = topology.merge(vec![known]);
        let before: Vec<_> = topology.records().cloned().collect();
        let is_behind = topology.is_behind(offered.head());

        let merged = topology.merge(vec![offered.clone()]);

        prop_assert_eq!(is_behind, merged.news.contains(&offered.name) || merged.local_changed);
        let equal = |head: Head| before.iter().any(|record| record.head() == head);
        prop_assert!(!(is_behind && equal(offered.head())));
    }
}
