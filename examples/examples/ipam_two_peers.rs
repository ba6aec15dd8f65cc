//! Two peers share 10.32.0.0/24 without a store.
//!
//! Both vote, so the first request waits for the other's answer; then each gives out addresses of
//! its own half at once. The transport is a loop that hands messages over.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use weave_ipam::{Allocator, Config, InitMode, Outcome, PeerId, Transmit};

const PEERS: [PeerId; 2] = [PeerId(1), PeerId(2)];

fn main() -> Result<(), Box<dyn Error>> {
    let now = Duration::ZERO;
    let mut allocators = [allocator(PEERS[0])?, allocator(PEERS[1])?];
    for allocator in &mut allocators {
        allocator.handle_reachable(now, BTreeSet::from(PEERS), 2);
    }

    let first = allocators[0].allocate(now, "pod-a", None, true)?;
    println!("before the vote peer 1 answers: {first:?}");
    deliver(now, &mut allocators);
    println!("the ring:");
    for entry in allocators[0].status().entries {
        println!(
            "  from {} {} addresses of peer {}",
            entry.token, entry.size, entry.peer
        );
    }

    for (allocator, pod) in allocators.iter_mut().zip(["pod-a", "pod-b"]) {
        let Outcome::Ready(address) = allocator.allocate(now, pod, None, true)? else {
            return Err("there is a ring, so both own space".into());
        };
        println!("{pod} gets {address}");
    }
    Ok(())
}

fn allocator(us: PeerId) -> Result<Allocator, Box<dyn Error>> {
    let config = Config::new("10.32.0.0/24".parse()?, us)
        .uid(us.0)
        .init("consensus=2".parse::<InitMode>()?);
    Ok(Allocator::new(config, None)?)
}

/// Hands messages over until nobody has anything to say. A program writes `snapshot()` to disk
/// before it sends.
fn deliver(now: Duration, allocators: &mut [Allocator; 2]) {
    loop {
        let mut is_quiet = true;
        for from in 0..2 {
            let to = 1 - from;
            while let Some(transmit) = allocators[from].poll_transmit() {
                is_quiet = false;
                match transmit {
                    Transmit::Broadcast => {
                        let state = allocators[from].state(0);
                        allocators[to].handle_broadcast(now, PEERS[from], state);
                    }
                    Transmit::Unicast { message, .. } => {
                        allocators[to].handle_unicast(now, PEERS[from], message);
                    }
                }
            }
        }
        if is_quiet {
            return;
        }
    }
}
