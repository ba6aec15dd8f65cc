//! What a program around an allocator does: start it from disk, hand it inputs one after another,
//! write before anything leaves.
//!
//! The law of the shell: after each call the snapshot is durable before messages and answers leave.
//! While a write is under way, inputs wait. At the start, addresses of containers that live are
//! claimed again and holders without a container are released, before requests are taken.

use std::time::Duration;

use super::engine::{Effect, Engine, Reply, Slip};
use super::fault::Fault;
use super::host::{Doom, Input, Moment, Process};
use super::laws::Law;
use super::legacy::{Legacy, Setting};
use super::plan::Birth;
use super::planted::Planted;
use super::wires::{Kind, Parcel};
use super::world::{Task, World};
use crate::allocator::{Allocator, Answer, Config, InitMode};
use crate::message::Message;
use crate::peer::PeerId;
use crate::snapshot::{Snapshot, SnapshotError};

impl World {
    // ===== start and stop =====

    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].is_retired || self.hosts[host].is_up() {
            return;
        }
        if let Some(damaged) = self.hosts[host].disk.damaged.take()
            && self.boot(host, Some(damaged)).is_ok()
        {
            self.violate(Law::DamageRefused, "a damaged snapshot was accepted");
        }
        let saved = self.hosts[host].disk.current.clone();
        self.hosts[host].starts += 1;
        let engine = match self.boot(host, saved) {
            Ok(engine) => engine,
            Err(error) => {
                self.violate(
                    Law::RestartsFromDisk,
                    format_args!("host {host} does not start: {error}"),
                );
                return;
            }
        };
        let start = self.hosts[host].starts;
        self.note(format_args!("host {host} starts ({start})"));
        self.hosts[host].process = Some(Process::new(engine, start, self.now));
        self.is_stale = true;
        self.settle(host);
        self.reconcile(host);
        let at = self.now + self.dice.between(Duration::ZERO, GOSSIP);
        self.queue.plan(at, Task::Gossip(host, start));
    }

    fn boot(&self, host: usize, saved: Option<Snapshot>) -> Result<Engine, SnapshotError> {
        let it = &self.hosts[host];
        let uid = self.plan.seed ^ (it.identity.0 << 16) ^ it.starts ^ u64::from(it.is_clone) << 60;
        let nickname = format!("host{host}");
        let seeds: Vec<PeerId> = match self.plan.birth {
            Birth::Seeds => self.seeds(),
            _ => Vec::new(),
        };
        if it.is_legacy {
            let setting = Setting {
                universe: self.plan.universe,
                peer: it.identity,
                uid,
                nickname,
                seeds,
                quorum: self.voters() / 2 + 1,
                is_observer: it.is_observer,
                seed: uid,
            };
            return Legacy::new(setting, saved).map(|legacy| Engine::Legacy(Box::new(legacy)));
        }
        let init = match self.plan.birth {
            _ if it.is_observer => InitMode::Observer,
            Birth::Seeds => InitMode::Seed(seeds),
            _ => InitMode::Consensus {
                expected: Some(self.voters()),
            },
        };
        let config = Config::new(self.plan.universe, it.identity)
            .uid(uid)
            .nickname(nickname)
            .init(init)
            .seed(uid)
            .cool_down(self.plan.cool_down);
        match Allocator::new(config, saved) {
            Ok(allocator) => Ok(Engine::Native(Box::new(allocator))),
            Err(crate::allocator::Error::Snapshot(error)) => Err(error),
            Err(error) => unreachable!("the configuration is sound: {error}"),
        }
    }

    /// How many peers a vote expects.
    fn voters(&self) -> usize {
        match self.plan.birth {
            Birth::Split => 1,
            _ => self.plan.hosts,
        }
    }

    fn seeds(&self) -> Vec<PeerId> {
        let first = self.hosts.iter().take(self.plan.hosts);
        first.map(|host| host.identity).collect()
    }

    /// Ends a process at once; it may start again later.
    pub(super) fn kill(&mut self, host: usize, restarts_in: Option<Duration>) {
        let it = &mut self.hosts[host];
        it.process = None;
        it.disk.writing = None;
        it.doom = None;
        let waiting = it.containers.iter();
        let waiting: Vec<String> = waiting
            .filter(|(_, container)| container.address.is_none())
            .map(|(ident, _)| ident.clone())
            .collect();
        for ident in waiting {
            it.containers.remove(&ident);
        }
        self.is_stale = true;
        if let Some(after) = restarts_in {
            self.queue.plan(self.now + after, Task::Start(host));
        }
    }

    // ===== inputs =====

    pub(super) fn feed(&mut self, host: usize, input: Input) {
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        if process.is_busy {
            process.inbox.push_back(input);
            return;
        }
        self.apply(host, input);
        self.settle(host);
    }

    fn apply(&mut self, host: usize, input: Input) {
        if self.is_logged() {
            self.note(format_args!("  host {host} {}", describe(&input)));
        }
        let now = self.now;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let clock = process.clock(now);
        match input {
            Input::Parcel(parcel) => self.open(host, clock, *parcel),
            Input::Timeout => {
                if process.engine.poll_timeout().is_some_and(|at| at <= clock) {
                    process.engine.handle_timeout(clock);
                    let next = process.engine.poll_timeout();
                    if next.is_some_and(|at| at <= clock) {
                        self.violate(Law::TimersAdvance, format_args!("host {host}"));
                    }
                }
            }
            Input::Reachable(peers, targets) => {
                process.engine.handle_reachable(clock, peers, targets);
            }
            Input::Gossip(to) => self.gossip(host, to),
            Input::Allocate(ident) => {
                let reply = process.engine.allocate(clock, &ident);
                self.note_reply(host, ident, reply);
            }
            Input::Claim {
                ident,
                address,
                is_found,
            } => {
                let reply = process.engine.claim(clock, &ident, address, is_found);
                if let (Reply::Waits(slip), false) = (reply, is_found) {
                    process.engine.set_deadline(slip, clock + PATIENCE);
                }
                self.note_reply(host, ident, reply);
            }
            Input::End(ident) => {
                let mut waiting = process.waiting.iter();
                let slip = waiting.find(|(_, other)| **other == ident);
                if let Some(slip) = slip.map(|(slip, _)| *slip) {
                    process.waiting.remove(&slip);
                    process.engine.cancel(slip);
                }
                process.engine.delete(clock, &ident);
            }
            Input::Takeover(victim) => process.engine.takeover(clock, victim),
            Input::Leave => {
                process.has_left = true;
                process.engine.shutdown(clock);
            }
        }
    }

    fn open(&mut self, host: usize, clock: Duration, parcel: Parcel) {
        let Parcel {
            from, hop, kind, ..
        } = parcel;
        let Some((state, message)) = self.unpack(kind, parcel.body) else {
            return;
        };
        let heard = self.laws_read(host, state.as_ref(), message.as_ref());
        if let Some(Message::Removed(gone)) = &message {
            self.laws_hear_of_removal(host, *gone);
        }
        let sender = self.hosts[from].identity;
        let source = match kind {
            Kind::Broadcast(source) => self.hosts[source].identity,
            Kind::Gossip | Kind::Unicast => sender,
        };
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let engine = &mut process.engine;
        let result = match (kind, state, message) {
            (Kind::Unicast, _, Some(message)) => engine
                .handle_unicast(clock, sender, message)
                .map(|()| false),
            (Kind::Broadcast(_), Some(state), _) => engine.handle_broadcast(clock, source, state),
            (Kind::Gossip, Some(state), _) => engine.handle_gossip(clock, state),
            _ => Ok(false),
        };
        if let Some((peer, theirs)) = heard {
            self.laws_hear(host, peer, theirs);
        }
        match (result, kind) {
            (Ok(true), Kind::Broadcast(source)) => self.hosts_relay(host, Kind::Broadcast(source)),
            (Ok(true), _) => self.hosts_relay(host, Kind::Gossip),
            (Ok(false), _) => {}
            (Err(error), _) => self.drop_link(host, hop, from, &error),
        }
    }

    /// Passing on waits until what was learned is written.
    fn hosts_relay(&mut self, host: usize, kind: Kind) {
        if let Some(process) = &mut self.hosts[host].process {
            process.relays.push(kind);
        }
    }

    fn note_reply(&mut self, host: usize, ident: String, reply: Reply) {
        let it = &mut self.hosts[host];
        let Some(process) = &mut it.process else {
            return;
        };
        match reply {
            Reply::Met(address) => process.answers.push((ident, address)),
            Reply::Waits(slip) => {
                process.waiting.insert(slip, ident);
            }
            Reply::Failed => self.fail(host, &ident),
        }
    }

    /// A request failed. A container that lives keeps its address and is reported.
    fn fail(&mut self, host: usize, ident: &str) {
        let it = &mut self.hosts[host];
        let Some(container) = it.containers.get_mut(ident) else {
            return;
        };
        if let Some(address) = container.address {
            it.unclaimed.insert(address);
            let again = Task::Reclaim(host, ident.to_owned());
            self.queue.plan(self.now + RECLAIM, again);
        } else {
            it.containers.remove(ident);
        }
    }

    // ===== after each call =====

    pub(super) fn settle(&mut self, host: usize) {
        loop {
            if !self.save(host) {
                return;
            }
            let failed = self.release(host);
            let now = self.now;
            let Some(process) = &mut self.hosts[host].process else {
                return;
            };
            if failed.is_empty() && process.engine.revision() == process.revision {
                break;
            }
            let clock = process.clock(now);
            for peer in failed {
                process.engine.handle_send_failed(clock, peer);
            }
        }
        self.set_alarm(host);
    }

    /// Writes if there is something to write; whether it is durable already.
    fn save(&mut self, host: usize) -> bool {
        let Some(process) = &mut self.hosts[host].process else {
            return false;
        };
        let has_crashed = matches!(&process.engine, Engine::Legacy(it) if it.has_crashed());
        let revision = process.engine.revision();
        if revision == process.revision && !has_crashed {
            // Weave Net does not write a version that others have made it raise.
            let is_native = process.engine.native().is_some();
            if is_native && process.engine.ring().entries() != process.entries {
                let text = format_args!("host {host}: the ring changed, the revision did not");
                self.violate(Law::ChangesAreWritten, text);
            }
            return true;
        }
        process.revision = revision;
        let mut snapshot = process.engine.snapshot();
        if has_crashed {
            self.note(format_args!("host {host} dies of an accepted repair"));
            self.faults.count(Fault::LegacyRefusal);
            self.hosts[host].disk.current = Some(snapshot);
            self.kill(host, Some(Duration::from_secs(5)));
            return false;
        }
        self.inspect(host);
        if self.plan.planted == Some(Planted::GrantNotWritten) {
            self.spoil(host, &mut snapshot);
        }
        if let Some(doom) = self.hosts[host].doom.take() {
            if self.plan.planted == Some(Planted::AnswerBeforeWrite) {
                self.release(host);
            }
            self.die_writing(host, doom, snapshot);
            return false;
        }
        if !self.hosts[host].is_slow {
            self.hosts[host].disk.current = Some(snapshot);
            return true;
        }
        let took = self
            .dice
            .between(Duration::from_millis(20), Duration::from_secs(2));
        let start = self.hosts[host].starts;
        self.hosts[host].disk.writing = Some(snapshot);
        if let Some(process) = &mut self.hosts[host].process {
            process.is_busy = true;
        }
        if self.plan.planted == Some(Planted::AnswerBeforeWrite) {
            self.release(host);
        }
        self.queue.plan(self.now + took, Task::Written(host, start));
        false
    }

    pub(super) fn finish_write(&mut self, host: usize, start: u64) {
        let Some(process) = self.process_of(host, start) else {
            return;
        };
        process.is_busy = false;
        let written = self.hosts[host].disk.writing.take();
        if written.is_some() {
            self.hosts[host].disk.current = written;
        }
        self.settle(host);
        self.resume(host, start);
    }

    /// Deals with what has come in meanwhile.
    pub(super) fn resume(&mut self, host: usize, start: u64) {
        while let Some(process) = self.process_of(host, start) {
            if process.is_busy {
                return;
            }
            let Some(input) = process.inbox.pop_front() else {
                return;
            };
            self.apply(host, input);
            self.settle(host);
        }
    }

    fn die_writing(&mut self, host: usize, doom: Doom, snapshot: Snapshot) {
        self.note(format_args!("host {host} dies {:?}", doom.moment));
        match doom.moment {
            Moment::BeforeWrite => {}
            Moment::HalfWritten => {
                self.hosts[host].disk.damaged = damage(snapshot);
                self.faults.count(Fault::TornWrite);
            }
            Moment::AfterWrite => self.hosts[host].disk.current = Some(snapshot),
        }
        if doom.is_power {
            self.lose_containers(host);
            self.faults.count(Fault::PowerCut);
        } else {
            self.faults.count(Fault::Crash);
        }
        let back = self
            .dice
            .between(Duration::from_secs(1), Duration::from_secs(90));
        self.kill(host, Some(back));
    }

    /// Gives answers and sends messages. Returns to whom nothing could be sent.
    fn release(&mut self, host: usize) -> Vec<PeerId> {
        self.witness(host);
        let Some(process) = &mut self.hosts[host].process else {
            return Vec::new();
        };
        let effects = process.engine.effects();
        let mut failed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Broadcast => self.broadcast(host, host),
                Effect::Unicast(to, message) => {
                    if !self.unicast(host, to, message) {
                        failed.push(to);
                    }
                }
                Effect::Settled(slip, answer) => self.settled(host, slip, answer),
                Effect::Event(event) => self.judge_event(host, &event),
            }
        }
        let Some(process) = &mut self.hosts[host].process else {
            return failed;
        };
        let relays = std::mem::take(&mut process.relays);
        let answers = std::mem::take(&mut process.answers);
        for kind in relays {
            match kind {
                Kind::Broadcast(source) => self.broadcast(source, host),
                Kind::Gossip | Kind::Unicast => {
                    let neighbours = self.wires.neighbours(host);
                    if let Some(to) = self.dice.pick(&neighbours) {
                        self.gossip(host, to);
                    }
                }
            }
        }
        for (ident, address) in answers {
            self.answer(host, &ident, address);
        }
        failed
    }

    fn settled(&mut self, host: usize, slip: Slip, answer: Option<Answer>) {
        let it = &mut self.hosts[host];
        let Some(process) = &mut it.process else {
            return;
        };
        let Some(ident) = process.waiting.remove(&slip) else {
            return;
        };
        let wanted = it.containers.get(&ident).and_then(|c| c.address);
        let claimed = it.claims.remove(&ident).or(wanted);
        match answer {
            Some(Answer::Address(address)) => process.answers.push((ident, address)),
            Some(Answer::Done) => process
                .answers
                .extend(claimed.map(|address| (ident, address))),
            None => self.fail(host, &ident),
        }
    }

    fn answer(&mut self, host: usize, ident: &str, address: ipnet::IpNet) {
        let Some(container) = self.hosts[host].containers.get_mut(ident) else {
            // Nobody waits any more.
            self.feed_later(host, Input::End(ident.to_owned()));
            return;
        };
        let is_found = container.address == Some(address);
        container.address = Some(address);
        self.note(format_args!("  host {host} {ident} has {address}"));
        if is_found {
            self.hosts[host].unclaimed.remove(&address);
        } else {
            self.judge_holder(host, ident, address);
        }
    }

    /// Puts an input at the end of what the process has to do.
    fn feed_later(&mut self, host: usize, input: Input) {
        let now = self.now;
        if let Some(process) = &mut self.hosts[host].process {
            process.inbox.push_back(input);
            let start = process.start;
            self.queue.plan(now, Task::Resume(host, start));
        }
    }

    fn set_alarm(&mut self, host: usize) {
        let now = self.now;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let Some(at) = process.engine.poll_timeout() else {
            return;
        };
        let at = process.wall_time(at).max(now);
        if process.alarm.is_none_or(|alarm| at < alarm) {
            process.alarm = Some(at);
            let start = process.start;
            self.queue.plan(at, Task::Alarm(host, start));
        }
    }

    /// The planted defect: a file that still has what was given away.
    fn spoil(&self, host: usize, snapshot: &mut Snapshot) {
        let it = &self.hosts[host];
        let before = it.disk.current.as_ref().and_then(|disk| disk.ring.as_ref());
        let mine = |ring: &crate::snapshot::SnapshotRing| {
            let own = ring.entries.iter();
            own.filter(|entry| entry.peer == it.identity).count()
        };
        let Some((before, after)) = before.zip(snapshot.ring.as_ref()) else {
            return;
        };
        if mine(before) > mine(after) || before.entries.len() < after.entries.len() {
            snapshot.ring = Some(before.clone());
        }
    }
}

/// A snapshot as a half-done write may leave it, if the damage can be seen in it.
fn damage(mut snapshot: Snapshot) -> Option<Snapshot> {
    let ring = snapshot.ring.as_mut()?;
    let first = *ring.entries.first()?;
    ring.entries.push(first);
    Some(snapshot)
}

fn describe(input: &Input) -> String {
    match input {
        Input::Parcel(parcel) => {
            format!("hears host {} ({:?})", parcel.from, parcel.kind)
        }
        other => format!("{other:?}"),
    }
}

/// Period of gossip.
pub(super) const GOSSIP: Duration = Duration::from_secs(30);

/// Period in which the address of a container that lives is claimed again if that has failed.
const RECLAIM: Duration = Duration::from_secs(10);

/// How long a user waits for a claim.
const PATIENCE: Duration = Duration::from_secs(20);
