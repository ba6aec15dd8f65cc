//! A day of autoscaling in virtual time: every hour a tenth of the nodes is replaced, half of it
//! without being drained, while pods come and go and some go without a word.
//!
//! The engines are those of the daemon: allocator, reclaimer and ledger; the mesh and the API server
//! around them lose nothing. `WEAVE_SEED` repeats a run. Laws: no address has two holders; an address
//! whose pod is gone is free after the grace time; what a deleted node had is others'; and what the
//! engines remember after a day is not more than after a few hours.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use weave_bin::kube::nodes::{Node, Nodes};
use weave_bin::kube::reclaim::{Reclaimer, Step, View};
use weave_bin::kube::record::{Me, Record};
use weave_bin::pods::{GRACE, Ledger, Links, Mark, Plugin};
use weave_datapath::netlink::Link;
use weave_ipam::{Allocator, Config, InitMode, Outcome, PeerId, Transmit};

/// Nodes, and pods on each.
const NODES: usize = 20;
const PODS: usize = 10;
/// Between looks of the ledger, and of everything here.
const ROUND: Duration = Duration::from_secs(30);
/// Rounds of an hour.
const HOUR: usize = 120;

/// Numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift, 64 bits.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

struct Member {
    me: Me,
    peer: PeerId,
    allocator: Allocator,
    ledger: Ledger,
    reclaimer: Reclaimer,
    /// Pods that are there, in order of their birth.
    pods: Vec<String>,
    /// When each address was orphaned.
    orphans: BTreeMap<String, Duration>,
}

