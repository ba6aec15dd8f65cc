//! Another process under our name, or an older state of ourselves.

use super::club::Club;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PLACE: PeerId = PeerId(90);

fn ready(outcome: Outcome<IpNet>) -> IpNet {
    match outcome {
        Outcome::Ready(address) => address,
        Outcome::Pending(_) => panic!("no address"),
    }
}

fn has(events: &[(PeerId, Event)], wanted: impl Fn(&Event) -> bool) -> bool {
    events.iter().any(|(_, event)| wanted(event))
}

#[test]
fn a_rolled_back_peer_holds_back_and_recovers() {
    let mut club = Club::seeded("10.0.0.0/26", 2);
    let old = club.at(US).snapshot();
    // Since the old state was saved, half of our range went to a newcomer, who uses it.
    club.cut(B);
    club.start(C, "10.0.0.0/26", InitMode::Observer, None);
    let theirs: Vec<IpNet> = (0..8)
        .map(|n| ready_after(&mut club, C, &format!("c{n}")))
        .collect();
    club.join();
    club.stop(US);
    club.take_events();

    club.start(US, "10.0.0.0/26", InitMode::Observer, Some(old));
    let first = club.allocate(US, "late");
    club.run(SECOND * 12);
    let events = club.take_events();
    let status = club.at(US).status();

    assert!(matches!(first, Outcome::Pending(_)));
    assert!(
        has(&events, |event| matches!(event, Event::Outdated { .. })),
        "{events:?}"
    );
    let says = status.doubt.expect("in doubt").to_string();
    assert!(says.contains("rolled back"), "{says}");
    assert!(club.at(US).lookup("late", None).is_empty(), "held");

    club.run(SECOND * 60);
    let events = club.take_events();
    assert!(has(&events, |event| *event == Event::HoldOver(HoldCause::Doubt)));
    assert!(!has(&events, |event| matches!(event, Event::Twin { .. })));
    let late = club.at(US).lookup("late", None);
    assert_eq!(late.len(), 1);
    assert!(!theirs.contains(&late[0]));
    club.check_no_duplicates();
}

/// An address for `ident`, after the time that asking takes.
fn ready_after(club: &mut Club, place: PeerId, ident: &str) -> IpNet {
    let _ = club.allocate(place, ident);
    club.run(SECOND);
    club.at(place).lookup(ident, None)[0]
}

#[test]
fn twins_hold_each_other() {
    let mut club = Club::seeded("10.0.0.0/26", 2);
    let copy = club.at(US).snapshot();
    club.run(SECOND * 40);
    club.start_as(PLACE, US, "10.0.0.0/26", InitMode::Observer, Some(copy));
    club.run(SECOND * 2);

    // Each would give the lowest free address of the same range.
    let given = [US, PLACE].map(|place| club.allocate(place, "pod"));
    club.run(SECOND * 90);

    assert!(
        given
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Pending(_))),
        "{given:?}"
    );
    for place in [US, PLACE] {
        assert!(club.at(place).lookup("pod", None).is_empty());
        let says = club.at(place).status().doubt.expect("in doubt").to_string();
        assert!(
            says.starts_with("another process runs under our name"),
            "{says}"
        );
    }
    assert!(has(&club.take_events(), |event| matches!(
        event,
        Event::Twin { .. }
    )));

    // When one is stopped the other goes on.
    club.stop(US);
    club.run(SECOND * 60);
    assert_eq!(club.at(PLACE).lookup("pod", None).len(), 1);
}

#[test]
fn twins_in_turns_are_named() {
    let mut club = Club::seeded("10.0.0.0/26", 2);
    let copy = club.at(US).snapshot();
    club.cut(PLACE);
    club.start_as(PLACE, US, "10.0.0.0/26", InitMode::Observer, Some(copy));
    let mut twins = 0;
    for turn in 0..6 {
        let (inside, outside) = if turn % 2 == 0 {
            (US, PLACE)
        } else {
            (PLACE, US)
        };
        club.join();
        club.cut(outside);
        club.run(SECOND * 45);
        let _ = club.allocate(inside, &format!("pod{turn}"));
        club.run(SECOND * 45);
        let events = club.take_events();
        twins += usize::from(has(&events, |event| matches!(event, Event::Twin { .. })));
    }

    assert!(twins >= 2, "{twins}");
    let waits = club.at(US).status().doubt.is_some() || club.at(PLACE).status().doubt.is_some();
    assert!(waits);
}

#[test]
fn a_peer_without_memory_finds_its_own_ranges_and_holds_back() {
    let mut club = Club::seeded("10.0.0.0/26", 2);
    ready(club.allocate(US, "pod"));
    club.run(SECOND * 31);
    club.stop(US);

    club.start(US, "10.0.0.0/26", InitMode::Observer, None);
    club.run(SECOND);
    let outcome = club.allocate(US, "new");

    assert!(matches!(outcome, Outcome::Pending(_)));
    assert!(club.at(US).status().doubt.is_some());
    // What still runs on the host is claimed meanwhile.
    let now = club.now;
    let survivor = net("10.0.0.1/26");
    let kept = club.at(US).reclaim(now, "pod", survivor, true).unwrap();
    assert_eq!(kept, Outcome::Ready(()));
    club.run(SECOND * 45);
    let new = club.at(US).lookup("new", None);
    assert_eq!(new.len(), 1);
    assert_ne!(new[0], survivor);
}

#[test]
fn an_unknown_token_inside_our_own_range_shows_another_hand() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let state = edited(&allocator, B, |entries| {
        let split = Entry {
            token: entries[0].token + 64,
            peer: US,
            version: 0,
            free: 64,
        };
        entries[0].free = 64;
        entries.insert(1, split);
    });

    allocator.handle_unicast(START, B, Message::RingUpdate(state));

    assert!(allocator.status().doubt.is_some());
    pending(allocator.allocate(START, "a", None, true));
    // Nothing is granted either, and no claim of another peer is denied for good.
    drain(&mut allocator);
    let one = AddressRange {
        family: allocator.universe.family,
        span: Span::single(allocator.universe.span.start() + 5),
    };
    allocator.handle_unicast(START, B, Message::SpaceRequest(one));
    let sent = drain(&mut allocator);
    assert!(matches!(
        sent[..],
        [Transmit::Unicast {
            message: Message::RingUpdate(_),
            ..
        }]
    ));
}

#[test]
fn a_foreign_ring_written_by_our_hand_with_other_content_is_evidence() {
    let mut allocator = seeded("10.0.0.0/24", 2);
    let state = edited(&allocator, US, |entries| entries[0].free = 7);

    allocator.handle_gossip(START, state);

    assert!(allocator.status().doubt.is_some());
}
