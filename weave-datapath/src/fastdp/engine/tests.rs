//! Scenarios of the engine in virtual time.

use super::*;
use crate::fastdp::{
    Entry, HOLD, Hop, PATIENCE, Path, Route,
    health::{SLOW, TIMEOUT},
    heartbeat::{self, HEAD_LEN},
};

const US: PeerName = PeerName(1);
const PEER: PeerName = PeerName(2);
const FAR: PeerName = PeerName(3);
const NOW: Duration = Duration::from_secs(5);
const UID: u64 = 0x0123_4567_89ab_cdef;

fn id(id: u16) -> ShortId {
    ShortId::try_from(id).unwrap()
}

fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, host, 1)
}

fn connection() -> Connection {
    Connection {
        id: 7,
        peer: PEER,
        short_id: Some(id(20)),
        local: address(1),
        remote: address(2),
        port: 6784,
        uid: UID,
        encrypted: false,
    }
}

fn routes(established: bool) -> Routes {
    let mut routes = Routes {
        short_ids: BTreeMap::from([(US, id(10)), (PEER, id(20)), (FAR, id(30))]),
        ..Routes::default()
    };
    if established {
        routes.unicast = BTreeMap::from([(PEER, PEER), (FAR, PEER)]);
        routes.broadcast = BTreeMap::from([(US, vec![PEER])]);
    }
    routes
}

fn engine() -> Engine {
    let mut engine = Engine::new(EngineConfig {
        us: US,
        mtu: 1376,
        port: 6784,
    });
    engine.handle_routes(NOW, routes(false));
    engine
}

fn heard(uid: u64, from: Ipv4Addr) -> Heartbeat {
    let frame = heartbeat::frame(uid, 1376);
    let mut head = [0; HEAD_LEN];
    head.copy_from_slice(&frame[..HEAD_LEN]);
    Heartbeat {
        origin: id(20),
        destination: id(10),
        outer_src: from,
        outer_dst: address(1),
        frame_len: u32::try_from(frame.len()).unwrap(),
        head,
    }
}

fn transmits(engine: &mut Engine) -> Vec<Transmit> {
    std::iter::from_fn(|| engine.poll_transmit()).collect()
}

fn heartbeat_to(remote: Ipv4Addr) -> Transmit {
    let vni = Vni {
        origin: id(10),
        destination: id(20),
    };
    Transmit::Heartbeat {
        id: 7,
        local: address(1),
        remote,
        port: 6784,
        payload: heartbeat::payload(vni, UID, 1376),
    }
}

fn pace() -> Transmit {
    Transmit::Control {
        id: 7,
        inner: Note::ours().emit(),
    }
}

fn acknowledgement() -> Transmit {
    Transmit::Control {
        id: 7,
        inner: vec![0],
    }
}

#[test]
fn a_connection_is_entered_and_greeted_at_once() {
    let mut engine = engine();
    let _ = engine.poll_update(NOW);

    engine.handle_connection(NOW, connection());

    assert_eq!(transmits(&mut engine), [heartbeat_to(address(2))]);
    assert_eq!(
        engine.poll_timeout(),
        Some(NOW + Duration::from_millis(500))
    );
}

#[test]
fn an_unknown_peer_of_a_connection_is_let_in_by_its_stated_id() {
    let mut engine = engine();
    let mut unknown = routes(false);
    unknown.short_ids.remove(&PEER);
    engine.handle_routes(NOW, unknown);
    let _ = engine.poll_update(NOW);

    engine.handle_connection(NOW, connection());

    let update = engine.poll_update(NOW).unwrap();
    let entry = Entry {
        name: PEER,
        route: Route::Unreachable,
    };
    assert_eq!(update.peers, BTreeMap::from([(id(20), Some(entry))]));
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    assert!(transmits(&mut engine).contains(&acknowledgement()));
}

#[test]
fn the_first_accepted_heartbeat_is_acknowledged_once_and_answered_at_once() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    let _ = transmits(&mut engine);
    let later = NOW + Duration::from_millis(3);

    engine.handle_heartbeat(later, &heard(UID, address(2)));
    engine.handle_heartbeat(later, &heard(UID, address(2)));

    assert_eq!(
        transmits(&mut engine),
        [acknowledgement(), pace(), heartbeat_to(address(2))]
    );
}

