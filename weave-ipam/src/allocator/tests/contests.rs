//! How contests end.

use super::club::Club;
use super::*;

/// We and two others; C, restored from an old disk, counts our range as its own. Later it lost what
/// it has to whoever takes it over.
fn contested() -> Allocator {
    let mut allocator = seeded("10.0.0.0/24", 3);
    let stale = edited(&allocator, C, |entries| entries[0].peer = C);
    fill(&mut allocator, 1);
    allocator.handle_unicast(START, C, Message::RingUpdate(stale));
    pending(allocator.allocate(START, "more", None, true));
    allocator
}

/// Our ring after B has got the range of C.
fn passed_on(allocator: &Allocator, rise: u32) -> State {
    edited(allocator, B, |entries| {
        (entries[2].peer, entries[2].version) = (B, entries[2].version + rise);
    })
}

fn is_met(allocator: &Allocator) -> bool {
    !allocator.lookup("more", None).is_empty()
}

#[test]
fn a_contest_ends_when_its_reporter_was_taken_over_and_is_gone() {
    let mut allocator = contested();
    let taken = passed_on(&allocator, 100);

    allocator.handle_unicast(START, B, Message::RingUpdate(taken));
    assert!(!is_met(&allocator), "it is here, and may speak");
    allocator.handle_reachable(START, [B].into(), 0);

    assert!(is_met(&allocator) && allocator.status().contested.is_empty());
}

#[test]
fn a_contest_ends_also_when_the_word_comes_after_the_reporter_went() {
    let mut allocator = contested();
    let taken = passed_on(&allocator, 100);

    allocator.handle_reachable(START, [B].into(), 0);
    assert!(!is_met(&allocator), "it may come back");
    allocator.handle_unicast(START, B, Message::RingUpdate(taken));

    assert!(is_met(&allocator));
}

#[test]
fn a_peer_behind_a_partition_contests_though_it_owns_nothing_else() {
    let mut allocator = contested();
    // It gave its range away.
    let given = passed_on(&allocator, 1);

    allocator.handle_reachable(START, [B].into(), 0);
    allocator.handle_unicast(START, B, Message::RingUpdate(given));
    allocator.handle_reachable(START, [B, PeerId(9)].into(), 0);

    assert_eq!(allocator.ring().ranges_of(C), []);
    assert!(!is_met(&allocator));
}

#[test]
fn what_a_peer_says_after_it_was_taken_over_counts() {
    let mut allocator = contested();
    let stale = edited(&allocator, C, |entries| entries[0].peer = C);
    let taken = passed_on(&allocator, 100);
    allocator.handle_unicast(START, B, Message::RingUpdate(taken));

    allocator.handle_unicast(START, C, Message::RingUpdate(stale));
    allocator.handle_reachable(START, [B].into(), 0);

    assert!(!is_met(&allocator));
}

#[test]
fn removing_a_peer_ends_its_contests_with_everyone() {
    let mut club = Club::seeded("10.0.0.0/24", 3);
    // C owns nothing by anybody's ring but its own.
    let _ = club.stop(C);
    club.at(B).try_takeover(START, &C.to_string()).unwrap();
    club.settle();
    let now = club.now;
    let stale = edited(club.at(US), C, |entries| entries[0].peer = C);
    club.at(US).handle_gossip(now, stale);
    assert!(!club.at(US).status().contested.is_empty());

    assert_eq!(club.at(B).try_takeover(now, &C.to_string()), Ok(0));
    club.settle();

    assert!(club.at(US).status().contested.is_empty());
}

#[test]
fn the_word_that_a_peer_is_gone_is_nothing_against_its_presence() {
    let mut allocator = contested();

    allocator.handle_unicast(START, B, Message::Removed(C));
    assert!(!is_met(&allocator));

    allocator.handle_reachable(START, [B].into(), 0);
    drain(&mut allocator);
    allocator.handle_unicast(START, B, Message::Removed(C));
    assert!(is_met(&allocator));
    assert!(matches!(
        &drain(&mut allocator)[..],
        [.., Transmit::Unicast { to: B, message: Message::RingUpdate(state) }]
            if state.ring.is_some()
    ));
}
