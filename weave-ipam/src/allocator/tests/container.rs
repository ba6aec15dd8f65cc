//! Containers that die, come back and vanish.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn with_container() -> (Allocator, IpNet) {
    let mut allocator = seeded("10.0.0.0/29", 1);
    match allocator.allocate(START, "pod", None, true).unwrap() {
        Outcome::Ready(address) => (allocator, address),
        Outcome::Pending(_) => panic!("no address"),
    }
}

#[test]
fn a_dead_container_keeps_its_address_for_thirty_seconds() {
    let (mut allocator, _) = with_container();
    allocator.container_died(SECOND, "pod");

    assert_eq!(allocator.poll_timeout(), Some(SECOND * 31));
    allocator.handle_timeout(SECOND * 30);
    assert_eq!(allocator.lookup("pod", None).len(), 1);
    allocator.handle_timeout(SECOND * 31);

    assert!(allocator.lookup("pod", None).is_empty());
    assert_eq!(allocator.space().count_in_use(), 0);
}

#[test]
fn a_container_that_comes_back_keeps_its_address() {
    for comes_back in [
        |allocator: &mut Allocator| allocator.container_started("pod"),
        |allocator: &mut Allocator| {
            let _ = allocator.allocate(SECOND * 2, "pod", None, true).unwrap();
        },
    ] {
        let (mut allocator, address) = with_container();
        allocator.container_died(SECOND, "pod");
        comes_back(&mut allocator);

        allocator.handle_timeout(SECOND * 60);

        assert_eq!(allocator.lookup("pod", None), [address]);
    }
}

#[test]
fn the_requests_of_a_dead_container_are_cancelled() {
    let mut allocator = seeded("10.0.0.0/30", 1);
    fill(&mut allocator, 2);
    let ticket = pending(allocator.allocate(START, "pod", None, true));
    events(&mut allocator);

    allocator.container_died(START, "pod");

    assert!(matches!(
        events(&mut allocator)[..],
        [Event::Settled { ticket: found, result: Err(Error::Cancelled(_)) }] if found == ticket
    ));
}

#[test]
fn a_destroyed_container_loses_its_address_and_others_do_not() {
    let (mut allocator, _) = with_container();
    let _ = allocator
        .allocate(START, "weave:expose", None, false)
        .unwrap();

    allocator.container_destroyed(START, "pod");
    allocator.container_destroyed(START, "weave:expose");

    assert!(allocator.lookup("pod", None).is_empty());
    assert_eq!(allocator.lookup("weave:expose", None).len(), 1);
}

#[test]
fn pruning_releases_the_containers_that_do_not_exist() {
    let (mut allocator, _) = with_container();
    let _ = allocator.allocate(START, "other", None, true).unwrap();
    let _ = allocator
        .allocate(START, "weave:expose", None, false)
        .unwrap();

    let gone = allocator.prune(START, &["other".to_owned()].into());

    assert_eq!(gone, ["pod"]);
    assert_eq!(allocator.owned().count(), 2);
}

#[test]
fn an_address_outside_the_range_moves_from_a_dead_container_to_its_successor() {
    let (mut allocator, _) = with_container();
    let address = net("192.168.0.5/24");
    let _ = allocator.claim(START, "pod", address, true).unwrap();
    assert!(allocator.claim(START, "next", address, true).is_err());
    allocator.container_died(START, "pod");

    let moved = allocator.claim(START, "next", address, true).unwrap();

    assert_eq!(moved, Outcome::Ready(()));
    let range = Some(net("192.168.0.0/24"));
    assert_eq!(allocator.lookup("next", range), [address]);
    assert!(allocator.lookup("pod", range).is_empty());
}
