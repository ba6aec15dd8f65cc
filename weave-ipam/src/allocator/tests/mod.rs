//! The engine by itself, with messages made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::*;
use crate::ring::Entry;
use crate::span::Span;
use crate::status::HoldCause;

mod asking;
mod bounds;
mod club;
mod container;
mod contests;
mod faults;
mod healing;
mod holding;
mod identity;
mod merging;

const US: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const C: PeerId = PeerId(3);
const START: Duration = Duration::ZERO;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn config(universe: &str, init: InitMode) -> Config {
    Config::new(net(universe), US)
        .uid(7)
        .nickname("us")
        .init(init)
}

/// A peer of a ring shared out among the first `count` peers, all in the network.
fn seeded(universe: &str, count: u64) -> Allocator {
    let seeds: Vec<PeerId> = (1..=count).map(PeerId).collect();
    let mut allocator =
        Allocator::new(config(universe, InitMode::Seed(seeds.clone())), None).unwrap();
    allocator.handle_reachable(START, seeds.into_iter().collect(), 0);
    drain(&mut allocator);
    allocator
}

fn drain(allocator: &mut Allocator) -> Vec<Transmit> {
    std::iter::from_fn(|| allocator.poll_transmit()).collect()
}

fn events(allocator: &mut Allocator) -> Vec<Event> {
    std::iter::from_fn(|| allocator.poll_event()).collect()
}

fn pending<T: std::fmt::Debug>(outcome: Result<Outcome<T>, Error>) -> Ticket {
    match outcome {
        Ok(Outcome::Pending(ticket)) => ticket,
        other => panic!("{other:?} is not pending"),
    }
}

fn asked(transmits: &[Transmit]) -> Vec<PeerId> {
    let asked = transmits.iter().filter_map(|transmit| match transmit {
        Transmit::Unicast {
            to,
            message: Message::SpaceRequest(_),
        } => Some(*to),
        _ => None,
    });
    asked.collect()
}

/// Our ring as another peer would hold it after editing it.
fn edited(allocator: &Allocator, holder: PeerId, edit: impl FnOnce(&mut Vec<Entry>)) -> State {
    let ring = allocator.ring();
    let mut entries = ring.entries().to_vec();
    edit(&mut entries);
    let ring = Ring::from_parts(ring.universe(), holder, entries, ring.seeds().to_vec());
    State {
        ring: Some(Arc::new(ring)),
        ..State::default()
    }
}

fn fill(allocator: &mut Allocator, count: usize) {
    for index in 0..count {
        let outcome = allocator
            .allocate(START, &format!("pod{index}"), None, true)
            .unwrap();
        assert!(matches!(outcome, Outcome::Ready(_)));
    }
}

#[test]
fn the_default_quorum_is_a_majority_that_counts_us() {
    for (targets, expected, quorum) in [
        (0, None, 1),
        (1, None, 2),
        (2, None, 2),
        (3, None, 3),
        (9, Some(3), 2),
        (0, Some(2), 2),
    ] {
        let init = InitMode::Consensus { expected };
        let mut allocator = Allocator::new(config("10.0.0.0/24", init), None).unwrap();
        allocator.handle_reachable(START, BTreeSet::new(), targets);

        let _ = allocator.prime(START);

        let found = allocator.status().paxos.map_or(1, |paxos| paxos.quorum);
        assert_eq!(found, quorum, "{targets} targets, {expected:?} expected");
    }
}

#[test]
fn a_vote_is_repeated_until_it_succeeds() {
    let init = InitMode::Consensus { expected: Some(3) };
    let mut allocator = Allocator::new(config("10.0.0.0/24", init), None).unwrap();
    let _ = allocator.prime(START);
    assert_eq!(drain(&mut allocator), [Transmit::Broadcast]);
    assert_eq!(allocator.poll_timeout(), Some(TICK));

    allocator.handle_timeout(TICK);

    assert_eq!(drain(&mut allocator), [Transmit::Broadcast]);
    assert_eq!(
        allocator.state(0).votes.unwrap()[&NodeId { name: US, uid: 7 }]
            .promise
            .round,
        2
    );
}

#[test]
fn an_observer_sends_neither_votes_nor_ring() {
    let mut allocator = Allocator::new(config("10.0.0.0/24", InitMode::Observer), None).unwrap();
    let _ = allocator.prime(START);

    let state = allocator.state(5);

    assert!(state.votes.is_none() && state.ring.is_none());
    assert_eq!(allocator.status().phase.to_string(), "priming");
    assert_eq!(drain(&mut allocator), [Transmit::Broadcast]);
}