#[test]
fn a_path_works_while_both_ends_hear() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    engine.handle_control(NOW, 7, &Note::ours().emit());
    let _ = transmits(&mut engine);

    engine.handle_control(NOW, 7, &Note::Deaf.emit());
    let why = Silence::There;
    assert_eq!(engine.poll_event(), Some(Event::Unhealthy { id: 7, why }));
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    assert_eq!(engine.poll_event(), None);
    engine.handle_control(NOW, 7, &Note::Hears.emit());
    assert_eq!(engine.poll_event(), Some(Event::Healthy { id: 7 }));
}

#[test]
fn a_peer_of_ours_is_told_that_it_is_not_heard() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    engine.handle_control(NOW, 7, &Note::ours().emit());
    let _ = transmits(&mut engine);
    let told = |note: Note| Transmit::Control {
        id: 7,
        inner: note.emit(),
    };

    let silent = NOW + Duration::from_secs(2);
    engine.handle_timeout(silent);
    assert!(transmits(&mut engine).contains(&told(Note::Deaf)));
    engine.handle_heartbeat(silent, &heard(UID, address(2)));
    assert_eq!(transmits(&mut engine), [told(Note::Hears)]);
}

#[test]
fn the_acknowledgement_establishes_once() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());

    for inner in [&[][..], &[1, 9], &[200], &[0], &[0, 1, 2]] {
        engine.handle_control(NOW, 7, inner);
    }
    engine.handle_control(NOW, 99, &[0]);

    assert_eq!(engine.poll_event(), Some(Event::Established { id: 7 }));
    assert_eq!(engine.poll_event(), None);
    let _ = transmits(&mut engine);
    engine.handle_timeout(NOW + SLOW - Duration::from_nanos(1));
    assert_eq!(transmits(&mut engine), []);
    engine.handle_timeout(NOW + SLOW);
    assert_eq!(transmits(&mut engine), [heartbeat_to(address(2))]);
}

#[test]
fn heartbeats_that_prove_nothing_are_ignored() {
    let good = heard(UID, address(2));
    let wrong = [
        heard(UID + 1, address(2)),
        Heartbeat {
            origin: id(30),
            ..good
        },
        Heartbeat {
            origin: id(99),
            ..good
        },
        Heartbeat {
            destination: id(99),
            ..good
        },
        Heartbeat {
            frame_len: 1389,
            ..good
        },
    ];
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    let _ = transmits(&mut engine);

    for heartbeat in &wrong {
        engine.handle_heartbeat(NOW, heartbeat);
        assert_eq!(transmits(&mut engine), [], "{heartbeat:?}");
    }
    engine.handle_heartbeat(NOW, &good);
    assert_eq!(transmits(&mut engine)[0], acknowledgement());
}

#[test]
fn the_destination_of_a_heartbeat_only_has_to_exist() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    let elsewhere = Heartbeat {
        destination: id(30),
        ..heard(UID, address(2))
    };

    engine.handle_heartbeat(NOW, &elsewhere);

    assert!(transmits(&mut engine).contains(&acknowledgement()));
}

#[test]
fn the_address_of_the_last_heartbeat_is_where_frames_go() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_routes(NOW, routes(true));
    let _ = engine.poll_update(NOW);

    engine.handle_heartbeat(NOW, &heard(UID, address(9)));

    let path = Path {
        remote: address(9),
        local: address(1),
        port: 6784,
    };
    let update = engine.poll_update(NOW).unwrap();
    assert_eq!(engine.tables().path(id(30)), Some(path));
    assert_eq!(update.trees[&id(10)], [Hop { id: id(20), path }]);
    assert!(transmits(&mut engine).contains(&heartbeat_to(address(9))));
}

