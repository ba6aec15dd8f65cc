//! The simulated world: hosts, wires, time, and the order in which things happen.

use std::time::Duration;

use super::dice::Dice;
use super::fault::{Fault, Tally};
use super::host::{Host, Input, Process};
use super::laws::Laws;
use super::plan::{Birth, Plan};
use super::queue::Queue;
use super::wires::{Parcel, Wires};
use crate::allocator::Allocator;
use crate::peer::PeerId;
use crate::span::AddressRange;

/// A network of allocators in virtual time.
///
/// Hosts are counted from 0. Whatever happens is fixed by the plan, in particular its seed.
#[derive(Debug)]
pub struct World {
    pub(super) plan: Plan,
    pub(super) universe: AddressRange,
    pub(super) now: Duration,
    pub(super) dice: Dice,
    pub(super) queue: Queue<Task>,
    pub(super) hosts: Vec<Host>,
    pub(super) wires: Wires,
    /// Links have to be worked out again.
    pub(super) is_stale: bool,
    /// Nothing goes wrong any more.
    pub(super) is_calm: bool,
    pub(super) laws: Laws,
    pub(super) faults: Tally,
    pub(super) containers: u64,
    pub(super) steps: u64,
    pub(super) log: Option<Vec<String>>,
}

/// Something planned.
#[derive(Debug)]
pub(super) enum Task {
    Deliver(Box<Parcel>),
    /// The timers of a start of a host.
    Alarm(usize, u64),
    Written(usize, u64),
    /// Inputs wait without a write under way.
    Resume(usize, u64),
    Gossip(usize, u64),
    Act,
    Start(usize),
    /// The parts of the network find together.
    Reunite,
    Mend(usize, usize),
    Unmute(usize, usize),
    /// A link one direction of which is silent is given up.
    GiveUp(usize, usize),
    Recover(usize),
    RetireLeft(usize),
    /// The address of a container that lives could not be claimed.
    Reclaim(usize, String),
}

impl World {
    /// A world at time 0, all hosts started.
    #[must_use]
    pub fn new(plan: Plan, is_logged: bool) -> Self {
        let universe = AddressRange::of(plan.universe);
        let mut world = Self {
            universe,
            now: Duration::ZERO,
            dice: Dice::new(plan.seed),
            queue: Queue::new(),
            hosts: Vec::new(),
            wires: Wires::default(),
            is_stale: true,
            is_calm: false,
            laws: Laws::new(universe.span),
            faults: Tally::default(),
            containers: 0,
            steps: 0,
            log: is_logged.then(Vec::new),
            plan,
        };
        for index in 0..world.plan.hosts {
            let identity = world.fresh_name();
            let mut host = Host::new(identity, index < world.plan.legacy);
            let is_last = index + 1 == world.plan.hosts;
            host.is_observer = is_last && world.plan.birth == Birth::VoteWithObservers;
            world.add(host);
        }
        for _ in 0..world.plan.legacy {
            world.faults.count(Fault::Legacy);
        }
        if world.plan.birth == Birth::Split {
            for host in 0..world.hosts.len() {
                let group = world.dice.below(2);
                world.wires.set_group(host, group);
            }
            world.weaken(Fault::SplitBootstrap);
            let end = world
                .dice
                .between(Duration::from_secs(20), Duration::from_secs(200));
            world.queue.plan(end, Task::Reunite);
        }
        for host in 0..world.hosts.len() {
            let at = world.dice.between(Duration::ZERO, Duration::from_secs(3));
            world.queue.plan(at, Task::Start(host));
        }
        world
    }

