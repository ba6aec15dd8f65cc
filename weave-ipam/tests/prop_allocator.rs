//! Laws of allocators in a network that misbehaves (`ALGORITHM.md`, sections "safety" and
//! "liveness"). Each run is fixed by its seed, which is printed when it fails.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod net;

use std::time::Duration;

use net::Net;
use weave_ipam::{InitMode, PeerId};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a scenario for many seeds and says which one failed. `WEAVE_IPAM_SEEDS=20` runs 20 times as
/// many.
fn for_seeds(count: u64, scenario: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let factor = std::env::var("WEAVE_IPAM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in 0..count * factor.unwrap_or(1) {
        let result = std::panic::catch_unwind(|| scenario(seed));
        assert!(result.is_ok(), "seed {seed} failed");
    }
}

/// Small enough that space runs out and changes hands.
fn universe(seed: u64) -> &'static str {
    let universes = [
        "10.32.0.0/27",
        "10.0.0.0/28",
        "fd00:77::/123",
        "10.32.0.0/24",
    ];
    universes[usize::try_from(seed % 4).unwrap()]
}

/// A random act of someone, or a fault.
fn act(net: &mut Net) {
    let name = net.any_alive();
    match net.dice.below(20) {
        0..=8 => {
            net.allocate(name, None);
        }
        9..=12 => net.free_any(name),
        13 => net.cancel_any(name),
        14 => {
            let parts = 1 + net.dice.below(3);
            net.partition(parts);
        }
        15 if net.alive().len() > 1 => net.crash(name),
        16 | 17 => {
            let dead: Vec<PeerId> = net
                .names()
                .into_iter()
                .filter(|name| !net.alive().contains(name))
                .collect();
            for name in dead {
                net.start(name);
            }
        }
        _ => net.run(SECOND),
    }
}

fn check(net: &Net) {
    net.check_no_duplicates();
    net.check_consistency();
    net.check_disjoint_ownership();
}

/// Everyone up and connected, nothing lost.
fn heal(net: &mut Net) {
    net.loss = 0;
    net.partition(1);
    for name in net.names() {
        if !net.alive().contains(&name) {
            net.start(name);
        }
    }
}

#[test]
fn no_address_has_two_holders_whatever_the_network_does() {
    for_seeds(120, |seed| {
        let count = 2 + seed % 4;
        let expected = usize::try_from(count).unwrap();
        let init = InitMode::Consensus {
            expected: Some(expected),
        };
        let mut net = Net::new(universe(seed), count, init, seed);
        net.loss = 5;
        for _ in 0..120 {
            act(&mut net);
            check(&net);
        }
    });
}

#[test]
fn rings_become_equal_after_the_network_heals() {
    for_seeds(60, |seed| {
        let seeds = (1..=3).map(PeerId).collect();
        let mut net = Net::new(universe(seed), 4, InitMode::Seed(seeds), seed);
        net.loss = 4;
        for _ in 0..80 {
            act(&mut net);
        }

        heal(&mut net);
        for name in net.names() {
            while net
                .waiting
                .get(&name)
                .is_some_and(|tickets| !tickets.is_empty())
            {
                net.cancel_any(name);
            }
        }
        net.run(SECOND * 300);

        check(&net);
        assert_eq!(net.rings().len(), 1, "rings differ");
        assert_eq!(net.conflicts, 0, "owners alone edit, so nothing conflicts");
    });
}

#[test]
fn every_request_is_met_while_a_reachable_peer_has_addresses() {
    for_seeds(40, |seed| {
        let init = InitMode::Consensus { expected: None };
        let mut net = Net::new("10.0.0.0/27", 3, init, seed);
        net.run(SECOND * 2);

        let mut given = 0;
        for _ in 0..30 {
            let name = net.any_alive();
            given += usize::from(net.allocate(name, None).is_some());
            net.run(SECOND * 2);
            check(&net);
        }
        net.run(SECOND * 30);

        // 30 host addresses, 30 requests: none is left over anywhere.
        let held: u128 = net
            .names()
            .iter()
            .map(|name| net.allocator(*name).space().count_in_use())
            .sum();
        assert_eq!(held, 30, "{given} at once");
        assert!(
            net.waiting
                .values()
                .all(std::collections::BTreeSet::is_empty)
        );
    });
}

#[test]
fn a_release_wakes_a_waiter_at_once() {
    let mut net = Net::new("10.0.0.0/30", 1, InitMode::Seed(vec![PeerId(1)]), 1);
    net.allocate(PeerId(1), None).unwrap();
    net.allocate(PeerId(1), None).unwrap();
    assert_eq!(net.allocate(PeerId(1), None), None);

    net.free_any(PeerId(1));

    assert!(net.waiting[&PeerId(1)].is_empty(), "no time has passed");
}

#[test]
fn claims_among_peers_never_give_an_address_twice() {
    for_seeds(60, |seed| {
        let init = InitMode::Seed((1..=3).map(PeerId).collect());
        let mut net = Net::new("10.0.0.0/27", 3, init, seed);
        net.loss = 6;
        for _ in 0..60 {
            let name = net.any_alive();
            if net.dice.one_in(2) {
                let host = 1 + net.dice.below(30);
                net.claim(name, format!("10.0.0.{host}/27").parse().unwrap());
            } else {
                act(&mut net);
            }
            check(&net);
        }
        net.loss = 0;
        net.run(SECOND * 60);
        check(&net);
    });
}

#[test]
fn the_space_of_the_dead_and_of_those_who_left_is_usable_again() {
    for_seeds(30, |seed| {
        let init = InitMode::Seed((1..=4).map(PeerId).collect());
        let mut net = Net::new("10.0.0.0/26", 4, init, seed);
        net.run(SECOND * 5);
        for _ in 0..10 {
            let name = net.any_alive();
            net.allocate(name, None);
        }
        net.run(SECOND * 5);

        // 4 leaves in order; 3 is gone for good and is taken over, once everyone knows its grants.
        net.shutdown(PeerId(4));
        net.run(SECOND * 120);
        assert_eq!(net.takeover(PeerId(1), PeerId(3)), 0, "3 is still there");
        net.crash(PeerId(3));
        net.crash(PeerId(4));
        net.takeover(PeerId(1), PeerId(3));
        net.run(SECOND * 120);

        let owned: u128 = net
            .alive()
            .iter()
            .flat_map(|name| net.allocator(*name).space().owned().collect::<Vec<_>>())
            .map(weave_ipam::Span::size)
            .sum();
        assert_eq!(owned, 64, "the two who are left own everything");
        assert_eq!(net.rings().len(), 1);
        net.check_consistency();
        net.check_disjoint_ownership();
    });
}
