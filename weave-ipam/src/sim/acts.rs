//! What people and misfortune do.

use std::time::Duration;

use super::fault::Fault;
use super::host::{Doom, Host, Input, Moment};
use super::world::{Task, World};
use crate::peer::PeerId;

impl World {
    /// One act, and the time of the next.
    pub(super) fn act(&mut self) {
        if self.is_calm {
            return;
        }
        let wait = self.dice.between(Duration::ZERO, self.plan.pace * 2);
        self.queue.plan(self.now + wait, Task::Act);
        let up = self.up();
        let Some(host) = self.dice.pick(&up) else {
            return;
        };
        match self.dice.below(100) {
            0..=46 => {
                if self.hosts[host].containers.len() < MAX_CONTAINERS {
                    self.allocate(host);
                }
            }
            47..=70 => self.end_any(host),
            71..=74 => self.claim_any(host),
            _ => self.misfortune(host),
        }
        self.copy_disk(host);
    }

    fn end_any(&mut self, host: usize) {
        let idents: Vec<&String> = self.hosts[host].containers.keys().collect();
        if !idents.is_empty() {
            let ident = idents[self.dice.below(idents.len())].clone();
            self.end_container(host, &ident);
        }
    }

    fn claim_any(&mut self, host: usize) {
        let hosts = crate::address::host_range(self.plan.universe).span;
        let count = usize::try_from(hosts.size()).unwrap_or(1);
        let at = hosts.start() + u128::try_from(self.dice.below(count)).unwrap_or(0);
        let address = self.universe.family.address(at);
        let Ok(address) = ipnet::IpNet::new(address, self.plan.universe.prefix_len()) else {
            return;
        };
        let ident = self.new_container(host, None);
        self.hosts[host].claims.insert(ident.clone(), address);
        self.feed(
            host,
            Input::Claim {
                ident,
                address,
                is_found: false,
            },
        );
    }

    /// A copy of a disk, to be put back some day.
    fn copy_disk(&mut self, host: usize) {
        let wants = self.plan.faults.contains(Fault::Rollback) && self.dice.one_in(12);
        let disk = &mut self.hosts[host].disk;
        if let Some(current) = disk.current.as_ref().filter(|_| wants) {
            disk.copies.push(current.clone());
        }
    }

    fn misfortune(&mut self, host: usize) {
        let acts: Vec<Fault> = self.plan.faults.iter().filter(|f| is_act(*f)).collect();
        let Some(fault) = self.dice.pick(&acts) else {
            return;
        };
        let rarity = match fault {
            Fault::Leave | Fault::Retire | Fault::NewIdentity => 12,
            Fault::Rollback | Fault::DiskLost | Fault::Clone => 6,
            Fault::RemovedAlive | Fault::RemovedDead => 3,
            _ => 1,
        };
        if !self.dice.one_in(rarity) {
            return;
        }
        if is_end_of_process(fault) && !self.is_born() {
            return;
        }
        self.inflict(fault, host);
    }

    /// Every process has a ring. Before that, a process that dies may let its voice count twice.
    fn is_born(&self) -> bool {
        let mut up = self.hosts.iter().filter(|host| host.is_up());
        up.all(Host::has_ring) || !self.laws.is_strong
    }

    fn inflict(&mut self, fault: Fault, host: usize) {
        match fault {
            Fault::Partition => self.divide(),
            Fault::OneWay => self.mute_link(host),
            Fault::LinkCut => self.cut_link(host),
            Fault::Crash => self.doom(host, false),
            Fault::PowerCut => self.doom(host, true),
            Fault::TornWrite => {
                self.hosts[host].doom = Some(Doom {
                    moment: Moment::HalfWritten,
                    is_power: true,
                });
            }
            Fault::ClockJump => self.leap(host),
            Fault::SlowNode => {
                self.faults.count(fault);
                self.hosts[host].is_slow = true;
                let end = self.now + self.seconds(30, 240);
                self.queue.plan(end, Task::Recover(host));
            }
            Fault::Leave => self.leave(host),
            Fault::Retire => {
                self.retire(host, fault);
            }
            Fault::NewIdentity => self.rename(host),
            Fault::Rollback => self.roll_back(host),
            Fault::DiskLost => self.lose_disk(host),
            Fault::Clone => self.copy_host(host),
            Fault::RemovedAlive => self.remove_alive(host),
            Fault::RemovedDead => self.remove_dead(host),
            _ => {}
        }
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        self.dice
            .between(Duration::from_secs(from), Duration::from_secs(to))
    }

    // ===== network =====

