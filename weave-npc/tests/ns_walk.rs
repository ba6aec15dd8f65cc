//! The interpreter and the kernel, packet by packet: random tables, real datagrams on the loopback
//! device, equal fates and equal counters.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod netns;
#[path = "netns/tables.rs"]
mod tables;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tables::{id, table};
use weave_npc::netlink::{Keeper, Nft};
use weave_npc::ruleset::{
    Deed, Fate, FibType, Hook, IfName, Name, Packet, Ruleset, Table, Transport, Walk,
};

#[derive(Clone, Copy, Debug)]
struct Datagram {
    source: u8,
    destination: u8,
    port: u16,
}

fn datagram() -> impl Strategy<Value = Datagram> {
    (1_u8..8, 1_u8..8, 1_u16..5).prop_map(|(source, destination, port)| Datagram {
        source,
        destination,
        port,
    })
}

fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// Sockets that get what the rules let through.
struct Bench {
    keeper: Keeper,
    servers: Vec<UdpSocket>,
    next: u32,
}

impl Bench {
    fn new() -> Self {
        netns::run("ip", &["link", "set", "lo", "up"], "").unwrap();
        let servers = (1..5_u16).map(|port| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let keeper = Keeper::new(Nft::open().unwrap(), id());
        Self {
            keeper,
            servers: servers.collect(),
            next: 0,
        }
    }

    /// Sends one datagram; its number and the port it came from.
    fn send(&mut self, datagram: Datagram) -> (u32, u16) {
        self.next += 1;
        let client = UdpSocket::bind((loopback(datagram.source), 0)).unwrap();
        let port = client.local_addr().unwrap().port();
        // What an output rule drops is an error here.
        let _ = client.send_to(
            &self.next.to_be_bytes(),
            (loopback(datagram.destination), datagram.port),
        );
        (self.next, port)
    }

    /// The numbers of what came, until all that are expected are there.
    fn arrived(&self, expected: &BTreeSet<u32>) -> BTreeSet<u32> {
        let started = Instant::now();
        let mut arrived = BTreeSet::new();
        loop {
            for server in &self.servers {
                let mut buffer = [0; 4];
                while server.recv(&mut buffer).is_ok() {
                    arrived.insert(u32::from_be_bytes(buffer));
                }
            }
            if expected.is_subset(&arrived) || started.elapsed() > Duration::from_secs(2) {
                return arrived;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What the interpreter says: whether the datagram arrives, and which rules count it.
fn predict(table: &Table, datagram: Datagram, port: u16) -> (bool, Vec<(Name, usize)>) {
    let ruleset = Ruleset::new().with(id(), table.clone());
    let walk = Walk::new(&ruleset);
    let (source, destination) = (loopback(datagram.source), loopback(datagram.destination));
    let transport = Transport::Ports(port, datagram.port);
    let mut packet = Packet::new(IpAddr::V4(source), IpAddr::V4(destination), 17, transport);
    packet.saddr_type = FibType::Local;
    packet.daddr_type = FibType::Local;
    packet.oif = Some(IfName::new("lo").unwrap());
    let mut counted = Vec::new();
    for hook in [Hook::Output, Hook::Input] {
        let outcome = walk.run(hook, &packet);
        counted.extend(
            outcome
                .steps
                .into_iter()
                .filter_map(|step| match step.deed {
                    Deed::Counted => Some((step.chain, step.rule?)),
                    _ => None,
                }),
        );
        if outcome.fate != Fate::Accept {
            return (false, counted);
        }
        packet.mark = outcome.mark;
        packet.iif = packet.oif.take();
    }
    (true, counted)
}

#[test]
fn real_packets_fare_as_the_interpreter_says() {
    netns::inside(|| {
        let cases = std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(150);
        let bench = RefCell::new(Bench::new());
        let config = ProptestConfig {
            cases,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let packets = RefCell::new((0, 0));
        let input = (table(), proptest::collection::vec(datagram(), 20));
        let result = runner.run(&input, |(table, datagrams)| {
            let mut bench = bench.borrow_mut();
            // Counters of rules that stay go on counting: start anew.
            bench
                .keeper
                .remove()
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            bench
                .keeper
                .set(&table)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            let mut expected = BTreeSet::new();
            let mut counts: BTreeMap<(Name, usize), u64> = BTreeMap::new();
            for datagram in &datagrams {
                let (number, port) = bench.send(*datagram);
                let (arrives, counted) = predict(&table, *datagram, port);
                if arrives {
                    expected.insert(number);
                }
                counted
                    .into_iter()
                    .for_each(|rule| *counts.entry(rule).or_default() += 1);
            }

            let arrived = bench.arrived(&expected);
            let seen = bench.keeper.nft().read(&id()).unwrap().unwrap();

            prop_assert_eq!(&arrived, &expected);
            for (chain, rules) in seen.counts {
                for (index, count) in rules.into_iter().enumerate() {
                    let wanted = counts.get(&(chain.clone(), index)).copied().unwrap_or(0);
                    let found = count.map_or(0, |count| count.packets);
                    prop_assert_eq!(found, wanted, "chain {} rule {}", chain, index);
                }
            }
            let mut packets = packets.borrow_mut();
            *packets = (packets.0 + datagrams.len(), packets.1 + expected.len());
            Ok(())
        });
        let (sent, passed) = packets.into_inner();
        println!("{sent} packets, {passed} passed");
        result.unwrap();
    });
}
