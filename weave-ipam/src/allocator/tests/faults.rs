//! What Weave Net got wrong, and how it is here. `ALGORITHM.md`, section "faults of Weave Net",
//! lists all of them, with the tests that are elsewhere.

use super::club::Club;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_same_dead_peer_taken_over_by_two_ends_with_one_owner() {
    let mut club = Club::seeded("10.0.0.0/26", 4);
    club.stop(PeerId(4));
    club.cut(US);
    for place in [US, B] {
        let now = club.now;
        assert_eq!(club.at(place).try_takeover(now, "::4"), Ok(16), "{place}");
    }
    club.join();
    club.run(SECOND * 65);

    let owner = club
        .at(C)
        .ring()
        .owner(number("10.0.0.60".parse().unwrap()));
    for place in [US, B, C] {
        let ring = club.at(place).ring();
        assert_eq!(ring.owner(number("10.0.0.60".parse().unwrap())), owner);
        assert!(club.at(place).status().contested.is_empty());
    }
    for n in 0..4 {
        for place in [US, B, C] {
            let _ = club.allocate(place, &format!("pod{n}"));
        }
    }
    club.check_no_duplicates();
}

#[test]
fn both_takers_using_what_they_took_costs_that_range_and_nothing_else() {
    let mut club = Club::seeded("10.0.0.0/28", 4);
    club.stop(PeerId(4));
    club.cut(US);
    for place in [US, B] {
        let now = club.now;
        club.at(place).try_takeover(now, "::4").unwrap();
        club.run(SECOND * 11);
        let now = club.now;
        let address = net("10.0.0.13/28");
        let claimed = club.at(place).claim(now, "pod", address, true).unwrap();
        assert_eq!(claimed, Outcome::Ready(()));
    }

    club.join();
    club.run(SECOND * 65);

    for place in [US, B] {
        let status = club.at(place).status();
        assert!(!status.contested.is_empty());
        assert!(
            status
                .conflicts
                .iter()
                .any(|text| text.contains("10.0.0.12") && text.contains(" v")),
            "{:?}",
            status.conflicts
        );
        let address = club.allocate(place, "other");
        let Outcome::Ready(address) = address else {
            panic!("own space is not concerned")
        };
        assert!(number(address.addr()) < number("10.0.0.12".parse().unwrap()));
    }
}

#[test]
fn a_free_count_beyond_its_range_is_clipped_where_tokens_and_counts_mix() {
    // One peer's ring has a token more, another's a count from before that token.
    let mut allocator = seeded("10.0.0.0/24", 2);
    let split = edited(&allocator, C, |entries| {
        let token = entries[1].token + 64;
        entries[1].free = 64;
        entries.push(Entry {
            token,
            peer: C,
            version: 0,
            free: 64,
        });
    });
    let stale = edited(&allocator, B, |entries| {
        (entries[1].version, entries[1].free) = (1, 128);
    });

    allocator.handle_unicast(START, B, Message::RingUpdate(stale));
    allocator.handle_unicast(START, C, Message::RingUpdate(split));

    assert_eq!(allocator.ring().check(), Ok(()));
    assert_eq!(allocator.ring().entries().len(), 3);
    let refused = |event: &Event| matches!(event, Event::Refused { .. });
    assert!(!events(&mut allocator).iter().any(refused));
}

#[test]
fn an_anonymous_address_and_a_claimed_one_never_collide() {
    let mut allocator = seeded("10.0.0.0/29", 1);
    let mut given = BTreeSet::new();
    for _ in 0..3 {
        match allocator.allocate(START, "_", None, false).unwrap() {
            Outcome::Ready(address) => assert!(given.insert(address)),
            Outcome::Pending(_) => panic!("no address"),
        }
    }

    let claimed = allocator.claim(START, "pod", *given.first().unwrap(), true);

    assert!(matches!(claimed, Err(Error::AlreadyInUse(_))));
}