    fn divide(&mut self) {
        self.faults.count(Fault::Partition);
        let parts = 2 + self.dice.below(2);
        for host in 0..self.hosts.len() {
            let group = self.dice.below(parts);
            self.wires.set_group(host, group);
        }
        self.note("the network falls into parts");
        self.is_stale = true;
        let end = self.now + self.seconds(5, 150);
        self.queue.plan(end, Task::Reunite);
    }

    fn mute_link(&mut self, from: usize) {
        let neighbours = self.wires.neighbours(from);
        let Some(to) = self.dice.pick(&neighbours) else {
            return;
        };
        self.faults.count(Fault::OneWay);
        self.note(format_args!("host {to} does not hear host {from}"));
        self.wires.set_mute(from, to, true);
        let found = self.now + self.seconds(5, 60);
        self.queue.plan(found, Task::GiveUp(from, to));
        let end = found + self.seconds(1, 60);
        self.queue.plan(end, Task::Unmute(from, to));
    }

    fn cut_link(&mut self, a: usize) {
        let neighbours = self.wires.neighbours(a);
        let Some(b) = self.dice.pick(&neighbours) else {
            return;
        };
        self.faults.count(Fault::LinkCut);
        self.note(format_args!("the link of hosts {a} and {b} is cut"));
        self.wires.set_cut(a, b, true);
        self.is_stale = true;
        let end = self.now + self.seconds(3, 60);
        self.queue.plan(end, Task::Mend(a, b));
    }

    // ===== processes and disks =====

    /// The process dies now or at its next write.
    fn doom(&mut self, host: usize, is_power: bool) {
        let moment = match self.dice.below(3) {
            0 => Moment::BeforeWrite,
            1 => Moment::AfterWrite,
            _ => {
                let fault = if is_power {
                    Fault::PowerCut
                } else {
                    Fault::Crash
                };
                self.faults.count(fault);
                self.note(format_args!("host {host}: {fault}"));
                if is_power {
                    self.lose_containers(host);
                }
                let back = self.seconds(1, 90);
                self.kill(host, Some(back));
                return;
            }
        };
        self.hosts[host].doom = Some(Doom { moment, is_power });
    }

    fn leap(&mut self, host: usize) {
        self.faults.count(Fault::ClockJump);
        let ahead = self.seconds(1, 3600);
        self.note(format_args!("host {host}: clock leaps {ahead:?} ahead"));
        let wall = i64::try_from(self.dice.number() >> 28).unwrap_or(0);
        let sign = if self.dice.one_in(2) { 1 } else { -1 };
        self.hosts[host].wall = wall * sign;
        if let Some(process) = &mut self.hosts[host].process {
            process.leap += ahead;
        }
        self.feed(host, Input::Timeout);
    }

    fn can_lose_host(&self) -> bool {
        let left = self.hosts.iter().filter(|host| !host.is_retired);
        left.count() > 2
    }

    fn leave(&mut self, host: usize) {
        let has_left = |host: &Host| host.process.as_ref().is_some_and(|p| p.has_left);
        // Whoever leaves takes no requests any more, so what waits for a write is let through.
        let is_busy = |host: &Host| host.process.as_ref().is_none_or(|p| p.is_busy);
        if is_busy(&self.hosts[host])
            || !self.can_lose_host()
            || self.hosts.iter().any(has_left)
            || self.hosts[host].is_clone
        {
            return;
        }
        self.faults.count(Fault::Leave);
        self.note(format_args!("host {host} leaves"));
        let idents: Vec<String> = self.hosts[host].containers.keys().cloned().collect();
        for ident in idents {
            self.end_container(host, &ident);
        }
        self.feed(host, Input::Leave);
        let end = self.now + self.seconds(1, 60);
        self.queue.plan(end, Task::RetireLeft(host));
    }

    fn retire(&mut self, host: usize, fault: Fault) -> bool {
        if !self.can_lose_host() {
            return false;
        }
        self.faults.count(fault);
        self.note(format_args!("host {host} is gone for ever"));
        self.lose_containers(host);
        self.kill(host, None);
        self.hosts[host].is_retired = true;
        true
    }

    /// The same machine, empty, with a name of its own. It waits for a ring: the vote is over.
    fn rename(&mut self, host: usize) {
        if self.hosts.len() >= MAX_HOSTS || !self.retire(host, Fault::NewIdentity) {
            return;
        }
        let name = self.fresh_name();
        let mut host = Host::new(name, self.hosts[host].is_legacy);
        host.is_observer = true;
        let index = self.add(host);
        let at = self.now + self.seconds(5, 60);
        self.queue.plan(at, Task::Start(index));
    }

