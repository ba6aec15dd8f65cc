//! What Weave Net got wrong, and one test for each that says how it is here. What is tested
//! elsewhere: conflicts, foreign rings and names in `merging`, reclaiming twice in `holding`, stale state in
//! `identity`, seeds in `healing`, waiting and waking in `asking`.

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

// ===== bounds =====

#[test]
fn a_flood_of_events_nobody_takes_is_cut_off_and_counted() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    for round in 0..3000 {
        let mut foreign = Ring::new(allocator.universe, PeerId(1000 + round));
        foreign.form(&[C]);
        let state = State {
            ring: Some(Arc::new(foreign)),
            ..State::default()
        };
        allocator.handle_broadcast(START, PeerId(1000 + round), state);
    }

    let status = allocator.status();
    assert_eq!(
        events(&mut allocator).len() + usize::try_from(status.events_dropped).unwrap(),
        3000 + 1
    );
    assert!(status.refusals.len() <= 64);
    assert!(drain(&mut allocator).len() <= MAX_UNICASTS + 1);
}

#[test]
fn a_flood_of_requests_leaves_a_bounded_number_of_answers() {
    let mut allocator = seeded("10.0.0.0/24", 1);
    fill(&mut allocator, 254);
    drain(&mut allocator);
    let family = allocator.universe.family;
    for from in 0..10_000 {
        let at = allocator.universe.span.start() + 1 + u128::from(from) % 254;
        let range = AddressRange {
            family,
            span: Span::single(at),
        };
        allocator.handle_unicast(START, PeerId(100 + from), Message::SpaceRequest(range));
    }

    assert!(drain(&mut allocator).len() <= MAX_UNICASTS + 1);
}

#[test]
fn a_crowd_of_names_is_remembered_up_to_the_bound() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let crowd: BTreeMap<PeerId, String> = (100..20_000)
        .map(|peer| {
            (
                PeerId(peer),
                "x".repeat(300 - usize::try_from(peer % 100).unwrap()),
            )
        })
        .collect();
    let state = State {
        nicknames: crowd,
        ..State::default()
    };

    allocator.handle_gossip(START, state);

    let known = allocator.state(0).nicknames;
    assert!(known.len() <= 4096 && known.values().all(|name| name.len() <= 255));
}

#[test]
fn more_requests_than_the_bound_are_refused() {
    let mut allocator = seeded("10.0.0.0/30", 1);
    fill(&mut allocator, 2);
    for n in 0..pending::MAX_PENDING {
        allocator.pending.insert(pending::Kind::Prime);
        assert_eq!(n + 1, allocator.pending.primes());
        if n > 10 {
            break;
        }
    }
    while !allocator.pending.is_full() {
        allocator.pending.insert(pending::Kind::Prime);
    }

    let refused = allocator.allocate(START, "late", None, true);

    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
}

#[test]
fn a_ring_of_too_many_entries_is_refused_whole() {
    let mut allocator = {
        let config = Config::new(net("10.0.0.0/8"), US).init(InitMode::Seed(vec![US]));
        Allocator::new(config, None).unwrap()
    };
    let start = allocator.universe.span.start();
    let count = u128::try_from(crate::ring::MAX_ENTRIES).unwrap() + 1;
    let entries = (0..count).map(|n| Entry {
        token: start + n,
        peer: C,
        version: 0,
        free: 1,
    });
    let ring = Ring::from_parts(allocator.universe, C, entries.collect(), vec![US]);
    let before = allocator.ring().clone();
    let state = State {
        ring: Some(Arc::new(ring)),
        ..State::default()
    };

    allocator.handle_broadcast(START, C, state);

    assert_eq!(*allocator.ring(), before);
    assert!(matches!(
        events(&mut allocator).last(),
        Some(Event::Refused {
            refusal: Refusal::TooLarge(_),
            ..
        })
    ));
}
