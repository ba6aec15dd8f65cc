//! What happens on hosts: slices of work, and what follows from them.

use std::time::Duration;

use super::host::{Happening, Input, Output, SLICE};
use super::wire::{Side, WireId};
use super::{Entry, HostId, Next, Simulation};

impl Simulation {
    pub(super) fn handle(&mut self, entry: &Entry) {
        self.happenings += 1;
        match entry.next {
            Next::Run(host) => self.run(host, entry.at),
            Next::Request {
                from,
                dial,
                to,
                port,
            } => self.request(from, dial, to, port),
            Next::Unanswered {
                from,
                dial,
                to,
                reason,
            } => self.give(from, Input::DialFailed(dial, to, reason)),
            Next::Answered { dial, wire } => {
                if let Some(host) = self.wires.get(&wire).map(|wire| wire.ends[0].host) {
                    self.give(host, Input::Dialled(dial, wire));
                }
            }
            Next::Accept { host, wire } => self.give(host, Input::Accepted(wire)),
            Next::Arrive(wire, side) => self.arrive(wire, side),
            Next::Room(wire, side) => self.room(wire, side),
            Next::Reset(wire, side) => self.reset_arrives(wire, side),
            Next::OverlayWorks { host, id } => self.give(host, Input::OverlayWorks(id)),
        }
    }

    /// Arranges that a host runs when it has something to do.
    pub(super) fn arrange(&mut self, id: HostId) {
        let now = self.now;
        let Some(host) = self.host_mut(id) else {
            return;
        };
        let Some(at) = host.wants(now) else {
            return;
        };
        if host.wake.is_none_or(|wake| wake > at) {
            host.wake = Some(at);
            self.at(at, Next::Run(id));
        }
    }

    /// Does a slice of work.
    fn run(&mut self, id: HostId, at: Duration) {
        let now = self.now;
        let Some(host) = self.host_mut(id).filter(|host| host.wake == Some(at)) else {
            return;
        };
        host.wake = None;
        if host.busy_until > now {
            return self.arrange(id);
        }
        // With shared cores the slice starts when one is free.
        if let Some(free) = self.cores.iter().min().copied()
            && free > now
        {
            if let Some(host) = self.host_mut(id) {
                host.wake = Some(free);
            }
            return self.at(free, Next::Run(id));
        }
        let (inputs, bytes) = self.slice(id);
        let Some(host) = self.hosts.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        host.share_records(&mut self.pool);
        let cost = host.charge(inputs, bytes);
        let done = self.flush(id, now + cost);
        if let Some(core) = self.cores.iter_mut().min() {
            *core = done;
        }
        if let Some(host) = self.host_mut(id) {
            host.busy_until = done;
        }
        self.look(id, done);
        self.arrange(id);
    }

    /// Handles timers that are due and the next inputs; returns how many, and bytes read.
    fn slice(&mut self, id: HostId) -> (u64, u64) {
        let (mut inputs, mut bytes) = (1, 0);
        let now = self.now;
        let Some(host) = self.host_mut(id) else {
            return (0, 0);
        };
        let clock = now.saturating_sub(host.started);
        if host.engine.poll_timeout().is_some_and(|at| at <= clock) {
            host.engine.timeout(clock);
        }
        for _ in 0..SLICE {
            let Some(input) = self.host_mut(id).and_then(|host| host.inbox.pop_front()) else {
                break;
            };
            inputs += 1;
            bytes += self.input(id, clock, &input);
        }
        (inputs, bytes)
    }