#[test]
fn silence_is_reported_once_and_a_heartbeat_heals() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_control(NOW, 7, &[0]);
    assert_eq!(engine.poll_event(), Some(Event::Established { id: 7 }));

    engine.handle_timeout(NOW + TIMEOUT);
    engine.handle_timeout(NOW + 2 * TIMEOUT);
    let why = Silence::Here(TIMEOUT);
    assert_eq!(engine.poll_event(), Some(Event::Unhealthy { id: 7, why }));
    assert_eq!(engine.poll_event(), None);
    assert!(!engine.connections().next().unwrap().healthy);

    engine.handle_heartbeat(NOW + 3 * TIMEOUT, &heard(UID, address(2)));
    assert_eq!(engine.poll_event(), Some(Event::Healthy { id: 7 }));
    assert_eq!(engine.poll_event(), None);
}

#[test]
fn an_encrypted_connection_is_declined_and_sends_nothing() {
    let mut engine = engine();

    engine.handle_connection(
        NOW,
        Connection {
            encrypted: true,
            ..connection()
        },
    );
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    engine.handle_timeout(NOW + TIMEOUT);

    assert!(matches!(
        engine.poll_event(),
        Some(Event::Declined { id: 7, .. })
    ));
    assert_eq!(transmits(&mut engine), []);
}

#[test]
fn a_killed_neighbour_keeps_its_way_until_the_hold_ends() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_routes(NOW, routes(true));
    let _ = engine.poll_update(NOW);
    let settled = engine.tables().clone();

    engine.handle_closed(NOW, 7);
    let mut alone = routes(true);
    alone.unicast.clear();
    alone.short_ids.retain(|name, _| *name == US);
    alone.broadcast.clear();
    engine.handle_routes(NOW, alone);
    assert_eq!(engine.poll_update(NOW), None);
    assert_eq!(*engine.tables(), settled);

    assert_eq!(engine.poll_timeout(), Some(NOW + HOLD));
    engine.handle_timeout(NOW + HOLD);
    let update = engine.poll_update(NOW + HOLD).unwrap();
    assert_eq!(
        update.macs,
        BTreeMap::from([(id(20), None), (id(30), None)])
    );
    assert_eq!(engine.poll_timeout(), None);
}

/// Both neighbours of a killed daemon are first told of a way through each other.
#[test]
fn a_way_through_another_neighbour_that_does_not_last_is_never_taken() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    let far = Connection {
        id: 8,
        peer: FAR,
        short_id: Some(id(30)),
        remote: address(3),
        ..connection()
    };
    engine.handle_connection(NOW, far);
    let mut triangle = routes(true);
    triangle.unicast.insert(FAR, FAR);
    triangle.broadcast.insert(US, vec![PEER, FAR]);
    engine.handle_routes(NOW, triangle.clone());
    let _ = engine.poll_update(NOW);
    let settled = engine.tables().clone();

    engine.handle_closed(NOW, 7);
    let mut detour = triangle.clone();
    detour.unicast.insert(PEER, FAR);
    detour.broadcast.insert(US, vec![FAR]);
    engine.handle_routes(NOW, detour.clone());
    assert_eq!(engine.poll_update(NOW), None);
    let later = NOW + PATIENCE / 2;
    let mut gone = detour.clone();
    gone.short_ids.remove(&PEER);
    gone.unicast.remove(&PEER);
    engine.handle_routes(later, gone);
    assert_eq!(engine.poll_update(later), None);
    assert_eq!(*engine.tables(), settled, "the direct way is the one held");

    engine.handle_routes(later, detour);
    assert_eq!(engine.poll_update(later), None);
    engine.handle_timeout(later + PATIENCE);
    let _ = engine.poll_update(later + PATIENCE).unwrap();
    assert_eq!(
        engine.tables().path(id(20)),
        engine.tables().path(id(30)),
        "a detour that lasts"
    );
}

#[test]
fn an_unhealthy_path_is_left_at_once() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_routes(NOW, routes(true));
    let _ = engine.poll_update(NOW);
    let far = Connection {
        id: 8,
        peer: FAR,
        short_id: Some(id(30)),
        remote: address(3),
        ..connection()
    };
    let silent = NOW + TIMEOUT;
    engine.handle_connection(silent, far);
    engine.handle_timeout(silent);

    engine.handle_closed(silent, 7);
    let mut detour = routes(true);
    detour.unicast = BTreeMap::from([(PEER, FAR), (FAR, FAR)]);
    detour.broadcast = BTreeMap::from([(US, vec![FAR])]);
    engine.handle_routes(silent, detour);
    let _ = engine.poll_update(silent).unwrap();

    assert_eq!(engine.tables().path(id(20)).unwrap().remote, address(3));
    assert_eq!(engine.tables().trees[&id(10)].len(), 1);
}

