//! Laws of merging, collecting and routing, named in `ALGORITHM.md`.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use weave_mesh::peer::{Link, Links, PeerName, PeerRecord, ShortId, Uid};
use weave_mesh::random::Random;
use weave_mesh::topology::Topology;
use weave_mesh::topology::routes::{self, Graph, Relation};
use weave_mesh::wire::update;

const PEERS: u8 = 8;

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

/// Something a peer may have said: its content follows from peer, incarnation, version and
/// whether it has a short id, as an honest owner's would.
fn said(peer: u8, uid: u64, version: u64, has_short_id: bool) -> PeerRecord {
    let mut random = Random::new(u64::from(peer) << 32 | uid << 16 | version);
    let mut connections = Links::new();
    for remote in (1..=PEERS).filter(|remote| *remote != peer) {
        if version > 0 && random.below(3) == 0 {
            connections.insert(name(remote), link(random.below(2) == 0));
        }
    }
    // Few ids, so that they collide.
    let short_id = u16::try_from(random.below(4))
        .ok()
        .and_then(|id| ShortId::try_from(id).ok());
    PeerRecord {
        version,
        short_id: short_id.filter(|_| has_short_id),
        connections,
        ..PeerRecord::new(name(peer), format!("{peer}/{uid}/{version}"), Uid(uid))
    }
}

fn any_record() -> impl Strategy<Value = PeerRecord> {
    (1..=PEERS, 1_u64..4, 0_u64..5, any::<bool>())
        .prop_map(|(peer, uid, version, has_short_id)| said(peer, uid, version, has_short_id))
}

/// Us: peer 1, connected to 2 and 3, and with 8 in a handshake.
fn start(short_id: Option<u16>) -> Topology {
    let local = PeerRecord {
        version: 2,
        short_id: short_id.and_then(|id| ShortId::try_from(id).ok()),
        connections: [(name(2), link(true)), (name(3), link(false))].into(),
        ..PeerRecord::new(name(1), "us", Uid(2))
    };
    let mut topology = Topology::new(local, 7);
    for remote in [2, 3, 8] {
        let _ = topology.insert_handshake(PeerRecord::new(name(remote), "", Uid(1)));
        assert!(topology.retain(name(remote)));
    }
    topology
}

fn table(topology: &Topology) -> Vec<PeerRecord> {
    topology.records().cloned().collect()
}

/// A graph on the peers 1 to 8 as `us` holds it: bit by bit who lists whom, and which of the
/// listed connections count as established.
fn graph(us: u8, listed: &[bool], established: &[bool]) -> Topology {
    let mut records: Vec<_> = (1..=PEERS)
        .map(|peer| PeerRecord::new(name(peer), "", Uid(1)))
        .collect();
    let pairs = (0..PEERS).flat_map(|from| (0..PEERS).map(move |to| (from, to)));
    for ((from, to), (&is_listed, &is_established)) in pairs.zip(listed.iter().zip(established)) {
        if from != to && is_listed {
            let connections = &mut records[usize::from(from)].connections;
            connections.insert(name(to + 1), link(is_established));
        }
    }
    let mut topology = Topology::new(records[usize::from(us - 1)].clone(), 7);
    let _ = topology.merge(records);
    topology
}

fn any_graph() -> impl Strategy<Value = Topology> {
    let cells = usize::from(PEERS * PEERS);
    let bits = move |chance| vec(proptest::bool::weighted(chance), cells);
    (1..=PEERS, 0.05_f64..0.6).prop_flat_map(move |(us, density)| {
        (bits(density), bits(0.8))
            .prop_map(move |(listed, established)| graph(us, &listed, &established))
    })
}

/// Whether data or gossip may go from `a` to `b`, straight from the definition.
fn is_edge(topology: &Topology, relation: Relation, a: PeerName, b: PeerName) -> bool {
    let lists = |a: PeerName, b: PeerName| topology.get(a).and_then(|a| a.connections.get(&b));
    match relation {
        Relation::All => lists(a, b).is_some(),
        Relation::Established => [lists(a, b), lists(b, a)]
            .into_iter()
            .all(|link| link.is_some_and(|l| l.established)),
    }
}