struct Cluster {
    now: Duration,
    dice: Dice,
    range: IpNet,
    record: Record,
    nodes: Nodes,
    members: Vec<Member>,
    made: u64,
    pods: u64,
    leaks: usize,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut cluster = Self {
            now: Duration::ZERO,
            dice: Dice(seed | 1),
            range: "10.32.0.0/20".parse().unwrap(),
            record: Record::default(),
            nodes: Nodes::default(),
            members: Vec::new(),
            made: 0,
            pods: 0,
            leaks: 0,
        };
        for _ in 0..NODES {
            cluster.join();
        }
        cluster
    }

    fn join(&mut self) {
        self.made += 1;
        let peer = PeerId(0x0200_0000_0000 + self.made);
        let me = Me {
            peer: peer.to_string(),
            node: format!("node-{}", self.made),
            uid: Some(format!("uid-{}", self.made)),
        };
        self.nodes.insert(Node {
            name: me.node.clone(),
            uid: me.uid.clone().unwrap(),
            address: None,
            available: None,
        });
        if self.record.seeds().is_empty() {
            self.record.set_seeds(vec![me.peer.clone()]);
        }
        self.record.join(&me);
        let seeds = self.record.seeds().iter();
        let seeds = seeds.map(|seed| seed.parse().unwrap()).collect();
        let config = Config::new(self.range, peer)
            .uid(self.made)
            .seed(self.made)
            .nickname(me.node.clone())
            .init(InitMode::Seed(seeds));
        self.members.push(Member {
            peer,
            allocator: Allocator::new(config, None).unwrap(),
            ledger: Ledger::default(),
            reclaimer: Reclaimer::new(me.clone()),
            me,
            pods: Vec::new(),
            orphans: BTreeMap::new(),
        });
        self.meet();
    }

    /// Tells every allocator who is there.
    fn meet(&mut self) {
        let all: BTreeSet<PeerId> = self.members.iter().map(|member| member.peer).collect();
        for member in &mut self.members {
            let targets = all.len() - 1;
            member
                .allocator
                .handle_reachable(self.now, all.clone(), targets);
        }
        self.deliver();
    }

    /// Carries messages until there are none.
    fn deliver(&mut self) {
        loop {
            let mut is_quiet = true;
            for from in 0..self.members.len() {
                while let Some(sent) = self.members[from].allocator.poll_transmit() {
                    is_quiet = false;
                    let source = self.members[from].peer;
                    match sent {
                        Transmit::Broadcast => {
                            let state = self.members[from].allocator.state(0);
                            for to in &mut self.members {
                                let _relayed =
                                    to.allocator
                                        .handle_broadcast(self.now, source, state.clone());
                            }
                        }
                        Transmit::Unicast { to, message } => {
                            let found = self.members.iter_mut().find(|member| member.peer == to);
                            match found {
                                Some(found) => {
                                    found.allocator.handle_unicast(self.now, source, message);
                                }
                                None => self.members[from]
                                    .allocator
                                    .handle_send_failed(self.now, to),
                            }
                        }
                    }
                }
                while self.members[from].allocator.poll_event().is_some() {}
            }
            if is_quiet {
                return;
            }
        }
    }

    /// A pod is born; one in twenty gets an address and never a link.
    fn add(&mut self, at: usize) {
        self.pods += 1;
        let id = format!("{:032x}", self.pods);
        let is_cut_short = self.dice.one_in(20);
        let member = &mut self.members[at];
        let mark = Mark {
            plugin: Plugin::Net,
            network: Some("weave".to_owned()),
        };
        let given = member.allocator.allocate(self.now, &id, None, true);
        if let Outcome::Pending(ticket) = given.unwrap() {
            self.deliver();
            let member = &mut self.members[at];
            if member.allocator.lookup(&id, None).is_empty() {
                // The runtime tries again later with another pod.
                member.allocator.cancel(ticket);
                return;
            }
        }
        let member = &mut self.members[at];
        member.ledger.mark(&id, mark);
        if is_cut_short {
            member.orphans.insert(id, self.now);
        } else {
            member.pods.push(id);
        }
    }

    /// The oldest pod ends; one in five without a DEL.
    fn end(&mut self, at: usize) {
        let is_silent = self.dice.one_in(5);
        let member = &mut self.members[at];
        if member.pods.is_empty() {
            return;
        }
        let id = member.pods.remove(0);
        if is_silent {
            member.orphans.insert(id, self.now);
        } else {
            member.allocator.delete(self.now, &id).unwrap();
            member.ledger.forget(&id);
        }
    }

    /// What the daemon does again and again.
    fn look(&mut self, at: usize) {
        let member = &mut self.members[at];
        let owned = member.allocator.owned();
        let owned: BTreeSet<String> = owned.map(|(id, _)| id.to_owned()).collect();
        let links: Links = member.pods.iter().map(|id| link(id)).collect();
        for id in member.ledger.look(self.now, &owned, &links) {
            member.allocator.delete(self.now, &id).unwrap();
            member.ledger.forget(&id);
            member.orphans.remove(&id);
            self.leaks += 1;
        }
    }

    /// One round of reclaiming by one member, whose steps nobody comes between.
    fn reclaim(&mut self, at: usize) {
        let connected = self.members.iter().map(|member| member.me.peer.clone());
        let view = View {
            connected: connected.collect(),
            has_ring: true,
        };
        self.members[at].reclaimer.begin();
        loop {
            let member = &mut self.members[at];
            let step = member
                .reclaimer
                .next(self.now, &self.record, &self.nodes, &view);
            match step {
                Step::Lock { peer, record } => {
                    self.record = record;
                    member.reclaimer.handle_locked(&peer);
                }
                Step::TakeOver { peer, .. } => {
                    let taken = member.allocator.try_takeover(self.now, &peer);
                    let count = taken.expect("a peer that is gone can be taken over");
                    member.reclaimer.handle_taken(self.now, &peer, count);
                    self.deliver();
                }
                Step::Unlock { record, .. } | Step::Remove { record, .. } => self.record = record,
                Step::Wait(_) | Step::Rest(_) => return,
            }
        }
    }

    fn round(&mut self) {
        self.now += ROUND;
        for at in 0..self.members.len() {
            self.members[at].allocator.handle_timeout(self.now);
            // A pod lives about an hour.
            if self.dice.below(HOUR) < PODS {
                self.end(at);
            }
            if self.members[at].pods.len() < PODS {
                self.add(at);
            }
            self.look(at);
            // Somebody is listed who is not there, or it is time to look.
            if self.record.entries().len() > self.members.len() || self.dice.one_in(10) {
                self.reclaim(at);
            }
        }
        // Periodic gossip to somebody.
        for at in 0..self.members.len() {
            if self.dice.one_in(2) {
                let state = self.members[at].allocator.state(0);
                let to = self.dice.below(self.members.len());
                self.members[to].allocator.handle_gossip(self.now, state);
            }
        }
        self.deliver();
    }

    /// A node goes, with or without being drained, and another comes.
    fn replace(&mut self, is_drained: bool) {
        let at = self.dice.below(self.members.len());
        if is_drained {
            while !self.members[at].pods.is_empty() {
                self.end(at);
            }
        }
        let gone = self.members.remove(at);
        self.nodes.remove(&gone.me.node);
        self.meet();
        self.join();
    }

    /// No address has two holders, and each has a pod or has not lost it for long.
    fn check(&self) {
        let mut holders: BTreeMap<String, &str> = BTreeMap::new();
        for member in &self.members {
            for (id, addresses) in member.allocator.owned() {
                let late = GRACE + ROUND * 3;
                let orphaned = member.orphans.get(id);
                let is_late = orphaned.is_some_and(|since| self.now > *since + late);
                let is_there = member.pods.iter().any(|pod| pod == id);
                assert!(
                    !is_late && (is_there || orphaned.is_some()),
                    "{id} on {} leaked",
                    member.me.node
                );
                for address in addresses {
                    let other = holders.insert(address.addr().to_string(), &member.me.node);
                    assert_eq!(other, None, "{address} also on {}", member.me.node);
                }
            }
        }
    }

    /// All addresses are those of nodes that are there, as everyone knows.
    fn check_settled(&self) {
        let alive: BTreeSet<PeerId> = self.members.iter().map(|member| member.peer).collect();
        for member in &self.members {
            let owners = member.allocator.ring().peers();
            let gone: Vec<_> = owners.difference(&alive).collect();
            assert!(gone.is_empty(), "{} knows {gone:?}", member.me.node);
        }
        assert_eq!(self.record.entries().len(), self.members.len());
    }

    /// How much is remembered: characters of everything in the engines of all members.
    fn size(&self) -> usize {
        let of = |member: &Member| {
            format!("{:?}", member.allocator).len()
                + format!("{:?}", member.ledger).len()
                + format!("{:?}", member.reclaimer).len()
        };
        self.members.iter().map(of).sum::<usize>() + format!("{:?}", self.record).len()
    }
}

