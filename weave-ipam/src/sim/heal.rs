//! The end of a run: everything is repaired, and what was promised must come true in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;

use super::fault::Fault;
use super::host::{Host, Input};
use super::laws::Law;
use super::world::World;
use crate::address::host_range;
use crate::peer::PeerId;
use crate::ring::Entry;
use crate::span::{AddressRange, number};
use crate::status::Status;

/// Within this time after the network has healed and edits have stopped, rings are equal, doubles
/// are reported, and taken-over space can be given out. Four periods of gossip.
pub const BOUND: Duration = Duration::from_secs(120);

/// Within this time a request is met if some peer that can be reached has an address to give.
pub const PATIENCE: Duration = Duration::from_secs(90);

impl World {
    /// Heals everything and looks whether the laws of healing hold.
    pub fn heal(&mut self) {
        self.calm();
        self.run_for(BOUND);
        if !self.laws.is_strong {
            self.judge_doubles();
            self.drain();
            self.run_for(BOUND * 2);
        }
        // What the dead own cannot be settled with them, if others own it too.
        if self.laws.is_strong || self.dead_owners().is_empty() {
            self.judge_rings("after healing");
        }
        self.remove_the_dead();
        self.run_for(BOUND);
        self.judge_rings("after the dead were removed");
        self.judge_contests();
        if self.is_clean() {
            self.give_everything();
        }
    }

    fn is_clean(&self) -> bool {
        self.laws.violations.is_empty()
    }

    /// Everyone who is not gone for ever runs, hears everyone, and nobody asks for anything.
    fn calm(&mut self) {
        self.note("--- healing");
        self.is_calm = true;
        for host in 0..self.hosts.len() {
            let it = &mut self.hosts[host];
            it.is_slow = false;
            it.doom = None;
            if it.is_clone {
                // The copy is found and switched off.
                self.lose_containers(host);
                self.hosts[host].is_retired = true;
                self.kill(host, None);
            }
        }
        self.wires.mend();
        self.is_stale = true;
        for host in 0..self.hosts.len() {
            self.start(host);
        }
        self.update_links();
        self.stop_waiting();
    }

    /// Ends what waits for an address.
    fn stop_waiting(&mut self) {
        for host in 0..self.hosts.len() {
            let containers = self.hosts[host].containers.iter();
            let waiting: Vec<String> = containers
                .filter(|(_, container)| container.address.is_none())
                .map(|(ident, _)| ident.clone())
                .collect();
            for ident in waiting {
                self.end_container(host, &ident);
            }
        }
        self.update_links();
    }

    // ===== after faults of identity =====

    /// An address with two holders is in the status of one of their hosts.
    fn judge_doubles(&mut self) {
        let mut hidden = Vec::new();
        for place in 0..self.laws.holders.len() {
            let holders = &self.laws.holders[place];
            if holders.len() < 2 {
                continue;
            }
            let at = self.universe.span.start() + u128::try_from(place).unwrap_or(0);
            let hosts: Vec<usize> = holders.iter().map(|(host, _)| *host).collect();
            let natives: Vec<usize> = hosts
                .iter()
                .copied()
                .filter(|host| !self.hosts[*host].is_legacy)
                .collect();
            // Whoever is of the old kind tells nobody what it holds.
            let is_told = natives.len() == hosts.len();
            let is_shown = natives.iter().any(|host| self.is_reported(*host, at));
            if is_told && !is_shown {
                hidden.push((self.universe.family.address(at), hosts));
            }
        }
        for (address, hosts) in hidden {
            self.violate(
                Law::DoublesAreReported,
                format_args!("{address} is held on hosts {hosts:?}"),
            );
        }
    }

    /// Whether a host shows that something is wrong with an address.
    fn is_reported(&self, host: usize, at: u128) -> bool {
        let it = &self.hosts[host];
        let is_at = |address: &IpNet| number(address.addr()) == at;
        if it.unclaimed.iter().any(is_at) {
            return true;
        }
        self.allocator(host)
            .is_some_and(|allocator| is_shown(&allocator.status(), at))
    }