/// Routes from `us` by relaxing distances until nothing changes, then following parents: the
/// parent of a peer is the lowest name one step closer to us.
fn brute_force(
    topology: &Topology,
    relation: Relation,
    us: PeerName,
) -> BTreeMap<PeerName, PeerName> {
    let names: Vec<_> = topology.records().map(|record| record.name).collect();
    let mut distance = BTreeMap::from([(us, 0_usize)]);
    for _ in &names {
        for &a in &names {
            for &b in names.iter().filter(|b| is_edge(topology, relation, a, **b)) {
                if let Some(via) = distance.get(&a).map(|distance| distance + 1) {
                    let best = distance.entry(b).or_insert(via);
                    *best = via.min(*best);
                }
            }
        }
    }
    let parent = |peer: PeerName| {
        let closer = names
            .iter()
            .filter(|a| distance.get(a).is_some_and(|d| d + 1 == distance[&peer]));
        *closer
            .filter(|a| is_edge(topology, relation, **a, peer))
            .min()
            .expect("there is a parent")
    };
    let mut routes = BTreeMap::new();
    for &peer in distance.keys() {
        let mut hop = peer;
        while peer != us && parent(hop) != us {
            hop = parent(hop);
        }
        routes.insert(peer, if peer == us { PeerName::UNKNOWN } else { hop });
    }
    routes
}