#[test]
fn a_snapshot_brings_everything_back_and_only_to_its_owner() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    fill(&mut allocator, 3);
    let _ = allocator.claim(START, "outside", net("192.168.1.1/24"), false);
    let snapshot = allocator.snapshot();

    let again = Allocator::new(
        config("10.0.0.0/24", InitMode::Seed(vec![US, C])),
        Some(snapshot.clone()),
    )
    .unwrap();
    assert_eq!(again.snapshot(), snapshot, "supplied seeds are ignored");
    assert_eq!(again.space().count_in_use(), 3);

    let other = Config::new(net("10.0.0.0/24"), B);
    let error = Allocator::new(other, Some(snapshot.clone())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to peer 00:00:00:00:00:01")
    );
    let error = Allocator::new(config("10.0.0.0/23", InitMode::Observer), Some(snapshot));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("for range 10.0.0.0/24")
    );
}

#[test]
fn takeover_needs_a_known_peer_that_is_gone() {
    let mut allocator = seeded("10.0.0.0/24", 3);
    for (peer, nickname) in [(B, "twin"), (C, "twin")] {
        let state = State {
            nicknames: [(peer, nickname.to_owned())].into(),
            ..State::default()
        };
        allocator.handle_broadcast(START, peer, state);
    }
    events(&mut allocator);
    let mut reason = |peer: &str| match (allocator.takeover(START, peer), allocator.poll_event()) {
        (0, Some(Event::TakeoverRefused { reason, .. })) => reason,
        other => panic!("{other:?}"),
    };

    assert_eq!(reason("twin"), TakeoverRefusal::Ambiguous);
    assert_eq!(reason("us"), TakeoverRefusal::Ourselves);
    assert_eq!(reason("nobody"), TakeoverRefusal::Unknown);
    assert_eq!(reason("::2"), TakeoverRefusal::Alive);

    allocator.handle_reachable(START, [C].into(), 0);
    assert_eq!(allocator.takeover(START, "::2"), 64);
    assert_eq!(allocator.takeover(START, "::2"), 0);
}

#[test]
fn an_ipv6_universe_works_like_an_ipv4_one() {
    let mut allocator = seeded("fd00:10::/64", 1);

    let first = allocator.allocate(START, "a", None, true).unwrap();
    let subnet = allocator
        .allocate(START, "a", Some(net("fd00:10::1:0/112")), true)
        .unwrap();
    let wanted = Message::SpaceRequest(allocator.universe);
    allocator.handle_unicast(START, B, wanted);

    assert_eq!(first, Outcome::Ready(net("fd00:10::1/64")));
    assert_eq!(subnet, Outcome::Ready(net("fd00:10::1:1/112")));
    let share = allocator
        .status()
        .owners
        .iter()
        .map(|owner| owner.share)
        .collect::<Vec<_>>();
    assert_eq!(allocator.status().owners[1].peer, B);
    assert!(
        share.iter().sum::<f64>() > 0.999 && share[1] > 0.2,
        "{share:?}"
    );
    assert!(matches!(
        allocator.allocate(START, "b", Some(net("10.0.0.0/24")), true),
        Err(Error::OutOfBounds { .. })
    ));
}

#[test]
fn a_subnet_without_room_is_an_error() {
    let mut allocator = seeded("10.0.0.0/24", 1);

    for subnet in ["10.0.0.0/31", "10.0.0.7/32", "10.0.0.1/24"] {
        let result = allocator.allocate(START, "a", Some(net(subnet)), true);

        assert!(matches!(result, Err(Error::Subnet(_))), "{subnet}");
    }
}

#[test]
fn status_says_what_is_going_on() {
    let mut allocator = seeded("10.0.0.0/30", 1);
    assert_eq!(allocator.status().phase.to_string(), "ready");
    fill(&mut allocator, 2);
    pending(allocator.allocate(START, "a", None, true));
    let status = allocator.status();
    assert_eq!(
        status.phase.to_string(),
        "waiting for IP(s) to become available"
    );
    assert_eq!(
        (status.active, status.universe_size, status.unreachable),
        (2, 4, 0)
    );

    let init = InitMode::Consensus { expected: None };
    let mut idle = Allocator::new(config("10.0.0.0/30", init), None).unwrap();
    assert_eq!(idle.status().phase.to_string(), "idle");
    idle.handle_reachable(START, [B].into(), 1);
    let _ = idle.prime(START);
    assert_eq!(
        idle.status().phase.to_string(),
        "awaiting consensus (quorum: 2, known: 1)"
    );
}