    /// Containers in contested ranges end, and so do all but one of each address.
    fn drain(&mut self) {
        let has_legacy = self.plan.legacy > 0;
        let mut doomed: BTreeSet<(usize, String)> = BTreeSet::new();
        for holders in &self.laws.holders {
            doomed.extend(holders.iter().skip(1).cloned());
        }
        for (host, it) in self.hosts.iter().enumerate() {
            for (ident, container) in &it.containers {
                let at = container.address.map_or(0, |a| number(a.addr()));
                let contested = self.is_reported(host, at);
                if contested || has_legacy {
                    doomed.insert((host, ident.clone()));
                }
            }
        }
        for (host, ident) in doomed {
            self.end_container(host, &ident);
        }
        self.update_links();
    }

    // ===== rings =====

    fn judge_rings(&mut self, when: &str) {
        if !self.is_clean() {
            return;
        }
        let quarrels = !self.laws.is_strong;
        let judged = self.hosts.iter().enumerate();
        // Peers of the old kind may refuse each other for ever once their entries contradict.
        let rings: Vec<(usize, &[Entry])> = judged
            .filter(|(_, host)| !quarrels || !host.is_legacy)
            .filter_map(|(index, host)| {
                let ring = host.process.as_ref()?.engine.ring();
                Some((index, ring.entries()))
            })
            .collect();
        let Some((first, expected)) = rings.first() else {
            return;
        };
        if expected.is_empty() {
            let mut up = self.hosts.iter().filter(|host| host.is_up());
            // After that a ring may be lost with its last copy, until somebody asks for an address.
            let is_due = self.laws.is_strong && self.containers > 0;
            if is_due && up.any(|host| !host.is_observer) {
                self.violate(Law::RingIsFormed, format_args!("{when}: no ring"));
            }
            return;
        }
        if let Some((other, ring)) = rings.iter().find(|(_, ring)| ring != expected) {
            let differ = expected.iter().zip(*ring).find(|(a, b)| a != b);
            let text = format!("{when}: hosts {first} and {other} differ: {differ:?}");
            self.violate(Law::RingsAgree, text);
        }
    }

    /// Peers that never come back are taken over by one that is there.
    fn remove_the_dead(&mut self) {
        if !self.is_clean() {
            return;
        }
        self.laws.forget_owners();
        let mut dead = self.dead_owners();
        // One that contests what is ours is removed where we are, whether it owns anything or not.
        let mut takers = self.takers().into_iter();
        if let Some(ours) = takers.find(|host| !self.hosts[*host].is_legacy) {
            for peer in self.dead_contesters() {
                let is_ours = dead
                    .get(&peer)
                    .is_some_and(|host| !self.hosts[*host].is_legacy);
                if !is_ours {
                    dead.insert(peer, ours);
                }
            }
        }
        for (owner, taker) in dead {
            self.note(format_args!("host {taker} takes over {owner}"));
            self.feed(taker, Input::Takeover(owner));
        }
        self.update_links();
    }

    /// Owners that never come back, and for each a host that knows it as one.
    fn dead_owners(&self) -> BTreeMap<PeerId, usize> {
        let names = self.names();
        let mut dead = BTreeMap::new();
        for host in self.takers() {
            let Some(process) = &self.hosts[host].process else {
                continue;
            };
            for owner in process.engine.ring().peers() {
                if !names.contains(&Some(owner)) {
                    dead.entry(owner).or_insert(host);
                }
            }
        }
        dead
    }

    /// Who contests space of a host of ours.
    pub(super) fn contesting(&self, host: usize) -> BTreeSet<PeerId> {
        let contested = self.allocator(host).map(|it| it.status().contested);
        let reporters = contested.into_iter().flatten().map(|(_, peer)| peer);
        reporters.collect()
    }

    /// Peers that never come back and contest space of ours.
    fn dead_contesters(&self) -> BTreeSet<PeerId> {
        let names = self.names();
        let contesting = self.up().into_iter().flat_map(|host| self.contesting(host));
        contesting
            .filter(|peer| !names.contains(&Some(*peer)))
            .collect()
    }

    /// Nothing is contested by peers that are gone for ever.
    fn judge_contests(&mut self) {
        let dead = self.dead_contesters();
        if self.is_clean() && !dead.is_empty() {
            let text = format!(
                "{dead:?} are removed and contest: {}",
                self.describe_space()
            );
            self.violate(Law::NothingIsLost, text);
        }
    }

