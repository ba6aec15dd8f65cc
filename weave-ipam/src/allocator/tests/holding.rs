//! Starts and takeovers: nothing is given before the others were heard.

use super::club::Club;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_peer_alone_does_not_wait() {
    let mut allocator = seeded("10.0.0.0/24", 1);
    allocator.handle_reachable(START, [US].into(), 0);
    let snapshot = allocator.snapshot();

    let init = InitMode::Seed(vec![US]);
    let mut again = Allocator::new(config("10.0.0.0/24", init), Some(snapshot)).unwrap();
    let ticket = pending(again.allocate(START, "a", None, true));
    again.handle_reachable(START, [US].into(), 0);

    let settled = events(&mut again);
    let is_answer = |event: &Event| matches!(event, Event::Settled { ticket: found, result: Ok(_) } if *found == ticket);
    assert!(settled.iter().any(is_answer), "{settled:?}");
}

#[test]
fn a_peer_that_is_cut_off_waits_no_longer_than_the_hold() {
    let mut club = Club::seeded("10.0.0.0/24", 3);
    club.now = SECOND * 100;
    let snapshot = club.stop(US);
    club.cut(US);
    club.start(US, "10.0.0.0/24", InitMode::Observer, Some(snapshot));

    let ticket = match club.allocate(US, "a") {
        Outcome::Pending(ticket) => ticket,
        Outcome::Ready(address) => panic!("{address} before anyone could be heard"),
    };
    let holds = club.at(US).status().holds;
    let says = holds[0].to_string();
    assert!(says.contains("hearing the other peers"), "{says}");
    club.run(SECOND * 9);
    assert!(
        !club
            .take_events()
            .iter()
            .any(|(_, event)| settles(event, ticket))
    );
    club.run(SECOND);

    assert!(
        club.take_events()
            .iter()
            .any(|(_, event)| settles(event, ticket))
    );
}

#[test]
fn a_returning_peer_learns_of_its_loss_before_it_gives_an_address() {
    let mut club = Club::seeded("10.0.0.0/24", 3);
    let snapshot = club.stop(US);
    let gained = club.at(B).try_takeover(START, "00:00:00:00:00:01").unwrap();
    club.settle();
    club.run(SECOND * 2);
    assert_eq!(gained, 128);
    let taken = match club.allocate(B, "theirs") {
        Outcome::Ready(address) => address,
        Outcome::Pending(_) => panic!("B has its own and what it took"),
    };

    club.start(US, "10.0.0.0/24", InitMode::Observer, Some(snapshot));
    let first = club.allocate(US, "ours");
    club.run(SECOND * 15);

    assert!(matches!(first, Outcome::Pending(_)), "not at once");
    let ours: Vec<IpNet> = club.at(US).lookup("ours", None);
    assert_eq!(ours.len(), 1, "it was given space by others");
    assert_ne!(ours[0], taken);
    club.check_no_duplicates();
}

#[test]
fn a_restart_among_peers_takes_a_second_and_raises_our_entries_once() {
    let mut club = Club::seeded("10.0.0.0/24", 3);
    let snapshot = club.stop(US);
    club.start(US, "10.0.0.0/24", InitMode::Observer, Some(snapshot));
    let before = club.at(US).ring().entries()[0].version;

    let outcome = club.allocate(US, "a");
    assert!(matches!(outcome, Outcome::Pending(_)));
    club.run(SECOND * 2);

    assert_eq!(club.at(US).lookup("a", None).len(), 1);
    let version = club.at(US).ring().entries()[0].version;
    assert!(version > before && version < before + 100, "{version}");
    club.gossip();
    club.run(SECOND * 60);
    let doubts = club.take_events();
    assert!(
        !doubts
            .iter()
            .any(|(_, event)| matches!(event, Event::Outdated { .. })),
        "an orderly restart raises no doubt: {doubts:?}"
    );
}

#[test]
fn space_taken_over_is_held_until_the_others_were_heard() {
    let mut allocator = seeded("10.0.0.0/28", 3);
    fill(&mut allocator, 3);
    allocator.handle_reachable(START, [C].into(), 0);
    drain(&mut allocator);

    let gained = allocator.try_takeover(START, &B.to_string()).unwrap();
    assert_eq!(gained, 4);
    let asked: Vec<PeerId> = drain(&mut allocator)
        .into_iter()
        .filter_map(|transmit| match transmit {
            Transmit::Unicast {
                to,
                message: Message::Removed(B),
            } => Some(to),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [C], "asked for its ring");
    let wanted = AddressRange {
        family: allocator.universe.family,
        span: allocator.ring.ranges_of(US)[1],
    };
    allocator.handle_unicast(START, C, Message::SpaceRequest(wanted));
    assert_eq!(allocator.ring().ranges_of(C).len(), 1, "nor is it granted");
    let is_held = |allocator: &Allocator| !allocator.status().holds.is_empty();
    assert!(is_held(&allocator));

    // C had been given half of it by B, which nobody else knew.
    let state = edited(&allocator, C, |entries| {
        let at = entries
            .iter()
            .position(|entry| entry.token == wanted.span.start())
            .unwrap();
        (entries[at].peer, entries[at].version, entries[at].free) = (B, 1, 2);
        let given = Entry {
            token: entries[at].token + 2,
            peer: C,
            version: 0,
            free: 2,
        };
        entries.insert(at + 1, given);
    });
    allocator.handle_unicast(START, C, Message::RingUpdate(state));

    assert!(!is_held(&allocator));
    assert_eq!(allocator.ring().owner(wanted.span.start() + 2), Some(C));
    assert_eq!(allocator.ring().owner(wanted.span.start()), Some(US));
}

#[test]
fn a_silent_peer_delays_a_takeover_no_longer_than_the_hold() {
    let mut allocator = seeded("10.0.0.0/28", 3);
    allocator.handle_reachable(START, [C].into(), 0);
    allocator.try_takeover(START, &B.to_string()).unwrap();

    let mut now = START;
    while let Some(at) = allocator.poll_timeout() {
        now = at;
        allocator.handle_timeout(at);
    }

    assert_eq!(now, Duration::from_secs(10));
    assert!(allocator.status().holds.is_empty());
}

fn settles(event: &Event, ticket: Ticket) -> bool {
    matches!(event, Event::Settled { ticket: found, result: Ok(_) } if *found == ticket)
}