    /// Lets time pass. Ends early when a law is broken.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.laws.violations.is_empty() {
            let Some((at, task)) = self.queue.next(end) else {
                break;
            };
            self.now = at;
            self.steps += 1;
            self.perform(task);
            self.update_links();
        }
        self.now = end.max(self.now);
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// How many hosts there are, running or not.
    #[must_use]
    pub const fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The allocator that runs on a host; `None` if none does, or one of the old kind.
    #[must_use]
    pub fn allocator(&self, host: usize) -> Option<&Allocator> {
        self.hosts[host].process.as_ref()?.engine.native()
    }

    /// Starts a container on a host and asks for an address for it. Returns its ident.
    pub fn allocate(&mut self, host: usize) -> String {
        let ident = self.new_container(host, None);
        self.feed(host, Input::Allocate(ident.clone()));
        self.update_links();
        ident
    }

    /// The address of a container, once it has one.
    #[must_use]
    pub fn address(&self, host: usize, ident: &str) -> Option<ipnet::IpNet> {
        self.hosts[host].containers.get(ident)?.address
    }

    /// Ends a container, or its waiting for an address.
    pub fn end(&mut self, host: usize, ident: &str) {
        self.end_container(host, ident);
        self.update_links();
    }

    /// Stops a process at once; its containers live on. It starts again after a while.
    pub fn crash(&mut self, host: usize, restarts_in: Duration) {
        self.kill(host, Some(restarts_in));
        self.update_links();
    }

    /// Puts hosts into parts of the network that do not hear each other.
    pub fn partition(&mut self, groups: &[usize]) {
        for (host, group) in groups.iter().enumerate().take(self.hosts.len()) {
            self.wires.set_group(host, *group);
        }
        self.is_stale = true;
        self.update_links();
    }

    // ===== what happens =====

    fn perform(&mut self, task: Task) {
        match task {
            Task::Deliver(parcel) => self.deliver(parcel),
            Task::Alarm(host, start) => {
                if let Some(process) = self.process_of(host, start) {
                    process.alarm = None;
                    self.feed(host, Input::Timeout);
                }
            }
            Task::Written(host, start) => self.finish_write(host, start),
            Task::Resume(host, start) => self.resume(host, start),
            Task::Gossip(host, start) => self.gossip_round(host, start),
            Task::Act => self.act(),
            Task::Start(host) => self.start(host),
            Task::Reunite => {
                for host in 0..self.hosts.len() {
                    self.wires.set_group(host, 0);
                }
                self.note("the network is one again");
                self.is_stale = true;
            }
            Task::Mend(a, b) => {
                self.wires.set_cut(a, b, false);
                self.is_stale = true;
            }
            Task::Unmute(a, b) => {
                self.wires.set_mute(a, b, false);
                self.wires.set_cut(a, b, false);
                self.is_stale = true;
            }
            Task::GiveUp(a, b) => {
                if self.wires.is_mute(a, b) {
                    self.wires.set_cut(a, b, true);
                    self.is_stale = true;
                }
            }
            Task::Reclaim(host, ident) => self.reclaim(host, ident),
            Task::Recover(host) => self.hosts[host].is_slow = false,
            Task::RetireLeft(host) => {
                self.lose_containers(host);
                self.hosts[host].is_retired = true;
                self.kill(host, None);
            }
        }
    }

    /// Works out links, tells processes whom they can reach, and lets both ends of links that
    /// have come up say everything they know.
    pub(super) fn update_links(&mut self) {
        while std::mem::take(&mut self.is_stale) {
            let names = self.names();
            let news = self.wires.connect(&names);
            for host in 0..self.hosts.len() {
                let reachable = self.wires.reachable(host, &names);
                let targets = self.plan.hosts.saturating_sub(1);
                let process = self.hosts[host].process.as_mut();
                if let Some(process) = process.filter(|process| process.reachable != reachable) {
                    process.reachable.clone_from(&reachable);
                    self.forget_taken_over(host, &[]);
                    self.feed(host, Input::Reachable(reachable, targets));
                }
            }
            for (a, b) in news {
                self.feed(a, Input::Gossip(b));
                self.feed(b, Input::Gossip(a));
            }
        }
    }

    pub(super) fn names(&self) -> Vec<Option<PeerId>> {
        let hosts = self.hosts.iter();
        hosts
            .map(|host| host.is_up().then_some(host.identity))
            .collect()
    }

    pub(super) fn add(&mut self, host: Host) -> usize {
        self.hosts.push(host);
        self.wires.add_host();
        self.is_stale = true;
        self.hosts.len() - 1
    }

    /// A name nobody has. Names are in no order.
    pub(super) fn fresh_name(&mut self) -> PeerId {
        let spread = self.dice.number() & 0xffff_ff00;
        let count = u64::try_from(self.hosts.len()).unwrap_or(0);
        PeerId(spread | (count + 1))
    }

    pub(super) fn process_of(&mut self, host: usize, start: u64) -> Option<&mut Process> {
        let process = self.hosts[host].process.as_mut();
        process.filter(|process| process.start == start)
    }

    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|host| self.hosts[*host].is_up())
            .collect()
    }

    // ===== the log =====

    pub(super) const fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    pub(super) fn note(&mut self, text: impl std::fmt::Display) {
        if let Some(log) = &mut self.log {
            let now = self.now.as_micros();
            log.push(format!(
                "{:>6}.{:06} {text}",
                now / 1_000_000,
                now % 1_000_000
            ));
        }
    }
}
