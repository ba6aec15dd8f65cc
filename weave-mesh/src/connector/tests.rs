//! Targets: how they come, wait, are tried and go.

use super::target::{INITIAL_INTERVAL, MAX_INTERVAL};
use super::*;
use crate::node::{ConnectionState, Retry};

const S: Duration = Duration::from_secs(1);

fn name(n: u8) -> PeerName {
    PeerName::from_bytes([10, 0, 0, 0, 0, n])
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A connector of the peer named 5.
fn connector() -> Connector {
    Connector::new(name(5), 6783, Random::new(1))
}

fn direct(peers: &[&str]) -> Connector {
    let mut connector = connector();
    let errors = connector.connect(Duration::ZERO, peers.iter().map(|&p| p.to_owned()), false);
    assert!(errors.is_empty());
    connector.evaluate(Duration::ZERO, &Surroundings::default());
    connector
}

fn candidates(list: &[(&str, u8)]) -> Surroundings {
    let candidates = list.iter().map(|&(at, n)| (address(at), name(n))).collect();
    Surroundings {
        candidates,
        ..Surroundings::default()
    }
}

fn dial(connector: &mut Connector, now: Duration) -> (DialId, Target) {
    connector.poll_dial(now, None).expect("a target is due")
}

/// What is due at the start, in the order in which it is dialled.
fn dialled(connector: &mut Connector) -> Vec<String> {
    std::iter::from_fn(|| connector.poll_dial(Duration::ZERO, None))
        .map(|(_, target)| target.to_string())
        .collect()
}

#[test]
fn a_direct_peer_is_dialled_at_once_on_our_port_if_it_has_none() {
    let mut connector = direct(&["10.0.0.2", "host:6790"]);

    let mut texts = dialled(&mut connector);

    texts.sort();
    assert_eq!(texts, ["10.0.0.2:6783", "host:6790"]);
}

/// If all peers dialled in the order of addresses, the first would fill each other up to the limit.
#[test]
fn the_order_in_which_due_targets_are_dialled_is_drawn() {
    let order = |seed| {
        let mut connector = Connector::new(name(5), 6783, Random::new(seed));
        let peers = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(str::to_owned);
        assert!(connector.connect(Duration::ZERO, peers, false).is_empty());
        connector.evaluate(Duration::ZERO, &Surroundings::default());
        dialled(&mut connector)
    };

    let orders: BTreeSet<_> = (0..100).map(order).collect();

    assert_eq!(orders.len(), 6, "all that there are");
    assert_eq!(order(7), order(7));
}

#[test]
fn bad_strings_are_reported_and_good_ones_used() {
    let mut connector = connector();

    let errors = connector.connect(Duration::ZERO, ["a b".to_owned(), "ok".to_owned()], false);

    assert_eq!(errors.len(), 1);
    assert_eq!(connector.direct_peers().collect::<Vec<_>>(), ["ok"]);
}

#[test]
fn failures_move_the_next_attempt_away_up_to_a_limit() {
    let mut connector = direct(&["10.0.0.2"]);
    let mut now = Duration::ZERO;
    let mut interval = INITIAL_INTERVAL;

    for _ in 0..20 {
        let (id, _) = dial(&mut connector, now);
        connector.handle_ended(now, id, Ending::Failed("refused".into()));
        let at = connector.poll_timeout().unwrap();
        let wait = at - now;
        assert!(
            wait >= interval / 2 && wait < interval * 3 / 2,
            "{wait:?} for {interval:?}"
        );
        assert!(
            connector
                .poll_dial(at - Duration::from_micros(1), None)
                .is_none()
        );
        interval = (interval * 3 / 2).min(MAX_INTERVAL);
        now = at;
    }
    assert_eq!(interval, MAX_INTERVAL);
}

#[test]
fn a_connection_of_more_than_a_minute_is_retried_at_once() {
    let mut connector = direct(&["10.0.0.2"]);

    let (id, _) = dial(&mut connector, Duration::ZERO);
    connector.handle_added(id);
    connector.handle_ended(61 * S, id, Ending::Closed("EOF".into()));
    assert_eq!(connector.poll_timeout(), Some(61 * S));

    let (id, _) = dial(&mut connector, 61 * S);
    connector.handle_added(id);
    connector.handle_ended(62 * S, id, Ending::Closed("EOF".into()));
    assert!(connector.poll_timeout().unwrap() >= 63 * S);
}

#[test]
fn a_target_that_is_ourselves_waits_for_a_user() {
    let mut connector = direct(&["10.0.0.2"]);
    let (id, _) = dial(&mut connector, Duration::ZERO);
    connector.handle_ended(S, id, Ending::Never("cannot connect to ourself".into()));

    assert_eq!(connector.poll_timeout(), None);
    let report: Vec<_> = connector.report(S).collect();
    assert_eq!(report[0].state, ConnectionState::Failed);
    assert_eq!(report[0].retry, Some(Retry::Never));

    assert!(
        connector
            .connect(2 * S, ["10.0.0.2".to_owned()], false)
            .is_empty()
    );
    assert_eq!(connector.poll_timeout(), Some(2 * S));
}

#[test]
fn a_direct_peer_without_port_waits_while_it_is_connected_to_us() {
    let mut connector = direct(&["10.0.0.2", "10.0.0.3:6783"]);
    let inbound = Surroundings {
        inbound: [address("10.0.0.2:1").ip(), address("10.0.0.3:1").ip()].into(),
        ..Surroundings::default()
    };

    connector.evaluate(S, &inbound);
    let (_, only) = dial(&mut connector, S);
    assert_eq!(only.to_string(), "10.0.0.3:6783");
    assert!(connector.poll_dial(S, None).is_none());

    connector.evaluate(2 * S, &Surroundings::default());
    assert_eq!(dial(&mut connector, 2 * S).1.to_string(), "10.0.0.2:6783");
}

#[test]
fn a_direct_peer_without_room_for_us_waits_until_it_has_some() {
    let mut connector = direct(&["host"]);
    let (id, _) = dial(&mut connector, Duration::ZERO);
    connector.handle_introduced(id, name(9));
    connector.handle_ended(S, id, Ending::Closed("EOF".into()));

    let full = Surroundings {
        full: [name(9)].into(),
        ..Surroundings::default()
    };
    connector.evaluate(S, &full);
    assert_eq!(connector.poll_timeout(), None);

    connector.evaluate(99 * S, &Surroundings::default());
    assert_eq!(dial(&mut connector, 99 * S).1.to_string(), "host:6783");
}

#[test]
fn a_direct_peer_that_is_connected_by_another_way_is_left_alone() {
    let mut connector = direct(&["host"]);
    let (id, _) = dial(&mut connector, Duration::ZERO);
    connector.handle_introduced(id, name(9));
    connector.handle_ended(S, id, Ending::Closed("Multiple connections".into()));

    let connected = Surroundings {
        connected: [name(9)].into(),
        ..Surroundings::default()
    };
    connector.evaluate(S, &connected);

    assert_eq!(connector.poll_timeout(), None);
    assert_eq!(connector.report(S).count(), 0);
}

#[test]
fn the_lower_name_dials_a_discovered_peer_first() {
    let mut connector = connector();

    connector.evaluate(
        S,
        &candidates(&[("10.0.0.4:6783", 4), ("10.0.0.6:6783", 6)]),
    );

    assert_eq!(
        dial(&mut connector, S).1,
        Target::Discovered(address("10.0.0.6:6783"))
    );
    let later = connector.poll_timeout().unwrap();
    assert!(later >= 3 * S && later < 5 * S);
}

#[test]
fn discovered_targets_go_when_the_topology_no_longer_names_them() {
    let mut connector = connector();
    connector.evaluate(S, &candidates(&[("10.0.0.6:6783", 6)]));
    let (id, _) = dial(&mut connector, S);

    connector.evaluate(2 * S, &Surroundings::default());
    connector.handle_ended(2 * S, id, Ending::Failed("refused".into()));
    assert_eq!(connector.report(2 * S).count(), 1);

    connector.evaluate(2 * S, &Surroundings::default());
    assert_eq!(connector.report(2 * S).count(), 0);
}

#[test]
fn a_discovered_address_of_a_direct_peer_is_no_second_target() {
    let mut connector = direct(&["10.0.0.6"]);

    connector.evaluate(S, &candidates(&[("10.0.0.6:6783", 6)]));
    let _ = dial(&mut connector, S);

    assert!(connector.poll_dial(S, None).is_none());
}

#[test]
fn unknown_names_are_accepted_from_direct_peers_only() {
    let mut connector = direct(&["10.0.0.2"]);
    connector.evaluate(Duration::ZERO, &candidates(&[("10.0.0.6:6783", 6)]));

    let mut dials = [dial(&mut connector, S), dial(&mut connector, S)];
    dials.sort_by_key(|(_, target)| target.to_string());
    let [(first, _), (second, _)] = dials;

    assert!(connector.accepts_unknown(first, address("10.0.0.2:6783")));
    assert!(!connector.accepts_unknown(second, address("10.0.0.6:6783")));
    assert!(
        connector
            .connect(S, ["10.0.0.6".to_owned()], false)
            .is_empty()
    );
    assert!(connector.accepts_unknown(second, address("10.0.0.6:6783")));
}

#[test]
fn the_connection_limit_fails_attempts() {
    let mut connector = direct(&["10.0.0.2"]);

    assert!(
        connector
            .poll_dial(S, Some("Connection limit reached (1)"))
            .is_none()
    );

    let report: Vec<_> = connector.report(S).collect();
    assert_eq!(
        report[0].error.as_deref(),
        Some("Connection limit reached (1)")
    );
    assert!(connector.poll_timeout().unwrap() >= 2 * S);
}

#[test]
fn forgotten_direct_peers_go_and_replaced_ones_too() {
    let mut connector = direct(&["a", "b", "c"]);

    connector.forget(&["a".to_owned(), "unknown".to_owned()]);
    connector.evaluate(S, &Surroundings::default());
    assert_eq!(connector.report(S).count(), 2);

    assert!(connector.connect(S, ["d".to_owned()], true).is_empty());
    connector.evaluate(S, &Surroundings::default());
    let report: Vec<_> = connector.report(S).map(|target| target.address).collect();
    assert_eq!(report, ["d"]);
}

#[test]
fn attempts_at_a_time_are_bounded() {
    let peers: Vec<String> = (0..40).map(|n| format!("10.0.1.{n}")).collect();
    let mut connector = direct(&peers.iter().map(String::as_str).collect::<Vec<_>>());

    connector.set_room(MAX_ATTEMPTS - 8);
    let mut under_way: Vec<_> = std::iter::from_fn(|| connector.poll_dial(S, None)).collect();
    assert_eq!(connector.poll_timeout(), None);
    assert_eq!(under_way.len(), MAX_ATTEMPTS - 8);
    connector.set_room(usize::MAX);
    under_way.extend(std::iter::from_fn(|| connector.poll_dial(S, None)));
    assert_eq!(under_way.len(), MAX_ATTEMPTS);
    assert_eq!(connector.poll_timeout(), None);

    connector.handle_added(under_way[0].0);
    connector.handle_ended(S, under_way[1].0, Ending::Failed("refused".into()));
    assert_eq!(
        std::iter::from_fn(|| connector.poll_dial(S, None)).count(),
        2
    );
}

#[test]
fn who_finds_no_room_pauses_longer_each_time_until_there_is_some() {
    let mut connector = direct(&[]);
    let around = Surroundings {
        candidates: (2..60)
            .map(|n| (address(&format!("10.0.0.{n}:6783")), name(n)))
            .collect(),
        ..Surroundings::default()
    };
    connector.set_room(2);
    connector.evaluate(S, &around);
    let (mut now, mut last, mut rounds) = (5 * S, 5 * S, Vec::new());
    for _ in 0..12 {
        let dials: Vec<_> = std::iter::from_fn(|| connector.poll_dial(now, None)).collect();
        assert_eq!(
            dials.len(),
            2,
            "those that are tried together fail together"
        );
        for (dial, _) in dials {
            connector.handle_ended(now, dial, Ending::Full("full".into()));
        }
        rounds.push(now - last);
        last = now;
        now = connector.poll_timeout().unwrap();
    }

    assert!(rounds[1] < Duration::from_millis(100), "{rounds:?}");
    assert!(rounds[11] > 4 * S && rounds[11] < 16 * S, "{rounds:?}");
    let (dial, _) = connector.poll_dial(now, None).unwrap();
    connector.handle_added(dial);
    connector.evaluate(now, &around);
    assert!(connector.poll_dial(now, None).is_some(), "there is room");
}

#[test]
fn who_is_sent_on_dials_there_while_it_is_needy() {
    let mut connector = direct(&[]);
    let others = ["10.0.0.7:6783", "10.0.0.8:6783"].map(address);
    connector.refer(&others);
    assert!(connector.is_referred());
    let needy = Surroundings {
        is_needy: true,
        ..Surroundings::default()
    };
    connector.evaluate(S, &needy);

    let (dial, target) = connector.poll_dial(S, None).unwrap();
    let Target::Discovered(address) = target else {
        panic!("{target:?}");
    };
    assert!(others.contains(&address));
    assert!(connector.accepts_unknown(dial, address));
    connector.evaluate(S, &Surroundings::default());
    assert!(!connector.is_referred());
    assert!(connector.poll_dial(S, None).is_none());

    let many: Vec<_> = (0..100).map(address_of).collect();
    connector.refer(&many);
    connector.evaluate(S, &needy);
    connector.set_room(usize::MAX);
    assert_eq!(connector.referred.len(), MAX_REFERRED);
}

fn address_of(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 1000 + n))
}

#[test]
fn a_peer_that_somebody_named_is_dialled_whatever_others_said() {
    let mut connector = direct(&["10.0.0.2"]);
    let (dial, _) = connector.poll_dial(S, None).unwrap();
    connector.handle_ended(S, dial, Ending::Full("full".into()));
    assert!(
        connector
            .connect(S, ["10.0.0.3".to_owned()], false)
            .is_empty()
    );
    connector.evaluate(S, &Surroundings::default());

    assert!(connector.poll_dial(S, None).is_some());
}