    /// A peer that doubts for the second time and more often does so for up to an hour.
    fn wait_for_holds(&mut self) {
        let end = self.now + DOUBT;
        let is_held = |world: &Self| {
            let hosts = 0..world.hosts.len();
            let mut natives = hosts.filter_map(|host| world.allocator(host));
            natives.any(|allocator| !allocator.status().holds.is_empty())
        };
        while self.is_clean() && self.now < end && is_held(self) {
            self.run_for(BOUND);
        }
    }

    /// Who has what, for the text of a violation.
    fn describe_space(&self) -> String {
        let natives = (0..self.hosts.len()).filter_map(|host| Some((host, self.allocator(host)?)));
        let lines = natives.map(|(host, allocator)| {
            let status = allocator.status();
            let free: Vec<String> = allocator
                .space()
                .free_spans(self.universe.span)
                .map(|span| {
                    let family = self.universe.family;
                    AddressRange { family, span }.to_string()
                })
                .collect();
            format!(
                "[host {host}: {} in use, free {}, contested {:?}, held {:?}, renumber {:?}, asks {:?}]",
                status.active,
                free.join(" "),
                status.contested,
                status.holds,
                status.renumber,
                status.pending_allocates,
            )
        });
        lines.collect()
    }

    fn takers(&self) -> Vec<usize> {
        let up = self.up().into_iter();
        let able = up.filter(|host| {
            let process = self.hosts[*host].process.as_ref();
            process.is_some_and(|process| !process.has_left)
        });
        let mut able: Vec<usize> = able.collect();
        able.sort_by_key(|host| self.hosts[*host].is_legacy);
        able
    }

    // ===== everything can be given out =====

    /// All containers end; then one host asks for every address there is.
    fn give_everything(&mut self) {
        // Peers of the old kind that have quarrelled do not give any more.
        let has_quarrel = !self.laws.is_strong && self.faults.of(Fault::Legacy) > 0;
        let hosts = host_range(self.plan.universe).span.size();
        // All who had a ring may be gone, and nobody, or too few, be left to vote.
        let is_gone = !self.hosts.iter().any(Host::has_ring);
        if has_quarrel || is_gone || hosts > MAX_GIVEN {
            return;
        }
        for host in 0..self.hosts.len() {
            let idents: Vec<String> = self.hosts[host].containers.keys().cloned().collect();
            for ident in idents {
                self.end_container(host, &ident);
            }
        }
        self.update_links();
        self.run_for(self.plan.cool_down + BOUND / 2);
        self.wait_for_holds();
        let takers = self.takers();
        let Some(taker) = self.dice.pick(&takers) else {
            return;
        };
        // A peer of the old kind draws lots among those that have anything, and may draw one again
        // and again that has only edges of the subnet.
        let is_legacy = self.hosts[taker].is_legacy;
        let patience = if is_legacy { PATIENCE * 4 } else { PATIENCE };
        for count in 0..hosts {
            let ident = self.allocate(taker);
            let end = self.now + patience;
            while self.is_clean() && self.now < end && self.address(taker, &ident).is_none() {
                self.run_for(Duration::from_millis(500));
            }
            if !self.is_clean() {
                return;
            }
            if self.address(taker, &ident).is_none() {
                let text = format!(
                    "host {taker} has {count} of {hosts} addresses and gets no more: {}",
                    self.describe_space()
                );
                self.violate(Law::NothingIsLost, text);
                return;
            }
        }
        self.note("everything is given out");
    }
}

/// Whether a status shows that something is wrong with an address: it is contested, to be
/// renumbered, or claimed in vain; or there is another ring.
fn is_shown(status: &Status, at: u128) -> bool {
    let is_inside = |(text, _): &(String, PeerId)| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        if let Ok(network) = first.parse::<IpNet>() {
            return AddressRange::of(network).span.contains(at);
        }
        let ends = (first.parse().map(number), last.parse().map(number));
        matches!(ends, (Ok(first), Ok(last)) if (first..=last).contains(&at))
    };
    let is_at = |address: &IpNet| number(address.addr()) == at;
    status.contested.iter().any(is_inside)
        || status.pending_claims.iter().any(|(_, a)| is_at(a))
        || !status.refusals.is_empty()
        || status.renumber.iter().any(|entry| is_at(&entry.address))
}

/// How long the longest doubt lasts, and some more.
const DOUBT: Duration = Duration::from_secs(75 * 60);

/// Larger universes are not given out one by one.
const MAX_GIVEN: u128 = 62;