#[test]
fn a_denial_of_a_subnet_fails_no_claim_in_it() {
    let mut allocator = seeded("10.0.0.0/28", 2);
    fill(&mut allocator, 7);
    let claim = pending(allocator.claim(START, "static", net("10.0.0.12/28"), true));
    pending(allocator.allocate(START, "any", None, true));
    drain(&mut allocator);

    let denial = Message::SpaceDenied(allocator.universe);
    allocator.handle_unicast(START, B, denial);

    let failed = |event: &Event| matches!(event, Event::Settled { ticket, .. } if *ticket == claim);
    assert!(!events(&mut allocator).iter().any(failed));
    assert_eq!(allocator.status().pending_claims.len(), 1);
}

#[test]
fn a_claim_that_was_accepted_is_not_dropped_when_nobody_waits() {
    let mut club = Club::seeded("10.0.0.0/28", 2);
    let address = net("10.0.0.12/28");
    club.cut(B);
    let now = club.now;
    let outcome = club.at(US).reclaim(now, "pod", address, true).unwrap();
    assert!(matches!(outcome, Outcome::Pending(_)));
    club.run(SECOND * 120);

    club.join();
    club.run(SECOND * 10);

    assert_eq!(club.at(US).lookup("pod", None), [address]);
}

#[test]
fn a_departing_peer_without_an_heir_keeps_its_entries() {
    let mut allocator = seeded("10.0.0.0/24", 1);
    let before = allocator.ring().clone();

    allocator.shutdown(START);

    assert_eq!(
        allocator.ring().entries(),
        before.entries(),
        "no space goes to nobody"
    );
    assert_eq!(drain(&mut allocator), []);
}

#[test]
fn leaving_twice_is_leaving_once_and_waiting_for_a_ring_ends() {
    let mut club = Club::seeded("10.0.0.0/26", 3);
    let now = club.now;
    club.at(US).shutdown(now);
    club.settle();
    let ring = club.at(US).ring().clone();
    club.at(US).shutdown(now);
    club.settle();

    assert_eq!(*club.at(US).ring(), ring);
    assert!(club.at(US).ring().ranges_of(US).is_empty());
    assert_eq!(club.at(US).prime(now), Outcome::Ready(()));
    let late = club.at(US).allocate(now, "pod", None, true);
    assert!(matches!(late, Err(Error::Cancelled(_))));
}

#[test]
fn abandoned_requests_are_gone_before_there_is_a_ring() {
    let init = InitMode::Consensus { expected: Some(3) };
    let mut allocator = Allocator::new(config("10.0.0.0/24", init), None).unwrap();
    for n in 0..100 {
        let ticket = pending(allocator.allocate(START, &format!("pod{n}"), None, true));
        assert!(allocator.cancel(ticket));
    }

    assert_eq!(allocator.pending.ranges(allocator.universe.span).len(), 0);
    assert!(allocator.status().pending_allocates.is_empty());
}

#[test]
fn one_peers_free_space_is_split_and_not_fragmented_by_repeated_requests() {
    let mut club = Club::seeded("10.0.0.0/24", 2);
    let mut entries = 0;
    for round in 0..50 {
        for n in 0..3 {
            let _ = club.allocate(B, &format!("pod{n}"));
            club.run(SECOND);
        }
        for n in 0..3 {
            let now = club.now;
            let _ = club.at(B).delete(now, &format!("pod{n}"));
        }
        club.run(SECOND);
        if round == 0 {
            entries = club.at(US).ring().entries().len();
        }
    }

    assert_eq!(club.at(US).ring().entries().len(), entries);
}

#[test]
fn only_the_edges_of_a_subnet_are_not_granted() {
    let mut allocator = seeded("10.0.0.0/29", 1);
    fill(&mut allocator, 6);
    drain(&mut allocator);

    let wanted = Message::SpaceRequest(allocator.universe);
    allocator.handle_unicast(START, B, wanted);

    assert_eq!(allocator.ring().peers(), [US].into());
}

