//! Requests that need another peer, or time.

use super::*;

#[test]
fn only_one_request_for_space_is_outstanding_and_it_is_repeated() {
    let mut allocator = seeded("10.0.0.0/29", 2);
    fill(&mut allocator, 3);
    drain(&mut allocator);

    pending(allocator.allocate(START, "a", None, true));
    pending(allocator.allocate(START, "b", None, true));
    assert_eq!(asked(&drain(&mut allocator)), [B]);

    allocator.handle_timeout(TICK);
    assert_eq!(asked(&drain(&mut allocator)), [B]);
}

#[test]
fn when_a_peer_cannot_give_the_next_is_asked_at_once() {
    let mut allocator = seeded("10.0.0.0/28", 3);
    fill(&mut allocator, 7);
    pending(allocator.allocate(START, "a", None, true));
    let first = asked(&drain(&mut allocator))[0];
    let second = if first == B { C } else { B };

    // It has nothing left, as its ring shows.
    let state = edited(&allocator, first, |entries| {
        let entry = entries
            .iter_mut()
            .find(|entry| entry.peer == first)
            .unwrap();
        (entry.free, entry.version) = (0, entry.version + 1);
    });
    allocator.handle_unicast(START, first, Message::RingUpdate(state));
    assert_eq!(asked(&drain(&mut allocator)), [second]);

    // There is no way to the other one.
    allocator.handle_send_failed(START, second);
    assert_eq!(asked(&drain(&mut allocator)), []);

    allocator.handle_timeout(TICK);
    assert_eq!(
        asked(&drain(&mut allocator)),
        [second],
        "after a while it is tried again"
    );
}

#[test]
fn peers_outside_the_network_are_not_asked_until_they_come() {
    let mut allocator = seeded("10.0.0.0/29", 2);
    fill(&mut allocator, 3);
    allocator.handle_reachable(START, BTreeSet::new(), 0);

    pending(allocator.allocate(START, "a", None, true));
    assert_eq!(asked(&drain(&mut allocator)), []);

    allocator.handle_reachable(START, [B].into(), 0);
    assert_eq!(asked(&drain(&mut allocator)), [B]);
}

#[test]
fn a_denied_claim_fails_and_names_the_owner() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let ticket = pending(allocator.claim(START, "a", net("10.0.0.200/24"), false));
    drain(&mut allocator);
    events(&mut allocator);

    let family = allocator.universe.family;
    let at = number("10.0.0.200".parse().unwrap());
    let denied = AddressRange {
        family,
        span: Span::single(at),
    };
    allocator.handle_unicast(START, C, Message::SpaceDenied(denied));
    assert_eq!(
        events(&mut allocator),
        [],
        "only the peer that was asked can deny"
    );
    allocator.handle_unicast(START, B, Message::SpaceDenied(denied));

    let [
        Event::Settled {
            ticket: settled,
            result: Err(error),
        },
    ] = &events(&mut allocator)[..]
    else {
        panic!("not settled");
    };
    assert_eq!(*settled, ticket);
    assert!(
        error
            .to_string()
            .starts_with("address 10.0.0.200/24 is owned by other peer")
    );
}

#[test]
fn a_claim_gives_up_on_a_missing_owner_unless_it_is_patient() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    allocator.handle_reachable(START, BTreeSet::new(), 0);
    let hasty = pending(allocator.claim(START, "a", net("10.0.0.200/24"), false));
    pending(allocator.reclaim(START, "b", net("10.0.0.201/24"), false));
    events(&mut allocator);

    for round in 1..=5 {
        allocator.handle_timeout(TICK * round);
    }

    let settled = events(&mut allocator);
    assert!(
        matches!(&settled[..], [Event::Settled { ticket, result: Err(_) }] if *ticket == hasty)
    );
    assert_eq!(allocator.status().pending_claims.len(), 1);
}

#[test]
fn deadlines_and_cancels_end_requests_in_every_state() {
    let init = InitMode::Consensus { expected: Some(3) };
    let mut allocator = Allocator::new(config("10.0.0.0/24", init), None).unwrap();
    let late = pending(allocator.allocate(START, "a", None, true));
    let dropped = pending(allocator.allocate(START, "b", None, true));
    assert!(allocator.set_deadline(late, Duration::from_secs(1)));

    assert!(allocator.cancel(dropped) && !allocator.cancel(dropped));
    assert_eq!(allocator.poll_timeout(), Some(Duration::from_secs(1)));
    allocator.handle_timeout(Duration::from_secs(1));

    let settled = events(&mut allocator);
    let [
        Event::Settled {
            ticket,
            result: Err(error),
        },
    ] = &settled[..]
    else {
        panic!("{settled:?}");
    };
    assert_eq!(*ticket, late);
    let expected = "Allocate request for a not met in time: awaiting consensus";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(allocator.status().pending_allocates.is_empty());
}

