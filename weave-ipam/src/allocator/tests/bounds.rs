//! What others can make us keep (`ALGORITHM.md`, section "bounds").

use super::*;

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
