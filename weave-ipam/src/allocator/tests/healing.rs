//! Two rings that meet.

use super::club::Club;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ready(outcome: Outcome<IpNet>) -> IpNet {
    match outcome {
        Outcome::Ready(address) => address,
        Outcome::Pending(_) => panic!("no address"),
    }
}

/// Two networks of which each formed a ring, not yet connected: 1 and 2, and `apart`.
fn apart(members: &[u64]) -> (Club, Vec<PeerId>) {
    let mut club = Club::seeded("10.0.0.0/26", 2);
    let seeds: Vec<PeerId> = members.iter().copied().map(PeerId).collect();
    for peer in &seeds {
        club.cut(*peer);
        club.start(*peer, "10.0.0.0/26", InitMode::Seed(seeds.clone()), None);
    }
    (club, seeds)
}

fn rings(club: &Club) -> usize {
    let rings = club.members.values().map(|allocator| {
        let entries = allocator.ring().entries().iter();
        let owners: Vec<_> = entries.map(|e| (e.token, e.peer, e.version)).collect();
        (allocator.ring().seeds().to_vec(), owners)
    });
    rings.collect::<BTreeSet<_>>().len()
}

#[test]
fn of_two_rings_the_one_with_fewer_owners_gives_way() {
    let (mut club, _) = apart(&[7]);

    club.join();
    club.run(SECOND * 35);

    assert_eq!(rings(&club), 1);
    assert_eq!(club.at(PeerId(7)).ring().seeds(), [US, B]);
    let events = club.take_events();
    let replaced = |event: &Event| matches!(event, Event::RingReplaced { .. });
    let places: Vec<PeerId> = events
        .iter()
        .filter(|(_, event)| replaced(event))
        .map(|(place, _)| *place)
        .collect();
    assert_eq!(places, [PeerId(7)]);
}

#[test]
fn two_rings_that_meet_become_one() {
    let (mut club, seeds) = apart(&[7, 8]);
    // Each side hands out the same addresses.
    for place in [US, B, seeds[0], seeds[1]] {
        for n in 0..3 {
            ready(club.allocate(place, &format!("pod{n}")));
        }
    }

    club.join();
    club.run(SECOND * 65);

    assert_eq!(
        rings(&club),
        1,
        "equal numbers: the lower list of seeds stays"
    );
    assert_eq!(club.at(seeds[0]).ring().seeds(), [US, B]);
    club.check_no_duplicates();
    let must: usize = club
        .members
        .values()
        .map(|a| a.status().renumber.len())
        .sum();
    assert_eq!(
        must, 6,
        "every address of the losers is in use with the winners"
    );
}

#[test]
fn addresses_that_cannot_be_kept_are_named() {
    let (mut club, _) = apart(&[7]);
    let taken = ready(club.allocate(US, "theirs"));
    let now = club.now;
    let seven = club.at(PeerId(7));
    let same = seven.claim(now, "same", taken, true).unwrap();
    let free = seven.claim(now, "free", net("10.0.0.40/26"), true).unwrap();
    assert_eq!((same, free), (Outcome::Ready(()), Outcome::Ready(())));

    club.join();
    club.run(SECOND * 35);

    let status = club.at(PeerId(7)).status();
    let lines: Vec<String> = status.renumber.iter().map(ToString::to_string).collect();
    let expected = format!("{taken} of same belongs to {US}: give it another address");
    assert_eq!(lines, [expected], "the other was granted");
    let named = |event: &Event| matches!(event, Event::Renumber { ident, .. } if ident == "same");
    assert!(club.take_events().iter().any(|(_, event)| named(event)));
    assert_eq!(
        club.at(PeerId(7)).lookup("free", None),
        [net("10.0.0.40/26")]
    );
    assert_eq!(
        club.at(US)
            .ring()
            .owner(number("10.0.0.40".parse().unwrap())),
        Some(PeerId(7))
    );

    // It survives a restart, asking again gives another address, releasing settles it.
    let snapshot = club.stop(PeerId(7));
    club.start(PeerId(7), "10.0.0.0/26", InitMode::Observer, Some(snapshot));
    club.run(SECOND * 12);
    assert_eq!(club.at(PeerId(7)).status().renumber.len(), 1);
    let _ = club.allocate(PeerId(7), "same");
    club.run(SECOND);
    let held = club.at(PeerId(7)).lookup("same", None);
    assert_eq!((held.len(), held[0]), (2, taken));
    let now = club.now;
    club.at(PeerId(7)).free(now, "same", taken.addr()).unwrap();
    assert!(club.at(PeerId(7)).status().renumber.is_empty());
    club.check_no_duplicates();
}

#[test]
fn a_voter_keeps_its_word_over_a_restart() {
    let init = InitMode::Consensus { expected: Some(5) };
    let new = |name: u64, snapshot| {
        let config = Config::new(net("10.0.0.0/24"), PeerId(name)).uid(name);
        Allocator::new(config.init(init.clone()), snapshot).unwrap()
    };
    let [mut a, mut b, mut c] = [1, 2, 3].map(|name| new(name, None));
    let tell = |from: &Allocator, to: &mut Allocator| {
        to.handle_broadcast(START, from.config.peer, from.state(0));
    };
    let _ = a.prime(START);
    for other in [&mut b, &mut c] {
        tell(&a, other);
        tell(other, &mut a);
    }
    // 1 has accepted, 2 accepts and fails, 3 completes the majority, as 1 hears.
    tell(&a, &mut b);
    let saved = b.snapshot();
    assert!(saved.ring.is_none() && saved.voter.is_some());
    tell(&b, &mut c);
    tell(&c, &mut a);
    assert_eq!(a.ring().seeds(), [1, 2, 3].map(PeerId));

    // 2 comes back among others who know nothing of it.
    let mut club = Club::new();
    for name in [4, 5] {
        club.start(PeerId(name), "10.0.0.0/24", init.clone(), None);
    }
    club.start(B, "10.0.0.0/24", init.clone(), Some(saved));
    let _ = club.at(PeerId(4)).prime(START);
    club.settle();
    club.run(SECOND * 20);

    assert_eq!(club.at(PeerId(4)).ring().seeds(), [1, 2, 3].map(PeerId));
}

#[test]
fn the_winner_keeps_its_ring_and_tells_the_other_side() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let before = allocator.ring().clone();
    let mut foreign = Ring::new(allocator.universe, C);
    foreign.form(&[C]);
    let state = State {
        ring: Some(Arc::new(foreign)),
        ..State::default()
    };
    drain(&mut allocator);

    allocator.handle_broadcast(START, C, state.clone());
    let answer = drain(&mut allocator);
    allocator.handle_broadcast(START, C, state);

    assert_eq!(*allocator.ring(), before);
    assert!(matches!(
        &answer[..],
        [Transmit::Unicast { to: C, message: Message::RingUpdate(state) }] if state.ring.is_some()
    ));
    assert_eq!(drain(&mut allocator), [], "once is enough");
}