#[test]
fn a_grant_is_in_the_revision_before_anyone_can_hear_of_it() {
    let mut allocator = seeded("10.0.0.0/24", 1);
    let before = allocator.revision();

    let wanted = Message::SpaceRequest(allocator.universe);
    allocator.handle_unicast(START, B, wanted);

    assert!(allocator.revision() > before);
    let ring = Snapshot::take(
        allocator.config.universe,
        allocator.ring(),
        &allocator.ledger,
    )
    .ring;
    assert_eq!(allocator.snapshot().ring, ring);
    let sent = drain(&mut allocator);
    assert!(matches!(
        &sent[..],
        [
            Transmit::Broadcast,
            Transmit::Unicast {
                to: B,
                message: Message::RingUpdate(_)
            }
        ]
    ));
}

#[test]
fn a_request_for_a_subnet_is_refused_by_the_ring_alone_and_a_claim_by_a_denial_first() {
    let mut allocator = seeded("10.0.0.0/29", 2);
    fill(&mut allocator, 3);
    let AddressRange { family, span } = allocator.universe;
    let one = AddressRange {
        family,
        span: Span::single(span.start() + 2),
    };
    let usable = AddressRange {
        family,
        span: Span::between(span.start() + 1, span.start() + 4),
    };

    allocator.handle_unicast(START, B, Message::SpaceRequest(usable));
    assert!(matches!(
        &drain(&mut allocator)[..],
        [Transmit::Unicast {
            to: B,
            message: Message::RingUpdate(_)
        }]
    ));

    allocator.handle_unicast(START, B, Message::SpaceRequest(one));
    assert!(matches!(
        &drain(&mut allocator)[..],
        [
            Transmit::Unicast {
                message: Message::SpaceDenied(_),
                ..
            },
            Transmit::Unicast {
                message: Message::RingUpdate(_),
                ..
            }
        ]
    ));
}

fn cooling(universe: &str, count: u64) -> Allocator {
    let init = InitMode::Seed((1..=count).map(PeerId).collect());
    let config = config(universe, init).cool_down(Duration::from_secs(10));
    let mut allocator = Allocator::new(config, None).unwrap();
    allocator.handle_reachable(START, (1..=count).map(PeerId).collect(), 0);
    allocator
}

#[test]
fn a_released_address_rests_while_there_is_another() {
    let mut allocator = cooling("10.0.0.0/29", 1);
    fill(&mut allocator, 2);
    allocator.delete(START, "pod0").unwrap();

    let next = allocator.allocate(START, "a", None, true).unwrap();

    assert_eq!(next, Outcome::Ready(net("10.0.0.3/29")));
}

#[test]
fn with_nothing_else_left_the_longest_rested_address_is_given() {
    let mut allocator = cooling("10.0.0.0/29", 1);
    fill(&mut allocator, 6);
    for (ident, at) in [("pod4", 1), ("pod0", 2), ("pod2", 3)] {
        allocator.delete(Duration::from_secs(at), ident).unwrap();
    }

    let now = Duration::from_secs(4);
    let given = ["a", "b", "c"].map(|ident| allocator.allocate(now, ident, None, true).unwrap());

    let order = ["10.0.0.5/29", "10.0.0.1/29", "10.0.0.3/29"];
    assert_eq!(given, order.map(|address| Outcome::Ready(net(address))));
    pending(allocator.allocate(now, "d", None, true));
}

#[test]
fn released_addresses_cool_down_and_then_wake_waiters() {
    let seconds = Duration::from_secs;
    // A peer that can be asked comes before an address that has not rested.
    let mut allocator = cooling("10.0.0.0/29", 2);
    fill(&mut allocator, 3);
    allocator.delete(seconds(1), "pod0").unwrap();
    let ticket = pending(allocator.allocate(seconds(1), "a", None, true));
    events(&mut allocator);

    while let Some(at) = allocator.poll_timeout().filter(|at| *at < seconds(11)) {
        allocator.handle_timeout(at);
    }
    assert_eq!(events(&mut allocator), []);
    allocator.handle_timeout(seconds(11));

    let address = Answer::Address(net("10.0.0.1/29"));
    assert_eq!(
        events(&mut allocator),
        [Event::Settled {
            ticket,
            result: Ok(address)
        }]
    );
}