#[test]
fn a_claim_is_granted_while_the_address_cools_down() {
    let init = InitMode::Seed(vec![US]);
    let config = config("10.0.0.0/29", init).cool_down(SECOND * 60);
    let mut allocator = Allocator::new(config, None).unwrap();
    allocator.handle_reachable(START, [B].into(), 1);
    fill(&mut allocator, 3);
    allocator.delete(START, "pod1").unwrap();

    let at = number("10.0.0.2".parse().unwrap());
    let wanted = AddressRange {
        family: allocator.universe.family,
        span: Span::single(at),
    };
    allocator.handle_unicast(START, B, Message::SpaceRequest(wanted));

    assert_eq!(allocator.ring().owner(at), Some(B));
    assert_eq!(
        allocator.poll_timeout(),
        None,
        "nothing of it is left to cool down"
    );
}

#[test]
fn a_departing_peer_finds_an_heir_who_owns_nothing() {
    let mut allocator = seeded("10.0.0.0/24", 1);
    allocator.handle_reachable(START, [C].into(), 0);

    allocator.shutdown(START);

    assert_eq!(allocator.ring().peers(), [C].into());
    assert_eq!(drain(&mut allocator), [Transmit::Broadcast]);
}

#[test]
fn a_request_that_is_not_met_says_whom_it_waited_for() {
    let mut allocator = seeded("10.0.0.0/29", 2);
    fill(&mut allocator, 3);
    allocator.handle_reachable(START, BTreeSet::new(), 1);
    let ticket = pending(allocator.allocate(START, "pod", None, true));
    allocator.set_deadline(ticket, SECOND);

    allocator.handle_timeout(SECOND);

    let settled = events(&mut allocator);
    let [
        ..,
        Event::Settled {
            result: Err(error), ..
        },
    ] = &settled[..]
    else {
        panic!("{settled:?}");
    };
    let text = error.to_string();
    assert!(text.contains("00:00:00:00:00:02"), "{text}");
}

#[test]
fn uneven_shares_starve_nobody() {
    // Three peers halve to 1/2, 1/4 and 1/4, and two own nothing.
    let mut club = Club::seeded("10.0.0.0/25", 3);
    for newcomer in [4, 5] {
        club.start(PeerId(newcomer), "10.0.0.0/25", InitMode::Observer, None);
    }

    for n in 0..24 {
        for place in (1..=5).map(PeerId) {
            let _ = club.allocate(place, &format!("pod{n}"));
            club.run(SECOND);
        }
    }
    club.run(SECOND * 60);

    let held = |allocator: &Allocator| allocator.owned().count();
    let counts: Vec<usize> = club.members.values().map(held).collect();
    assert_eq!(counts, [24; 5], "120 of 126 addresses");
    club.check_no_duplicates();
}

#[test]
fn addresses_found_in_use_before_there_is_a_ring_are_nobody_elses() {
    // The state is lost; what runs on this host is known from elsewhere.
    let init = || InitMode::Consensus { expected: Some(2) };
    let mut club = Club::new();
    club.start(US, "10.0.0.0/28", init(), None);
    let now = club.now;
    pending(club.at(US).allocate(now, "new", None, true));
    for (ident, address) in [("old", "10.0.0.1/28"), ("far", "10.0.0.9/28")] {
        pending(club.at(US).reclaim(now, ident, net(address), true));
    }

    club.start(B, "10.0.0.0/28", init(), None);
    club.run(SECOND * 10);

    assert_eq!(club.at(US).lookup("old", None), [net("10.0.0.1/28")]);
    assert_eq!(club.at(US).lookup("far", None), [net("10.0.0.9/28")]);
    assert_eq!(club.at(US).lookup("new", None), [net("10.0.0.2/28")]);
    for n in 0..3 {
        let _ = club.allocate(B, &format!("pod{n}"));
    }
    club.check_no_duplicates();
}
