//! Three peers share 10.32.0.0/26: they agree on a ring, one is cut off, all go on giving out
//! addresses, and when the cut heals the rings become one again.
//!
//! The transport is a loop that hands messages over, unless the cut lies in between.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use weave_ipam::{Allocator, Config, InitMode, Outcome, PeerId, Ring, Transmit};

const PEERS: [PeerId; 3] = [PeerId(0x0a), PeerId(0x0b), PeerId(0x0c)];

fn main() -> Result<(), Box<dyn Error>> {
    let mut network = Network::new()?;

    println!(
        "The first request makes the peers vote. Two of three are enough, so C has no part yet:"
    );
    network.start_pods(0, 1)?;
    network.draw();

    println!("\nC needs an address and is given part of what another has:");
    network.start_pods(2, 1)?;
    network.draw();

    println!("\nC is cut off. A needs more than it has and is given space by B;");
    println!("C does not hear of it and goes on with what it has:");
    network.cut(Some(2));
    network.start_pods(0, 36)?;
    network.start_pods(2, 10)?;
    network.draw();

    println!("\nThe cut heals, the peers gossip:");
    network.cut(None);
    network.gossip();
    network.draw();

    let rings: Vec<&Ring> = network.allocators.iter().map(Allocator::ring).collect();
    assert!(
        rings
            .windows(2)
            .all(|pair| pair[0].entries() == pair[1].entries())
    );
    println!(
        "\n{} addresses given out, none twice.",
        network.holders.len()
    );
    Ok(())
}

struct Network {
    allocators: Vec<Allocator>,
    /// Who is alone, if anyone.
    alone: Option<usize>,
    /// Every address given out.
    holders: BTreeMap<String, String>,
    now: Duration,
}

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut allocators = Vec::new();
        for peer in PEERS {
            let init = "consensus=3".parse::<InitMode>()?;
            let config = Config::new("10.32.0.0/26".parse()?, peer)
                .uid(peer.0)
                .init(init);
            allocators.push(Allocator::new(config, None)?);
        }
        let mut network = Self {
            allocators,
            alone: None,
            holders: BTreeMap::new(),
            now: Duration::ZERO,
        };
        network.cut(None);
        Ok(network)
    }

    /// Cuts one peer off, or nobody.
    fn cut(&mut self, alone: Option<usize>) {
        self.alone = alone;
        for index in 0..PEERS.len() {
            let others = (0..PEERS.len()).filter(|other| self.connects(index, *other));
            let peers: BTreeSet<PeerId> = others.map(|other| PEERS[other]).collect();
            self.allocators[index].handle_reachable(self.now, peers, PEERS.len());
        }
    }

    fn connects(&self, one: usize, other: usize) -> bool {
        one == other || (Some(one) != self.alone && Some(other) != self.alone)
    }

    fn start_pods(&mut self, on: usize, count: usize) -> Result<(), Box<dyn Error>> {
        for _ in 0..count {
            let pod = format!("pod-{}", self.holders.len());
            let address = loop {
                match self.allocators[on].allocate(self.now, &pod, None, true)? {
                    Outcome::Ready(address) => break address,
                    Outcome::Pending(ticket) => self.wait(on, ticket)?,
                }
            };
            if let Some(other) = self.holders.insert(address.to_string(), pod) {
                return Err(format!("{address} was given to {other} already").into());
            }
        }
        Ok(())
    }

    /// Lets messages and time pass, then withdraws the request: asking again finds the answer.
    fn wait(&mut self, on: usize, ticket: weave_ipam::Ticket) -> Result<(), Box<dyn Error>> {
        self.deliver();
        let later = self.now + Duration::from_secs(5);
        if later > Duration::from_secs(600) {
            return Err("no answer in ten minutes".into());
        }
        self.now = later;
        for allocator in &mut self.allocators {
            allocator.handle_timeout(later);
        }
        self.deliver();
        self.allocators[on].cancel(ticket);
        Ok(())
    }

    /// Hands messages over until nobody has anything to say. A program writes `snapshot()` to disk
    /// before it sends.
    fn deliver(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for from in 0..PEERS.len() {
                while let Some(transmit) = self.allocators[from].poll_transmit() {
                    is_quiet = false;
                    self.send(from, &transmit);
                }
            }
        }
    }

    fn send(&mut self, from: usize, transmit: &Transmit) {
        let state = self.allocators[from].state(0);
        for to in (0..PEERS.len()).filter(|to| *to != from) {
            if !self.connects(from, to) {
                continue;
            }
            let receiver = &mut self.allocators[to];
            match transmit {
                Transmit::Broadcast => {
                    receiver.handle_broadcast(self.now, PEERS[from], state.clone());
                }
                Transmit::Unicast { to: name, message } if *name == PEERS[to] => {
                    receiver.handle_unicast(self.now, PEERS[from], message.clone());
                }
                Transmit::Unicast { .. } => {}
            }
        }
    }

    /// What a mesh does every now and then: everybody's state to everybody.
    fn gossip(&mut self) {
        for from in 0..PEERS.len() {
            let state = self.allocators[from].state(0);
            for to in (0..PEERS.len()).filter(|to| *to != from) {
                self.allocators[to].handle_gossip(self.now, state.clone());
            }
        }
        self.deliver();
    }

    /// Each peer's ring, one character an address: a capital if the address is in use on that peer.
    fn draw(&self) {
        for (allocator, name) in self.allocators.iter().zip(["A", "B", "C"]) {
            let span = allocator.ring().universe().span;
            let address = |number| {
                let owner = allocator.ring().owner(number);
                let index = PEERS.iter().position(|peer| Some(*peer) == owner);
                let letter = index.map_or('?', |index| ['a', 'b', 'c'][index]);
                if allocator.space().is_in_use(number) {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            };
            let drawn: String = (span.start()..span.end()).map(address).collect();
            println!("  {name} sees [{drawn}]");
        }
    }
}