proptest! {
    /// Law T1.
    #[test]
    fn merging_again_changes_nothing(update in vec(any_record(), 0..12)) {
        let mut topology = start(Some(1));
        let _ = topology.merge(update.clone());
        let before = table(&topology);

        let merged = topology.merge(update);

        prop_assert!(merged.news.is_empty());
        prop_assert!(!merged.local_changed && merged.short_id_changes.is_empty());
        prop_assert_eq!(table(&topology), before);
    }

    /// Law T6.
    #[test]
    fn bytes_are_merged_like_the_records_in_them(updates in vec(vec(any_record(), 0..6), 1..6)) {
        let (mut records, mut bytes) = (start(Some(1)), start(Some(1)));
        for update in updates {
            let encoded = update::encode(&update);

            prop_assert_eq!(bytes.merge_update(&encoded), Ok(records.merge(update)));
            prop_assert_eq!(table(&bytes), table(&records));
        }
    }

    /// Law T2.
    #[test]
    fn the_order_of_updates_does_not_matter_after_collection(
        (records, shuffled) in vec(any_record(), 0..16)
            .prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle())),
        chunk in 1_usize..5,
    ) {
        let (mut one, mut other) = (start(None), start(None));
        let _ = one.merge(records);
        for update in shuffled.chunks(chunk) {
            let _ = other.merge(update.to_vec());
        }
        // Placeholders of records that have been superseded last until they are collected.
        let _ = (one.collect_garbage(), other.collect_garbage());

        // Our version counts how often we had to supersede ourselves; nothing else may differ.
        let others = |topology: &Topology| -> Vec<_> {
            table(topology).into_iter().filter(|record| record.name != name(1)).collect()
        };
        prop_assert_eq!(others(&one), others(&other));
        prop_assert_eq!(&one.local().connections, &other.local().connections);
    }

    /// Law T3.
    #[test]
    fn a_record_is_only_ever_replaced_by_one_that_supersedes_it(
        updates in vec(vec(any_record(), 0..4), 0..8),
    ) {
        let mut topology = start(Some(1));
        for update in updates {
            let before = table(&topology);
            let merged = topology.merge(update);
            for old in before.iter().filter(|old| old.name != name(1)) {
                let new = topology.get(old.name).unwrap();
                prop_assert_eq!(merged.news.contains(&old.name), new != old);
                prop_assert!(new == old || new.supersedes(old));
            }
        }
    }

    /// Law T4.
    #[test]
    fn our_record_stands_above_what_others_remember_of_us(
        versions in vec((1_u64..4, prop_oneof![0_u64..9, Just(u64::MAX)]), 0..6),
    ) {
        let mut topology = start(Some(1));
        let connections = topology.local().connections.clone();
        for (uid, version) in versions {
            let remembered = PeerRecord { version, ..said(1, uid, 1, true) };
            let before = topology.local().version;

            let merged = topology.merge(vec![remembered.clone()]);

            let local = topology.local();
            let is_raised = uid != 2 && version >= before && before < u64::MAX;
            prop_assert_eq!(merged.local_changed, is_raised);
            prop_assert_eq!(local.version > before, is_raised);
            if uid != 2 {
                prop_assert!(local.version > version || local.version == u64::MAX);
            }
            prop_assert!(local.version >= before);
            prop_assert_eq!(&local.connections, &connections);
            prop_assert!(!merged.news.contains(&name(1)));
        }
    }

    /// Law T5.
    #[test]
    fn a_collection_leaves_what_is_reachable_or_retained(
        updates in vec(vec(any_record(), 0..4), 0..8),
    ) {
        let mut topology = start(Some(1));
        for update in updates {
            let _ = topology.merge(update);
            let reachable: BTreeSet<_> =
                brute_force(&topology, Relation::All, name(1)).into_keys().collect();
            let before: BTreeSet<_> = topology.records().map(|record| record.name).collect();

            let removed: BTreeSet<_> =
                topology.collect_garbage().removed.iter().map(|record| record.name).collect();

            let kept = BTreeSet::from([name(1), name(2), name(3), name(8)]);
            let expected: BTreeSet<_> =
                before.iter().filter(|n| !reachable.contains(n) && !kept.contains(n)).collect();
            prop_assert_eq!(removed.iter().collect::<BTreeSet<_>>(), expected);
            prop_assert!(topology.collect_garbage().removed.is_empty());
        }
    }

    /// Law S1.
    #[test]
    fn the_lowest_claimant_owns_a_short_id_and_we_own_ours(
        updates in vec((vec(any_record(), 0..4), any::<bool>()), 0..8),
    ) {
        // Peer 1 is us here too, and the lowest name; a foreign name below it contests our id.
        let mut topology = start(Some(1));
        let below = PeerRecord {
            short_id: ShortId::try_from(1).ok(),
            ..PeerRecord::new(PeerName::from_bytes([1, 0, 0, 0, 0, 0]), "", Uid(1))
        };
        let effects = topology.insert_handshake(below);
        prop_assert!(effects.local_changed);
        for (update, is_collected) in updates {
            let _ = topology.merge(update);
            if is_collected {
                let _ = topology.collect_garbage();
            }
            let local_id = topology.local().short_id;
            let ids = (0..4).filter_map(|id| ShortId::try_from(id).ok()).chain(local_id);
            for id in ids {
                let claimants = topology
                    .records()
                    .filter(|record| record.short_id == Some(id));
                prop_assert_eq!(topology.by_short_id(id), claimants.map(|r| r.name).min());
            }
            let ours = topology.local().short_id.unwrap();
            prop_assert_eq!(topology.by_short_id(ours), Some(name(1)));
        }
    }

    /// Law S2.
    #[test]
    fn a_short_id_that_stands_for_somebody_else_is_reported(
        updates in vec((vec(any_record(), 0..4), any::<bool>()), 0..8),
    ) {
        let mut topology = start(None);
        let ids: Vec<_> = (0..4).map(|id| ShortId::try_from(id).unwrap()).collect();
        let mut last_owner = BTreeMap::new();
        for (update, is_collected) in updates {
            let mut changes = topology.merge(update).short_id_changes;
            if is_collected {
                changes.extend(topology.collect_garbage().short_id_changes);
            }
            for &id in &ids {
                let Some(owner) = topology.by_short_id(id) else { continue };
                let is_other = last_owner.insert(id, owner).is_some_and(|last| last != owner);
                prop_assert!(!is_other || changes.contains(&id));
            }
        }
    }

    /// Law R1.
    #[test]
    fn next_hops_are_those_of_a_brute_force_search(topology in any_graph()) {
        let us = topology.local().name;
        for relation in [Relation::All, Relation::Established] {
            let routes = routes::unicast(&topology, relation);

            prop_assert_eq!(routes, brute_force(&topology, relation, us));
        }
    }

    /// Law R2.
    #[test]
    fn a_broadcast_reaches_every_peer_once(topology in any_graph(), source in 1..=PEERS) {
        let source = name(source);
        for relation in [Relation::All, Relation::Established] {
            let graph = Graph::new(&topology, relation);
            let mut receipts: Vec<PeerName> = Vec::new();
            let mut senders = vec![source];
            while let Some(sender) = senders.pop() {
                let hops = graph.broadcast_hops(sender, source);
                receipts.extend(&hops);
                senders.extend(hops);
                prop_assert!(receipts.len() <= usize::from(PEERS));
            }

            receipts.push(source);
            receipts.sort_unstable();
            let reachable: Vec<_> =
                brute_force(&topology, relation, source).into_keys().collect();
            prop_assert_eq!(receipts, reachable);
        }
    }

    /// Law R3.
    #[test]
    fn gossip_goes_to_distinct_neighbours(topology in any_graph(), seed in any::<u64>()) {
        let all = routes::unicast(&topology, Relation::All);
        for except in (0..=PEERS).map(name) {
            let targets = routes::gossip_targets(&all, except, &mut Random::new(seed));

            let distinct: BTreeSet<_> = targets.iter().copied().collect();
            let candidates = routes::gossip_weights(&all, except);
            prop_assert_eq!(distinct.len(), targets.len());
            prop_assert!(distinct.iter().all(|target| candidates.contains_key(target)));
            prop_assert!(!distinct.contains(&except));
            prop_assert_eq!(targets.len(), routes::gossip_fanout(all.len(), candidates.len()));
        }
    }
}