/// The host's end of the link of a pod.
fn link(id: &str) -> Link {
    let mut link = Link::default();
    link.kind = Some("veth".to_owned());
    link.alias = Some(id.to_owned());
    link
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let word = line.unwrap().split_whitespace().next();
    word.unwrap().parse().unwrap()
}

#[test]
fn a_day_of_autoscaling_leaks_no_address_and_remembers_no_more() {
    let given = std::env::var("WEAVE_SEED").ok();
    let seed = given.map_or(20_261_121, |text| text.parse().unwrap());
    println!("seed {seed}");
    let mut cluster = Cluster::new(seed);
    let mut sizes = Vec::new();
    for hour in 0..24_u32 {
        for round in 0..HOUR {
            // A tenth of the nodes in an hour: two, the second without being drained.
            if round == HOUR / 4 || round == HOUR * 3 / 4 {
                cluster.replace(round == HOUR / 4);
            }
            cluster.round();
            if round % 10 == 9 {
                cluster.check();
            }
        }
        // The last node went a quarter of an hour ago.
        cluster.check_settled();
        sizes.push(cluster.size());
        println!(
            "hour {}: {} nodes were made, {} pods, {} leaks freed, {} entries, {} characters, {} KiB",
            hour + 1,
            cluster.made,
            cluster.pods,
            cluster.leaks,
            cluster.members[0].allocator.ring().entries().len(),
            cluster.size(),
            resident()
        );
    }

    assert!(
        cluster.pods > 3000 && cluster.leaks > 300,
        "{} {}",
        cluster.pods,
        cluster.leaks
    );
    let mean = |sizes: &[usize]| sizes.iter().sum::<usize>() / sizes.len();
    let (early, late) = (mean(&sizes[3..9]), mean(&sizes[18..]));
    assert!(late * 10 <= early * 13, "{late} from {early}");
}
