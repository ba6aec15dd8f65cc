//! Laws of the fast datapath's pure part, named in `ALGORITHM.md`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fleet;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use fleet::Fleet;
use proptest::{collection::btree_map, prelude::*, sample::Index};
use weave_datapath::{
    PeerName, ShortId,
    fastdp::{
        Connection, Engine, EngineConfig, Entry, Heartbeat, Hop, Path, Route, Routes, Tables,
        Transmit, Vni,
        health::{self, Change, Health},
        heartbeat::{self, HEAD_LEN},
    },
    overlay::pace::{self, PACE},
};

fn short_id() -> impl Strategy<Value = ShortId> {
    // A narrow range, so that ids are contested and change hands.
    (0..8_u16).prop_map(|id| ShortId::try_from(id).unwrap())
}

fn name() -> impl Strategy<Value = PeerName> {
    (1..8_u64).prop_map(PeerName)
}

fn path() -> impl Strategy<Value = Path> {
    (1..5_u8, 1..3_u8, 6784..6786_u16).prop_map(|(remote, local, port)| Path {
        remote: Ipv4Addr::new(10, 0, 0, remote),
        local: Ipv4Addr::new(10, 0, 1, local),
        port,
    })
}

fn tables() -> impl Strategy<Value = Tables> {
    let route = prop_oneof![
        Just(Route::Us),
        Just(Route::Unreachable),
        Just(Route::Sleeve),
        path().prop_map(Route::Fastdp)
    ];
    let entry = (name(), route).prop_map(|(name, route)| Entry { name, route });
    let hop = (short_id(), path()).prop_map(|(id, path)| Hop { id, path });
    let tree = prop::collection::btree_set(hop, 1..4).prop_map(|hops| hops.into_iter().collect());
    (
        proptest::option::of(short_id()),
        btree_map(short_id(), entry, 0..8),
        btree_map(short_id(), tree, 0..8),
        prop::collection::btree_set(short_id(), 0..4),
    )
        .prop_map(|(us, peers, trees, sleeve_trees)| Tables {
            us,
            peers,
            trees,
            sleeve_trees,
        })
}

fn routes() -> impl Strategy<Value = Routes> {
    (
        btree_map(name(), short_id(), 0..7),
        btree_map(name(), name(), 0..7),
        btree_map(name(), prop::collection::vec(name(), 0..4), 0..7),
    )
        .prop_map(|(short_ids, unicast, broadcast)| Routes {
            short_ids,
            unicast,
            broadcast,
        })
}

#[derive(Debug, Clone)]
enum Step {
    Connect(Connection),
    Close(u64),
    Control(u64, Vec<u8>),
    Heartbeat(Heartbeat),
    Routes(Routes),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let connection = (
        0..4_u64,
        name(),
        proptest::option::of(short_id()),
        path(),
        0..3_u64,
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(id, peer, short_id, path, uid, encrypted)| Connection {
            id,
            peer,
            short_id,
            local: path.local,
            remote: path.remote,
            port: path.port,
            uid,
            encrypted,
        });
    let beat = (short_id(), short_id(), path(), 0..3_u64).prop_map(|(from, to, path, uid)| {
        let mut head = [0; HEAD_LEN];
        head.copy_from_slice(&heartbeat::frame(uid, 1376)[..HEAD_LEN]);
        Heartbeat {
            origin: from,
            destination: to,
            outer_src: path.remote,
            outer_dst: path.local,
            frame_len: 1390,
            head,
        }
    });
    prop_oneof![
        2 => connection.prop_map(Step::Connect),
        1 => (0..4_u64).prop_map(Step::Close),
        2 => (0..4_u64, prop::collection::vec(0..3_u8, 0..3))
            .prop_map(|(id, inner)| Step::Control(id, inner)),
        3 => beat.prop_map(Step::Heartbeat),
        3 => routes().prop_map(Step::Routes),
        2 => (0..700_000_u64).prop_map(Step::Wait),
    ]
}

/// Feeds one step; what it changes in the tables is left to be polled.
fn feed(engine: &mut Engine, now: &mut Duration, step: Step) {
    match step {
        Step::Connect(connection) => engine.handle_connection(*now, connection),
        Step::Close(id) => engine.handle_closed(*now, id),
        Step::Control(id, inner) => engine.handle_control(*now, id, &inner),
        Step::Heartbeat(heartbeat) => engine.handle_heartbeat(*now, &heartbeat),
        Step::Routes(routes) => engine.handle_routes(*now, routes),
        Step::Wait(millis) => {
            *now += Duration::from_millis(millis);
            engine.handle_timeout(*now);
        }
    }
}