    /// Handles one input; returns the bytes read.
    fn input(&mut self, id: HostId, clock: Duration, input: &Input) -> u64 {
        match *input {
            Input::Accepted(wire) => self.open(id, clock, wire, 1, None),
            Input::Dialled(dial, wire) => self.open(id, clock, wire, 0, Some(dial)),
            Input::Arrived(wire, side) => return self.read(id, clock, wire, side),
            Input::DialFailed(dial, to, reason) => {
                if let Some(host) = self.host_mut(id) {
                    host.engine.dial_failed(clock, dial, to, reason);
                }
            }
            Input::Written(wire, side, count) => {
                let connection = self.wires.get(&wire).and_then(|wire| wire.ends[side].id);
                if let (Some(host), Some(connection)) = (self.host_mut(id), connection) {
                    host.engine.written(clock, connection, count);
                }
            }
            Input::Reset(wire, side) => self.closed_by_remote(id, clock, wire, side),
            Input::OverlayWorks(connection) => {
                if let Some(host) = self.host_mut(id) {
                    host.engine.established(clock, connection);
                }
            }
        }
        0
    }

    fn read(&mut self, id: HostId, clock: Duration, wire: WireId, side: Side) -> u64 {
        let latency = self.settings.latency;
        let Some(connected) = self.wires.get_mut(&wire) else {
            return 0;
        };
        let end = &mut connected.ends[side];
        let (Some(connection), Some(bytes)) = (end.id, end.arrived.pop_front()) else {
            return 0;
        };
        let sender = &mut connected.ends[1 - side].outgoing;
        sender.unread = sender.unread.saturating_sub(bytes.len());
        if !sender.blocked.is_empty() {
            self.at(self.now + latency, Next::Room(wire, 1 - side));
        }
        if let Some(host) = self.host_mut(id) {
            host.engine.bytes(clock, connection, &bytes);
        }
        u64::try_from(bytes.len()).unwrap_or(u64::MAX)
    }

    /// Takes what a peer wants and tells; what it wrote leaves the host at `at` or, as writing
    /// costs time too, later. Returns when the host is done.
    pub(super) fn flush(&mut self, id: HostId, at: Duration) -> Duration {
        let mut done = at;
        loop {
            let Some(host) = self.host_mut(id) else {
                return done;
            };
            let clock = done.saturating_sub(host.started);
            let Some(output) = host.engine.poll_output(clock) else {
                break;
            };
            match output {
                Output::Dial(dial, target) => self.dial(id, dial, &target, done),
                Output::Close(connection) => {
                    let wire = host.wires.remove(&connection);
                    if let Some((wire, side)) = wire {
                        self.close(wire, side, done, false);
                    }
                }
                Output::Data(connection, bytes) => {
                    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    done += host.charge_output(size);
                    let wire = host.wires.get(&connection).copied();
                    if let Some((wire, side)) = wire {
                        self.write(wire, side, bytes, done);
                    }
                }
            }
        }
        self.count(id, done);
        done
    }

    /// Counts what happened, and has overlays work in a while.
    fn count(&mut self, id: HostId, at: Duration) {
        let delay = self.settings.overlay_delay;
        loop {
            let Some(host) = self.host_mut(id) else {
                return;
            };
            match host.engine.poll_happening() {
                None => return,
                Some(Happening::Ended) => host.counts.connections_ended += 1,
                Some(Happening::AttemptFailed) => host.counts.attempts_failed += 1,
                Some(Happening::Added(connection)) => {
                    host.counts.connections_added += 1;
                    let end = host.wires.get(&connection).copied();
                    if let Some((wire, side)) = end
                        && let Some(wire) = self.wires.get_mut(&wire)
                    {
                        wire.added[side] = Some(at);
                    }
                    let next = Next::OverlayWorks {
                        host: id,
                        id: connection,
                    };
                    self.at(at + delay, next);
                }
            }
        }
    }

    /// Looks whether a host knows what is watched.
    fn look(&mut self, id: HostId, at: Duration) {
        let Some(watch) = self.watch.take() else {
            return;
        };
        let mut watch = watch;
        if !watch.seen.contains_key(&id)
            && let Some(topology) = self.topology(id)
            && topology
                .get(watch.peer)
                .is_some_and(|record| record.version >= watch.version)
        {
            watch.seen.insert(id, at);
        }
        self.watch = Some(watch);
    }
}
