use super::*;
use crate::peer::Uid;

fn peer(number: u64) -> PeerName {
    PeerName::try_from(number).unwrap()
}

fn id(id: u16) -> Option<ShortId> {
    ShortId::try_from(id).ok()
}

fn link() -> Link {
    Link {
        address: "10.0.0.2:6783".into(),
        outbound: true,
        established: false,
    }
}

fn topology(us: u64, short_id: Option<ShortId>) -> Topology {
    Topology::new(
        PeerRecord {
            short_id,
            ..PeerRecord::new(peer(us), "us", Uid(1))
        },
        1,
    )
}

#[test]
fn every_change_of_our_connections_raises_our_version_once() {
    let mut topology = topology(1, None);

    topology.add_connection(peer(2), link());
    assert_eq!(topology.local().version, 1);
    assert!(topology.establish(peer(2)));
    assert_eq!(topology.local().version, 2);
    assert!(!topology.establish(peer(2)), "it is established already");
    assert_eq!(
        topology.remove_connection(peer(2)),
        Some(Link {
            established: true,
            ..link()
        })
    );
    assert_eq!(topology.local().version, 3);

    assert_eq!(topology.remove_connection(peer(2)), None);
    assert!(!topology.establish(peer(2)));
    assert_eq!(topology.local().version, 3);
}

#[test]
fn a_handshake_does_not_change_a_known_record() {
    let mut topology = topology(1, None);
    let gossiped = PeerRecord {
        version: 4,
        ..PeerRecord::new(peer(2), "old", Uid(7))
    };
    let _ = topology.merge(vec![gossiped.clone()]);

    let effects = topology.insert_handshake(PeerRecord::new(peer(2), "new", Uid(8)));

    assert_eq!(effects, Effects::default());
    assert_eq!(topology.get(peer(2)), Some(&gossiped));
}

#[test]
fn references_keep_a_peer_until_the_last_is_released() {
    let mut topology = topology(1, None);
    let _ = topology.insert_handshake(PeerRecord::new(peer(2), "", Uid(1)));
    assert!(topology.retain(peer(2)) && topology.retain(peer(2)));

    topology.release(peer(2));
    assert_eq!(topology.collect_garbage().removed, []);
    topology.release(peer(2));
    assert_eq!(topology.collect_garbage().removed.len(), 1);
    assert!(!topology.retain(peer(2)));

    topology.release(peer(1));
    assert_eq!(topology.collect_garbage().removed, [], "we stay");
}

#[test]
fn we_leave_a_short_id_to_a_lower_name_and_keep_it_from_a_higher_one() {
    let mut topology = topology(5, id(10));
    let claim = |name| PeerRecord {
        short_id: id(10),
        ..PeerRecord::new(peer(name), "", Uid(1))
    };

    let higher = topology.insert_handshake(claim(9));
    assert_eq!(
        (higher.local_changed, topology.local().short_id),
        (false, id(10))
    );

    let lower = topology.insert_handshake(claim(2));
    assert!(lower.local_changed);
    assert_eq!(lower.short_id_changes, id(10).into_iter().collect());
    assert_ne!(topology.local().short_id, id(10));
    assert_eq!(topology.local().version, 1);
    assert_eq!(topology.by_short_id(id(10).unwrap()), Some(peer(2)));
}

#[test]
fn without_a_free_short_id_we_wait_for_a_collection() {
    let mut topology = topology(5_000, id(10));
    let claims = (0..ShortId::COUNT).map(|number| {
        let name = peer(u64::from(number) + 1);
        PeerRecord {
            short_id: id(number),
            ..PeerRecord::new(name, "", Uid(1))
        }
    });

    let merged = topology.merge(claims.collect());
    assert!(!merged.local_changed);
    assert_eq!(topology.local().short_id, id(10));

    // Nobody is connected to us, so the collection frees all ids and we own ours again.
    let collected = topology.collect_garbage();
    assert_eq!(collected.removed.len(), usize::from(ShortId::COUNT));
    assert!(!collected.local_changed);
    assert_eq!(topology.by_short_id(id(10).unwrap()), Some(peer(5_000)));
}

#[test]
fn a_full_topology_takes_in_nobody_but_updates_whom_it_knows() {
    let mut topology = topology(1, None);
    let peers = MAX_PEERS as u64;
    let _ = topology.merge(
        (2..=peers)
            .map(|n| PeerRecord::new(peer(n), "", Uid(1)))
            .collect(),
    );
    assert_eq!(topology.len(), MAX_PEERS);

    let known = PeerRecord {
        version: 1,
        connections: [(peer(peers + 1), link()), (peer(3), link())].into(),
        ..PeerRecord::new(peer(2), "", Uid(1))
    };
    let merged = topology.merge(vec![known, PeerRecord::new(peer(peers + 2), "", Uid(1))]);

    assert_eq!(merged.refused, 2);
    assert_eq!(merged.news, [peer(2)].into());
    assert_eq!(topology.len(), MAX_PEERS);
}

#[test]
fn nobody_has_the_name_that_stands_for_nobody() {
    let mut topology = topology(1, None);
    let _ = topology.insert_handshake(PeerRecord::new(PeerName::UNKNOWN, "", Uid(1)));

    let merged = topology.merge(vec![PeerRecord::new(PeerName::UNKNOWN, "", Uid(1))]);

    assert_eq!((merged.refused, merged.news.len()), (1, 0));
    assert_eq!(topology.len(), 1);
}
