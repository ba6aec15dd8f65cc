//! Rings and names that come from others.

use super::*;

#[test]
fn a_range_lost_to_a_peer_leaves_the_space_in_the_same_step() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let state = edited(&allocator, C, |entries| {
        (entries[0].peer, entries[0].version) = (C, 100);
    });

    allocator.handle_unicast(START, C, Message::RingUpdate(state));

    assert_eq!(allocator.space().owned().count(), 0);
    assert!(
        events(&mut allocator)
            .iter()
            .any(|event| matches!(event, Event::RangeLost(_)))
    );
    pending(allocator.allocate(START, "a", None, true));
}

#[test]
fn a_contradicting_entry_is_confined_reported_once_and_blocks_only_its_range() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let Outcome::Ready(held) = allocator.allocate(START, "a", None, true).unwrap() else {
        panic!("no address");
    };
    events(&mut allocator);
    let rival = |allocator: &Allocator| {
        edited(allocator, C, |entries| {
            (entries[0].peer, entries[0].version) = (C, 100);
            (entries[1].version, entries[1].free) = (5, 9);
        })
    };

    let state = rival(&allocator);
    allocator.handle_broadcast(START, C, state.clone());
    allocator.handle_broadcast(START, C, state);

    let conflicts: Vec<_> = events(&mut allocator)
        .into_iter()
        .filter(|event| matches!(event, Event::Conflict { reporter: C, .. }))
        .collect();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(allocator.ring().entries()[1].free, 9, "the rest was merged");
    assert_eq!(
        allocator.ring().owner(number(held.addr())),
        Some(US),
        "what is in use stays"
    );
    assert_eq!(allocator.status().conflicts.len(), 1);
    // Nothing further is handed out there, and the address in use can still be released.
    let ticket = pending(allocator.allocate(START, "b", None, true));
    allocator.cancel(ticket);
    allocator.free(START, "a", held.addr()).unwrap();
    // With nothing in use, we yield.
    let state = rival(&allocator);
    allocator.handle_broadcast(START, C, state);
    assert_eq!(allocator.ring().owner(number(held.addr())), Some(C));
    assert!(allocator.status().conflicts.is_empty() && allocator.status().contested.is_empty());
}

#[test]
fn a_range_that_two_peers_hold_is_not_handed_out_until_one_gives_in() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    // B, restored from an old disk, believes to own everything; its version is lower.
    let stale = edited(&allocator, B, |entries| {
        entries[0].peer = B;
        entries[1].version = 3;
    });
    let _ = allocator.allocate(START, "b", None, true).unwrap();
    allocator.delete(START, "b").unwrap();

    allocator.handle_unicast(START, B, Message::RingUpdate(stale));
    let ticket = pending(allocator.allocate(START, "a", None, true));
    events(&mut allocator);

    let settled = edited(&allocator, B, |_| {});
    allocator.handle_unicast(START, B, Message::RingUpdate(settled));

    assert!(matches!(
        events(&mut allocator)[..],
        [Event::Settled { ticket: found, result: Ok(_) }] if found == ticket
    ));
}

#[test]
fn taking_over_one_rival_does_not_settle_what_another_claims() {
    let mut allocator = seeded("10.0.0.0/24", 3);
    fill(&mut allocator, 1);
    let _ = allocator
        .claim(START, "high", net("10.0.0.40/24"), true)
        .unwrap();
    let start = allocator.universe.span.start();
    let ours = Span::between(start, start + 128);
    // B knows that our range went to C, which gave the upper part of it to B.
    let state = edited(&allocator, B, |entries| {
        (entries[0].peer, entries[0].version, entries[0].free) = (C, 100, 32);
        let given = Entry {
            token: start + 32,
            peer: B,
            version: 0,
            free: 96,
        };
        entries.insert(1, given);
    });
    allocator.handle_unicast(START, B, Message::RingUpdate(state));
    assert!(allocator.contests.undisputed(ours).is_empty());
    allocator.handle_reachable(START, [B].into(), 0);

    allocator.try_takeover(START, &C.to_string()).unwrap();

    assert_eq!(
        allocator.contests.undisputed(ours),
        [Span::between(start, start + 32)]
    );
}

#[test]
fn foreign_and_broken_rings_are_refused_whole_and_shown() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let before = allocator.ring().clone();
    let foreign = |universe: &str, seeds: &[PeerId]| {
        let mut ring = Ring::new(AddressRange::of(net(universe)), C);
        ring.form(seeds);
        State {
            ring: Some(Arc::new(ring)),
            ..State::default()
        }
    };
    let unsorted = edited(&allocator, C, |entries| entries.reverse());

    assert!(!allocator.handle_broadcast(START, B, foreign("10.0.0.0/24", &[C])));
    assert!(!allocator.handle_broadcast(START, C, foreign("10.0.0.0/23", &[US, B])));
    assert!(!allocator.handle_gossip(START, unsorted));

    assert_eq!(*allocator.ring(), before);
    assert_eq!(allocator.status().refusals.len(), 3);
    let refused = |event: &Event| matches!(event, Event::Refused { .. });
    assert_eq!(
        events(&mut allocator)
            .iter()
            .filter(|event| refused(event))
            .count(),
        3
    );
}

#[test]
fn a_peer_that_knows_newer_versions_of_our_entries_is_outdone_and_reported() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    events(&mut allocator);
    let state = edited(&allocator, B, |entries| entries[0].version = u32::MAX);

    allocator.handle_unicast(START, B, Message::RingUpdate(state));

    assert_eq!(
        allocator.ring().entries()[0].version,
        u32::MAX,
        "never falls back to 0"
    );
    assert!(matches!(
        events(&mut allocator)[..],
        [
            Event::Outdated { count: 1, .. },
            Event::Held(HoldCause::Doubt)
        ]
    ));
    // Nobody would hear of a grant from this entry, so there is none.
    drain(&mut allocator);
    let wanted = Message::SpaceRequest(allocator.universe);
    allocator.handle_unicast(START, C, wanted);
    assert_eq!(
        allocator.ring().owner(number("10.0.0.0".parse().unwrap())),
        Some(US)
    );
    assert_eq!(drain(&mut allocator).len(), 1);
}

#[test]
fn a_broadcast_without_a_ring_is_answered_and_periodic_gossip_is_not() {
    let mut allocator = seeded("10.0.0.0/24", 1);
    let empty = State {
        votes: Some(BTreeMap::new()),
        ..State::default()
    };

    assert!(!allocator.handle_gossip(START, empty.clone()));
    assert_eq!(drain(&mut allocator), []);

    assert!(allocator.handle_broadcast(START, B, empty));
    assert!(matches!(
        &drain(&mut allocator)[..],
        [Transmit::Unicast { to: B, message: Message::RingUpdate(state) }] if state.ring.is_some()
    ));
}

#[test]
fn nicknames_come_from_their_bearers() {
    let mut allocator = seeded("10.0.0.0/24", 3);
    let named = |peer: PeerId, name: &str| State {
        nicknames: [(peer, name.to_owned())].into(),
        ..State::default()
    };

    allocator.handle_broadcast(START, C, named(B, "bee"));
    allocator.handle_broadcast(START, C, named(B, "liar"));
    allocator.handle_broadcast(START, C, named(US, "liar"));
    let known = allocator.state(0).nicknames;
    assert_eq!((known[&B].as_str(), known[&US].as_str()), ("bee", "us"));

    allocator.handle_broadcast(START, B, named(B, "bumble"));
    assert_eq!(allocator.state(0).nicknames[&B], "bumble");
}