    fn roll_back(&mut self, host: usize) {
        let copies = self.hosts[host].disk.copies.len();
        if copies == 0 || self.hosts[host].is_clone {
            return;
        }
        let copy = self.dice.below(copies);
        let copy = self.hosts[host].disk.copies[copy].clone();
        self.weaken(Fault::Rollback);
        self.replace_disk(host, Some(copy));
    }

    fn lose_disk(&mut self, host: usize) {
        // A voter without a ring may vote again: only one at a time.
        let everyone = |host: &Host| host.is_retired || host.disk.current.is_some();
        if self.hosts.iter().all(everyone) && !self.hosts[host].is_clone {
            self.weaken(Fault::DiskLost);
            self.replace_disk(host, None);
        }
    }

    fn replace_disk(&mut self, host: usize, with: Option<crate::snapshot::Snapshot>) {
        let is_machine = self.dice.one_in(2);
        self.note(format_args!("host {host}, machine: {is_machine}"));
        if is_machine {
            self.lose_containers(host);
        }
        let back = self.seconds(1, 40);
        self.kill(host, Some(back));
        let disk = &mut self.hosts[host].disk;
        disk.current = with;
        disk.damaged = None;
    }

    /// A copy of the machine without its containers, under the same name.
    fn copy_host(&mut self, host: usize) {
        let is_full = self.hosts.len() >= MAX_HOSTS || self.hosts.iter().any(|h| h.is_clone);
        let original = &self.hosts[host];
        if is_full || original.disk.current.is_none() || original.is_retired {
            return;
        }
        let mut copy = Host::new(original.identity, original.is_legacy);
        copy.is_clone = true;
        copy.disk.current.clone_from(&original.disk.current);
        self.weaken(Fault::Clone);
        let index = self.add(copy);
        self.note(format_args!("host {index} is a copy of host {host}"));
        let group = self.dice.below(2);
        self.wires.set_group(index, group);
        let at = self.now + self.seconds(1, 30);
        self.queue.plan(at, Task::Start(index));
    }

    // ===== takeover =====

    fn remove_alive(&mut self, taker: usize) {
        let victims: Vec<usize> = self
            .up()
            .into_iter()
            .filter(|victim| self.hosts[*victim].identity != self.hosts[taker].identity)
            .filter(|victim| !self.wires.reaches(taker, *victim))
            .collect();
        if let Some(victim) = self.dice.pick(&victims) {
            self.take_over(taker, self.hosts[victim].identity, Fault::RemovedAlive);
        }
    }

    fn remove_dead(&mut self, taker: usize) {
        let victims: Vec<PeerId> = self
            .hosts
            .iter()
            .filter(|host| !host.is_up())
            .map(|host| host.identity)
            .filter(|name| !self.names().contains(&Some(*name)))
            .collect();
        if let Some(victim) = self.dice.pick(&victims) {
            self.take_over(taker, victim, Fault::RemovedDead);
        }
    }

    fn take_over(&mut self, taker: usize, victim: PeerId, fault: Fault) {
        let is_owner = |world: &Self| {
            let process = world.hosts[taker].process.as_ref();
            process.is_some_and(|process| process.engine.ring().peers().contains(&victim))
        };
        let is_contesting = self.contesting(taker).contains(&victim);
        let is_idle = |world: &Self| {
            let process = world.hosts[taker].process.as_ref();
            process.is_some_and(|process| !process.is_busy && !process.has_left)
        };
        if !is_owner(self) && !is_contesting || !is_idle(self) {
            return;
        }
        // The laws weaken first: what follows from the takeover is judged by the weaker ones. What
        // the victim has said is overruled by people.
        if let Some(process) = &mut self.hosts[taker].process {
            process.told.remove(&victim);
        }
        let was_strong = std::mem::replace(&mut self.laws.is_strong, false);
        self.feed(taker, Input::Takeover(victim));
        self.laws.is_strong = was_strong;
        if is_owner(self) && self.hosts[taker].is_up() {
            self.note(format_args!("host {taker} does not take over {victim}"));
        } else {
            self.weaken(fault);
        }
    }
}

/// Whether the fault is something that is done, not a property of the network.
const fn is_act(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Loss
            | Fault::Delay
            | Fault::Reorder
            | Fault::Duplicate
            | Fault::Legacy
            | Fault::LegacyRefusal
            | Fault::SplitBootstrap
    )
}

/// Whether a process ends by it.
const fn is_end_of_process(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Partition
            | Fault::OneWay
            | Fault::LinkCut
            | Fault::ClockJump
            | Fault::SlowNode
            | Fault::RemovedAlive
    )
}

/// Containers of one host.
const MAX_CONTAINERS: usize = 60;

/// Hosts, with those that were added later.
const MAX_HOSTS: usize = 16;