proptest! {
    #[test]
    fn a_difference_applied_gives_the_target(from in tables(), to in tables()) {
        let mut model = from.clone();
        let update = from.diff_to(&to);
        model.apply(&update);

        prop_assert_eq!(&model, &to);
        prop_assert!(model.diff_to(&to).is_empty());
        prop_assert_eq!(update.is_empty(), from == to);
        for (id, entry) in &update.peers {
            prop_assert_ne!(from.peers.get(id), entry.as_ref(), "nothing is said twice");
        }
    }

    #[test]
    fn learned_addresses_follow_their_peer(from in tables(), to in tables()) {
        for (id, target) in from.diff_to(&to).macs {
            let owner = from.peers[&id].name;
            prop_assert_ne!(to.peers.get(&id).map(|now| now.name), Some(owner));
            match target {
                Some(new) => prop_assert_eq!(to.peers[&new].name, owner),
                None => prop_assert!(to.peers.values().all(|now| now.name != owner)),
            }
        }
    }

    #[test]
    fn a_vni_survives_the_wire(vni in 0..1_u32 << 24) {
        let decoded = Vni::from_low_bits(vni);
        prop_assert_eq!(u32::from(decoded), vni);
        prop_assert_eq!(Vni::from_packet(&decoded.header()), Ok(decoded));
    }

    #[test]
    fn health_is_the_age_of_the_last_heartbeat(
        events in prop::collection::vec((0..40_000_u64, 0..7_u8), 1..60),
    ) {
        let mut now = Duration::from_secs(3);
        let mut health = Health::new(now);
        let (mut patience, mut paced, mut deaf) = (health::TIMEOUT, false, false);
        let (mut silent_at, mut sent, mut acked) = (now + patience, None::<Duration>, false);
        for (wait, kind) in events {
            // Waits of all sizes, from within a heartbeat to far beyond the longest patience.
            now += Duration::from_millis(if paced { wait / 8 } else { wait });
            let was = health.is_healthy();
            let changed = health.handle_timeout(now);
            prop_assert_eq!(health.hears(), now < silent_at);
            prop_assert_eq!(health.is_healthy(), now < silent_at && !deaf);
            prop_assert_eq!(changed.is_some(), was && !health.is_healthy());
            if health.take_send(now) {
                if let Some(before) = sent {
                    let least = match (paced, acked) {
                        (true, _) => PACE,
                        (false, true) => health::SLOW,
                        (false, false) => health::FAST,
                    };
                    prop_assert!(now - before >= least);
                }
                sent = Some(now);
            }
            let was = health.is_healthy();
            let change = match kind {
                0 => {
                    silent_at = now + patience;
                    health.handle_heartbeat(now)
                }
                1 => {
                    let first = health.handle_ack(now) == Some(Change::Established);
                    prop_assert_eq!(first, !acked);
                    if first {
                        (acked, sent) = (true, Some(now));
                    }
                    None
                }
                2 => {
                    health.handle_pace(now, PACE);
                    (paced, patience) = (true, pace::patience(PACE));
                    if now < silent_at {
                        silent_at = silent_at.min(now + patience);
                    }
                    None
                }
                3 | 4 => {
                    deaf = kind == 3;
                    health.handle_deaf(deaf)
                }
                _ => None,
            };
            let healed = !was && health.is_healthy();
            prop_assert_eq!(change == Some(Change::Healthy), healed);
            prop_assert_eq!(health.is_healthy(), now < silent_at && !deaf);
            prop_assert_eq!(health.is_established(), acked);
        }
    }

    #[test]
    fn updates_in_order_give_the_engines_tables(
        adopted in proptest::option::of(tables()),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut now = Duration::from_secs(9);
        let mut engine = Engine::new(EngineConfig { us: PeerName(1), mtu: 1376, port: 6784 });
        let mut kernel = Tables::default();
        if let Some(tables) = adopted {
            engine.adopt(now, tables.clone());
            kernel = tables;
        }
        for step in steps {
            let mut mirror = kernel.clone();
            let timed = matches!(step, Step::Wait(_));
            feed(&mut engine, &mut now, step);
            if let Some(update) = engine.poll_update(now) {
                prop_assert!(!update.is_empty());
                mirror.apply(&update);
                prop_assert_eq!(&mirror, engine.tables());
            }
            kernel = engine.tables().clone();
            prop_assert_eq!(engine.poll_update(now), None);
            prop_assert!(engine.poll_timeout().is_none_or(|at| at > now) || !timed);
            prop_assert!(kernel.trees.values().all(|hops| !hops.is_empty() && hops.is_sorted()));
        }
    }

    #[test]
    fn an_encrypted_connection_never_carries_anything(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut now = Duration::from_secs(9);
        let mut engine = Engine::new(EngineConfig { us: PeerName(1), mtu: 1376, port: 6784 });
        for step in steps {
            let step = match step {
                Step::Connect(connection) => {
                    Step::Connect(Connection { encrypted: true, ..connection })
                }
                other => other,
            };
            feed(&mut engine, &mut now, step);
            let _ = engine.poll_update(now);
            prop_assert_eq!(engine.poll_transmit(), None::<Transmit>);
            let ids: Vec<ShortId> = engine.tables().peers.keys().copied().collect();
            prop_assert!(ids.into_iter().all(|id| engine.tables().path(id).is_none()));
        }
    }

    /// Daemons die and return in any order while every data plane runs on: no broadcast and no
    /// unicast goes round in circles, and after one death nobody is cut off.
    #[test]
    fn frames_end_whatever_daemons_are_dead(
        hosts in 2..9_usize,
        links in prop::collection::vec((any::<Index>(), any::<Index>()), 0..12),
        faults in prop::collection::vec(any::<Index>(), 1..10),
    ) {
        let mut fleet = Fleet::new(hosts, links.iter().map(|(a, b)| (a.index(hosts), b.index(hosts))));
        fleet.check(true);
        for (number, fault) in faults.iter().enumerate() {
            fleet.toggle(fault.index(hosts), |fleet| fleet.check(number == 0));
            fleet.check(number == 0);
        }
        fleet.revive_all();
        fleet.check(true);
    }
}

#[test]
fn the_table_of_a_settled_fleet_has_no_strays() {
    let mut fleet = Fleet::new(4, [(0, 1), (1, 2), (2, 3)]);
    fleet.toggle(2, |fleet| fleet.check(true));
    fleet.toggle(2, |fleet| fleet.check(true));
    let expected: BTreeMap<_, _> = Fleet::new(4, [(0, 1), (1, 2), (2, 3)]).tables();
    assert_eq!(fleet.tables(), expected);
}
