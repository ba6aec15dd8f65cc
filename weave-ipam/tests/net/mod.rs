//! A small network of allocators in virtual time, with loss, delay, reordering, duplication,
//! partitions and crashes. It does what a shell must do: write the snapshot before anything leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use weave_ipam::{
    Allocator, Config, Event, InitMode, Message, Outcome, PeerId, Snapshot, State, Ticket, Transmit,
};

/// A seeded generator.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Clone)]
enum Payload {
    Gossip(State),
    Broadcast(PeerId, State),
    Unicast(PeerId, Message),
}

struct Node {
    allocator: Option<Allocator>,
    disk: Option<Snapshot>,
    revision: u64,
    group: usize,
    restarts: u64,
}

pub(crate) struct Net {
    universe: IpNet,
    init: InitMode,
    nodes: BTreeMap<PeerId, Node>,
    flying: Vec<(Duration, PeerId, PeerId, Payload)>,
    pub(crate) now: Duration,
    pub(crate) dice: Dice,
    /// One message in this many is lost; 0 for none.
    pub(crate) loss: usize,
    pub(crate) waiting: BTreeMap<PeerId, BTreeSet<Ticket>>,
    next_ident: u64,
    pub(crate) conflicts: usize,
}

impl Net {
    pub(crate) fn new(universe: &str, count: u64, init: InitMode, seed: u64) -> Self {
        let mut net = Self {
            universe: universe.parse().unwrap(),
            init,
            nodes: BTreeMap::new(),
            flying: Vec::new(),
            now: Duration::ZERO,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1)),
            loss: 0,
            waiting: BTreeMap::new(),
            next_ident: 0,
            conflicts: 0,
        };
        for name in (1..=count).map(PeerId) {
            let node = Node {
                allocator: None,
                disk: None,
                revision: 0,
                group: 0,
                restarts: 0,
            };
            net.nodes.insert(name, node);
        }
        for name in net.names() {
            net.start(name);
        }
        net
    }

    pub(crate) fn names(&self) -> Vec<PeerId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn alive(&self) -> Vec<PeerId> {
        let nodes = self.nodes.iter();
        nodes
            .filter(|(_, node)| node.allocator.is_some())
            .map(|(name, _)| *name)
            .collect()
    }

    pub(crate) fn any_alive(&mut self) -> PeerId {
        let alive = self.alive();
        alive[self.dice.below(alive.len())]
    }

    pub(crate) fn allocator(&self, name: PeerId) -> &Allocator {
        self.nodes[&name].allocator.as_ref().unwrap()
    }

    fn allocator_mut(&mut self, name: PeerId) -> &mut Allocator {
        self.nodes
            .get_mut(&name)
            .unwrap()
            .allocator
            .as_mut()
            .unwrap()
    }

    // ===== faults =====

    pub(crate) fn start(&mut self, name: PeerId) {
        let node = self.nodes.get_mut(&name).unwrap();
        node.restarts += 1;
        let config = Config::new(self.universe, name)
            .uid(name.0 * 1000 + node.restarts)
            .nickname(format!("node{}", name.0))
            .init(self.init.clone())
            .seed(name.0 ^ node.restarts);
        node.allocator = Some(Allocator::new(config, node.disk.clone()).unwrap());
        node.revision = u64::MAX;
        self.regroup();
        self.settle(name);
    }

    /// Stops at once; what was written survives.
    pub(crate) fn crash(&mut self, name: PeerId) {
        self.nodes.get_mut(&name).unwrap().allocator = None;
        self.waiting.remove(&name);
        self.regroup();
    }

    /// Puts each peer into a random one of `parts` groups that do not hear each other.
    pub(crate) fn partition(&mut self, parts: usize) {
        let names = self.names();
        for name in names {
            let group = self.dice.below(parts);
            self.nodes.get_mut(&name).unwrap().group = group;
        }
        self.regroup();
    }

    fn regroup(&mut self) {
        let others = self.nodes.len() - 1;
        for name in self.alive() {
            let reachable: BTreeSet<PeerId> = self.reachable(name);
            let now = self.now;
            let node = self.nodes.get_mut(&name).unwrap();
            let allocator = node.allocator.as_mut().unwrap();
            allocator.handle_reachable(now, reachable.clone(), others);
            self.settle(name);
            // On a new connection both sides send everything they know.
            for peer in reachable {
                self.gossip(name, peer);
            }
        }
    }

    fn reachable(&self, name: PeerId) -> BTreeSet<PeerId> {
        let group = self.nodes[&name].group;
        self.alive()
            .into_iter()
            .filter(|peer| *peer != name && self.nodes[peer].group == group)
            .collect()
    }

    // ===== what people do =====

    pub(crate) fn allocate(&mut self, name: PeerId, subnet: Option<IpNet>) -> Option<IpNet> {
        self.next_ident += 1;
        let ident = format!("pod{}", self.next_ident);
        let now = self.now;
        let allocator = self.allocator_mut(name);
        let outcome = allocator.allocate(now, &ident, subnet, true).unwrap();
        if let Outcome::Pending(ticket) = outcome {
            self.waiting.entry(name).or_default().insert(ticket);
        }
        self.settle(name);
        match outcome {
            Outcome::Ready(address) => {
                let subnet = subnet.unwrap_or(self.universe);
                let hosts = weave_ipam::address::host_range(subnet).span;
                let number = weave_ipam::address::number(address.addr());
                assert!(hosts.contains(number) && address.prefix_len() == subnet.prefix_len());
                assert_eq!(self.allocator(name).ring().owner(number), Some(name));
                Some(address)
            }
            Outcome::Pending(_) => None,
        }
    }

    pub(crate) fn claim(&mut self, name: PeerId, address: IpNet) {
        self.next_ident += 1;
        let ident = format!("claim{}", self.next_ident);
        let now = self.now;
        let allocator = self.allocator_mut(name);
        if let Ok(Outcome::Pending(ticket)) = allocator.claim(now, &ident, address, true) {
            allocator.set_deadline(ticket, now + Duration::from_secs(20));
            self.waiting.entry(name).or_default().insert(ticket);
        }
        self.settle(name);
    }

    pub(crate) fn free_any(&mut self, name: PeerId) {
        let idents: Vec<String> = self
            .allocator(name)
            .owned()
            .map(|(ident, _)| ident.to_owned())
            .collect();
        if idents.is_empty() {
            return;
        }
        let ident = &idents[self.dice.below(idents.len())];
        let now = self.now;
        let allocator = self.allocator_mut(name);
        allocator.delete(now, ident).unwrap();
        self.settle(name);
    }

    pub(crate) fn cancel_any(&mut self, name: PeerId) {
        let Some(ticket) = self.waiting.get_mut(&name).and_then(BTreeSet::pop_first) else {
            return;
        };
        let allocator = self.allocator_mut(name);
        assert!(allocator.cancel(ticket));
        self.settle(name);
    }

    pub(crate) fn takeover(&mut self, name: PeerId, victim: PeerId) -> u128 {
        let now = self.now;
        let allocator = self.allocator_mut(name);
        let gained = allocator.takeover(now, &victim.to_string());
        self.settle(name);
        gained
    }

    pub(crate) fn shutdown(&mut self, name: PeerId) {
        let now = self.now;
        self.allocator_mut(name).shutdown(now);
        self.settle(name);
    }

    // ===== time =====

    /// Lets time pass: timers, messages, and gossip about every 30 seconds.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += Duration::from_millis(250);
            for name in self.alive() {
                self.fire_timer(name);
                if self.dice.one_in(120) {
                    let reachable: Vec<PeerId> = self.reachable(name).into_iter().collect();
                    if !reachable.is_empty() {
                        let peer = reachable[self.dice.below(reachable.len())];
                        self.gossip(name, peer);
                    }
                }
            }
            self.deliver();
        }
    }

    fn fire_timer(&mut self, name: PeerId) {
        let now = self.now;
        let allocator = self.allocator_mut(name);
        if allocator.poll_timeout().is_some_and(|at| at <= now) {
            allocator.handle_timeout(now);
            assert!(
                allocator.poll_timeout().is_none_or(|at| at > now),
                "timer does not advance"
            );
            self.settle(name);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.flying)
            .into_iter()
            .partition(|m| m.0 <= now);
        self.flying = later;
        let due: Vec<(Duration, PeerId, PeerId, Payload)> = due;
        for (_, from, to, payload) in due {
            if self.nodes[&to].group != self.nodes[&from].group {
                continue;
            }
            let Some(allocator) = self.nodes.get_mut(&to).unwrap().allocator.as_mut() else {
                continue;
            };
            let is_news = match payload {
                Payload::Gossip(state) => allocator.handle_gossip(now, state),
                Payload::Broadcast(source, state) => {
                    allocator.handle_broadcast(now, source, state);
                    false
                }
                Payload::Unicast(source, message) => {
                    allocator.handle_unicast(now, source, message);
                    false
                }
            };
            self.settle(to);
            if is_news {
                let peers: Vec<PeerId> = self.reachable(to).into_iter().collect();
                if !peers.is_empty() {
                    let peer = peers[self.dice.below(peers.len())];
                    self.gossip(to, peer);
                }
            }
        }
    }

    fn gossip(&mut self, from: PeerId, to: PeerId) {
        let state = self.allocator(from).state(0);
        self.send(from, to, &Payload::Gossip(state));
    }

    fn send(&mut self, from: PeerId, to: PeerId, payload: &Payload) {
        if self.loss > 0 && self.dice.one_in(self.loss) {
            return;
        }
        let copies = if self.loss > 0 && self.dice.one_in(20) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let spread = if self.loss > 0 { 3000 } else { 200 };
            let delay = Duration::from_millis(u64::try_from(self.dice.below(spread)).unwrap());
            self.flying
                .push((self.now + delay, from, to, payload.clone()));
        }
    }

    /// The duties of a shell after each call.
    fn settle(&mut self, name: PeerId) {
        let reachable = self.reachable(name);
        let node = self.nodes.get_mut(&name).unwrap();
        let allocator = node.allocator.as_mut().unwrap();
        if allocator.revision() != node.revision {
            node.revision = allocator.revision();
            node.disk = Some(allocator.snapshot());
        }
        let mut unicasts = Vec::new();
        let mut broadcast = None;
        while let Some(transmit) = allocator.poll_transmit() {
            match transmit {
                Transmit::Broadcast => broadcast = Some(allocator.state(0)),
                Transmit::Unicast { to, message } => unicasts.push((to, message)),
            }
        }
        while let Some(event) = allocator.poll_event() {
            match event {
                Event::Settled { ticket, .. } => {
                    if let Some(tickets) = self.waiting.get_mut(&name) {
                        tickets.remove(&ticket);
                    }
                }
                Event::Conflict { .. } | Event::Refused { .. } => self.conflicts += 1,
                _ => {}
            }
        }
        for peer in broadcast.iter().flat_map(|_| reachable.iter()) {
            let state = broadcast.clone().unwrap();
            self.send(name, *peer, &Payload::Broadcast(name, state));
        }
        for (to, message) in unicasts {
            if reachable.contains(&to) {
                self.send(name, to, &Payload::Unicast(name, message));
            } else {
                let now = self.now;
                let node = self.nodes.get_mut(&name).unwrap();
                node.allocator.as_mut().unwrap().handle_send_failed(now, to);
            }
        }
    }

    // ===== invariants =====

    /// No address has two holders, alive or on a disk.
    pub(crate) fn check_no_duplicates(&self) {
        let mut seen: BTreeMap<IpAddr, PeerId> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let disk = node.disk.iter().flat_map(|disk| disk.owned.values());
            for address in disk.flat_map(|holding| &holding.addresses) {
                if let Some(other) = seen.insert(address.addr(), *name) {
                    panic!("{address} is held on {other} and on {name}");
                }
            }
        }
    }

    /// Ring sound, space as the ring says, every address in use ours.
    pub(crate) fn check_consistency(&self) {
        for name in self.alive() {
            let allocator = self.allocator(name);
            assert_eq!(allocator.ring().check(), Ok(()));
            let ranges = allocator.ring().ranges_of(name);
            let owned: Vec<_> = allocator.space().owned().collect();
            assert_eq!(
                owned,
                weave_ipam::address::coalesce(ranges),
                "ring and space of {name}"
            );
            let mut reported = allocator.ring().clone();
            assert!(!reported.report_free(|span| allocator.space().count_free(span)));
            let held: usize = allocator
                .owned()
                .map(|(_, addresses)| addresses.len())
                .sum();
            assert_eq!(
                allocator.space().count_in_use(),
                u128::try_from(held).unwrap()
            );
        }
    }

    /// No two peers believe they own one address.
    pub(crate) fn check_disjoint_ownership(&self) {
        let mut all: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|(name, node)| Some((name, node.allocator.as_ref()?)))
            .flat_map(|(name, allocator)| allocator.ring().ranges_of(*name))
            .collect();
        all.sort_unstable();
        for pair in all.windows(2) {
            assert!(pair[0].end() <= pair[1].start(), "{pair:?} are owned twice");
        }
    }

    /// Owners and versions of all entries, which must be the same everywhere.
    pub(crate) fn rings(&self) -> BTreeSet<Vec<(u128, PeerId, u32)>> {
        self.alive()
            .into_iter()
            .map(|name| {
                let entries = self.allocator(name).ring().entries().iter();
                entries
                    .map(|entry| (entry.token, entry.peer, entry.version))
                    .collect()
            })
            .collect()
    }
}