#[test]
fn adopted_tables_stay_until_the_mesh_is_back() {
    let mut settled = engine();
    settled.handle_connection(NOW, connection());
    settled.handle_routes(NOW, routes(true));
    let _ = settled.poll_update(NOW);
    let tables = settled.tables().clone();

    let mut engine = Engine::new(EngineConfig {
        us: US,
        mtu: 1376,
        port: 6784,
    });
    engine.adopt(NOW, tables.clone());
    assert_eq!(engine.poll_update(NOW), None);
    assert_eq!(engine.poll_timeout(), Some(NOW + HOLD));

    engine.handle_routes(NOW, routes(false));
    engine.handle_connection(NOW, connection());
    let _ = engine.poll_update(NOW);
    assert_eq!(*engine.tables(), tables, "no gap while the mesh comes back");

    engine.handle_routes(NOW, routes(true));
    assert_eq!(engine.poll_update(NOW), None);
    assert_ne!(engine.poll_timeout(), Some(NOW + HOLD), "nothing is held");
}

/// The peer was reached in clear, and its new connection is encrypted.
#[test]
fn the_way_to_a_peer_whose_connection_is_encrypted_is_left_at_once() {
    let mut engine = engine();
    engine.handle_connection(NOW, connection());
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    engine.handle_routes(NOW, routes(true));
    let _ = engine.poll_update(NOW);
    assert!(engine.tables().path(id(20)).is_some());

    engine.handle_sealed(8, PEER, address(2));

    assert!(engine.poll_update(NOW).is_some());
    let paths: Vec<_> = engine.tables().paths().collect();
    assert_eq!(paths, [], "also while the old connection lives");
    engine.handle_closed(NOW, 7);
    let _ = engine.poll_update(NOW);
    assert_eq!(engine.tables().paths().count(), 0, "nor is the way held");
}

/// Another change may have to wait; this one never does.
#[test]
fn a_way_that_must_not_be_used_is_left_while_another_change_waits() {
    let mut engine = engine();
    let far = Connection {
        id: 8,
        peer: FAR,
        short_id: Some(id(30)),
        remote: address(3),
        uid: UID + 1,
        ..connection()
    };
    let direct = Routes {
        unicast: BTreeMap::from([(PEER, PEER), (FAR, FAR)]),
        broadcast: BTreeMap::from([(US, vec![PEER, FAR])]),
        ..routes(false)
    };
    engine.handle_connection(NOW, connection());
    engine.handle_connection(NOW, far);
    engine.handle_heartbeat(NOW, &heard(UID, address(2)));
    engine.handle_routes(NOW, direct);
    let _ = engine.poll_update(NOW);
    let to_far = engine.tables().path(id(30));
    assert!(engine.tables().path(id(20)).is_some() && to_far.is_some());

    engine.handle_sleeve(8, FAR, true);
    engine.handle_sealed(9, PEER, address(2));
    let _ = engine.poll_update(NOW);

    assert_eq!(engine.tables().path(id(20)), None);
    assert_eq!(engine.tables().path(id(30)), to_far, "a change that waits");
    assert!(
        engine
            .tables()
            .paths()
            .all(|path| path.remote != address(2))
    );
    engine.handle_timeout(NOW + PATIENCE);
    let _ = engine.poll_update(NOW + PATIENCE);
    assert_eq!(engine.tables().path(id(30)), None);
}

#[test]
fn adopted_ways_to_untrusted_addresses_are_given_up() {
    let mut before = engine();
    before.handle_connection(NOW, connection());
    before.handle_routes(NOW, routes(true));
    let _ = before.poll_update(NOW);
    let tables = before.tables().clone();
    assert!(tables.paths().count() > 0);

    let mut engine = engine();
    engine.adopt(NOW, tables);
    engine.distrust(|remote| remote != address(2));

    assert!(engine.poll_update(NOW).is_some());
    assert_eq!(engine.tables().paths().count(), 0);
}
