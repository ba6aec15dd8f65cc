//! What happens between hosts: dials, bytes, resets, cuts.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::host::{Input, WHOLE};
use super::wire::{Side, Wire, WireId};
use super::{Ended, HostId, Next, Simulation, tcp};
use crate::connector::Target;
use crate::node::DialId;

impl Simulation {
    /// Mends the network: what stalled is sent again, at the latest after as long again as it was
    /// stalled, as TCP's timers double.
    pub fn heal(&mut self) {
        self.cut.clear();
        let mut stalled: Vec<_> = self
            .wires
            .iter()
            .flat_map(|(id, wire)| [(*id, 0), (*id, 1)].map(|at| (at, &wire.ends[at.1].outgoing)))
            .filter(|(_, way)| way.stalled_since.is_some() || way.is_reset_stalled)
            .map(|(at, _)| at)
            .collect();
        stalled.sort_unstable();
        for (wire, side) in stalled {
            self.resume(wire, side);
        }
    }

    fn resume(&mut self, id: WireId, side: Side) {
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let way = &mut wire.ends[side].outgoing;
        let since = way.stalled_since.take().unwrap_or(now);
        let span = u64::try_from((now - since).as_micros()).unwrap_or(u64::MAX);
        let is_reset = std::mem::take(&mut way.is_reset_stalled);
        let stalled = std::mem::take(&mut way.stalled);
        let at = now + Duration::from_micros(self.random.below(span.max(1)));
        for bytes in stalled {
            self.send(id, side, bytes, at);
        }
        if is_reset {
            let at = at + self.settings.latency;
            self.at(at, Next::Reset(id, 1 - side));
        }
    }

    fn is_cut(&self, a: HostId, b: HostId) -> bool {
        self.cut.contains(&a) != self.cut.contains(&b)
    }

    pub(super) fn dial(&mut self, from: HostId, dial: DialId, target: &Target, at: Duration) {
        // Hosts are given as addresses: names cannot be resolved here.
        let to = target.to_string().parse::<SocketAddr>();
        let Ok(to) = to else {
            let to = SocketAddr::from(([0, 0, 0, 0], 0));
            let reason = "no such host";
            return self.at(
                at,
                Next::Unanswered {
                    from,
                    dial,
                    to,
                    reason,
                },
            );
        };
        let (limit, port) = match self.host_mut(from) {
            Some(host) => {
                host.next_port = host.next_port.checked_add(1).unwrap_or(32_768);
                let limit = if host.is_old() { OLD_TIMEOUT } else { TIMEOUT };
                (limit, host.next_port)
            }
            None => return,
        };
        let is_cut = self
            .listeners
            .get(&to)
            .is_some_and(|host| self.is_cut(from, *host));
        let delay = tcp::request(&self.settings, &mut self.random);
        if is_cut || delay > limit {
            let next = Next::Unanswered {
                from,
                dial,
                to,
                reason: "i/o timeout",
            };
            return self.at(at + limit, next);
        }
        let next = Next::Request {
            from,
            dial,
            to,
            port,
        };
        self.at(at + delay, next);
    }

    pub(super) fn request(&mut self, from: HostId, dial: DialId, to: SocketAddr, port: u16) {
        let now = self.now;
        let back = now + tcp::one_way(&self.settings, &mut self.random);
        let listener = self.listeners.get(&to).copied();
        let listener = listener.filter(|host| self.host(*host).is_some_and(|h| h.started <= now));
        let (Some(host), Some(dialler)) = (listener, self.host(from)) else {
            let next = Next::Unanswered {
                from,
                dial,
                to,
                reason: "connect: connection refused",
            };
            return self.at(back, next);
        };
        let ephemeral = SocketAddr::new(dialler.address.ip(), port);
        let wire = WireId(self.next_wire);
        self.next_wire += 1;
        let mut connected = Wire::new([(from, ephemeral), (host, to)]);
        connected.ends[1].outgoing.last_arrival = back;
        self.wires.insert(wire, connected);
        self.at(back, Next::Answered { dial, wire });
        let accept = self
            .host_mut(host)
            .map_or(now, |listener| listener.accept_at(now));
        self.at(accept, Next::Accept { host, wire });
    }

    /// Gives an end of a connection to its peer.
    pub(super) fn open(
        &mut self,
        id: HostId,
        clock: Duration,
        wire: WireId,
        side: Side,
        dial: Option<DialId>,
    ) {
        let Some(connected) = self.wires.get_mut(&wire) else {
            return;
        };
        let (local, remote) = (
            connected.ends[side].address,
            connected.ends[1 - side].address,
        );
        let waiting = connected.ends[side].arrived.len();
        let is_reset = connected.ends[side].is_closed;
        let Some(host) = self.host_mut(id) else {
            return;
        };
        let connection = match dial {
            Some(dial) => host.engine.dialled(clock, dial, local, remote),
            None => host.engine.accept(clock, local, remote),
        };
        if is_reset {
            host.engine.closed(clock, connection);
            return;
        }
        host.wires.insert(connection, (wire, side));
        for _ in 0..waiting {
            host.inbox.push_back(Input::Arrived(wire, side));
        }
        if let Some(connected) = self.wires.get_mut(&wire) {
            connected.ends[side].id = Some(connection);
        }
    }

    /// A peer writes: what fits the buffers is sent, the rest waits.
    pub(super) fn write(&mut self, id: WireId, side: Side, mut bytes: Bytes, at: Duration) {
        let buffer = self.settings.socket_buffer;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let end = &mut wire.ends[side];
        let (host, way) = (end.host, &mut end.outgoing);
        let fits = bytes.len().min(buffer.saturating_sub(way.unread));
        let sent = bytes.split_to(fits);
        // An empty rest would keep the memory of the whole.
        way.blocked = if bytes.is_empty() {
            Bytes::new()
        } else {
            bytes
        };
        let running = self.hosts.get_mut(host.0).and_then(Option::as_mut);
        if let Some(running) = running {
            way.meter.add(&sent, &mut running.counts);
        }
        if fits > 0 {
            way.unread += fits;
            self.send(id, side, sent, at);
            self.give(host, Input::Written(id, side, fits));
        }
    }

    /// Bytes leave a host and will arrive, unless there is a cut.
    fn send(&mut self, id: WireId, side: Side, bytes: Bytes, at: Duration) {
        let Some(wire) = self.wires.get(&id) else {
            return;
        };
        let [from, to] = [side, 1 - side].map(|side| wire.ends[side].host);
        let is_cut = self.is_cut(from, to) || self.host(to).is_none();
        let size = bytes.len();
        let nanos = u64::try_from(size)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000_000)
            / self.settings.bandwidth.max(1);
        let mut left = at;
        if let Some(host) = self.host_mut(from) {
            left = at.max(host.sending_until) + Duration::from_nanos(nanos);
            host.sending_until = left;
        }
        let transfer = tcp::transfer(&self.settings, size, &mut self.random);
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let way = &mut wire.ends[side].outgoing;
        if is_cut {
            way.stalled.push_back(bytes);
            way.stalled_since.get_or_insert(now);
            return;
        }
        let arrives = (left + transfer).max(way.last_arrival);
        way.last_arrival = arrives;
        way.on_the_way.push_back(bytes);
        self.at(arrives, Next::Arrive(id, 1 - side));
    }

    pub(super) fn arrive(&mut self, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let bytes = wire.ends[1 - side].outgoing.on_the_way.pop_front();
        let end = &mut wire.ends[side];
        if end.is_closed {
            return;
        }
        end.arrived.extend(bytes);
        let (host, is_open) = (end.host, end.id.is_some());
        if is_open {
            self.give(host, Input::Arrived(id, side));
        }
    }

    /// The reader made room for more of what is blocked.
    pub(super) fn room(&mut self, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let end = &mut wire.ends[side];
        if end.is_closed || !end.outgoing.blocked.has_remaining() {
            return;
        }
        let blocked = std::mem::take(&mut end.outgoing.blocked);
        self.write(id, side, blocked, self.now);
    }

    /// An end is closed: the other one will be told, unless nobody can tell it.
    pub(super) fn close(&mut self, id: WireId, side: Side, at: Duration, silent: bool) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let [from, to] = [side, 1 - side].map(|side| wire.ends[side].host);
        wire.ends[side].is_closed = true;
        let is_over = wire.is_over();
        self.note_end(id);
        if is_over {
            self.wires.remove(&id);
        } else if silent {
            // A dead machine says nothing.
        } else if self.is_cut(from, to) {
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.ends[side].outgoing.is_reset_stalled = true;
            }
        } else {
            let mut at = at + tcp::one_way(&self.settings, &mut self.random);
            let way = self.wires.get(&id).map(|wire| &wire.ends[side].outgoing);
            let last = way.map_or(at, |way| way.last_arrival);
            if last < at + self.settings.latency / 5 {
                // Packets keep their order, so it does not overtake what is not lost.
                at = at.max(last);
            }
            self.at(at, Next::Reset(id, 1 - side));
        }
    }

    /// Notes that a connection of the topology has begun to end.
    fn note_end(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let added = std::mem::take(&mut wire.added);
        let Some(since) = added.into_iter().flatten().min() else {
            return;
        };
        let [dialler, listener] = [0, 1].map(|side| wire.ends[side].host);
        let starves = |host| self.host(host).is_some_and(|host| host.share < WHOLE);
        self.ended.push(Ended {
            at: self.now,
            dialler,
            listener,
            lasted: self.now.saturating_sub(since),
            is_mutual: added.iter().all(Option::is_some),
            is_starved: starves(dialler) || starves(listener),
        });
    }

    pub(super) fn reset_arrives(&mut self, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        // What has arrived can be read before, as on Linux.
        let host = wire.ends[side].host;
        self.give(host, Input::Reset(id, side));
    }

    /// A peer is told that its connection is gone.
    pub(super) fn closed_by_remote(
        &mut self,
        id: HostId,
        clock: Duration,
        wire: WireId,
        side: Side,
    ) {
        let Some(connected) = self.wires.get_mut(&wire) else {
            return;
        };
        connected.ends[side].is_closed = true;
        let connection = connected.ends[side].id;
        let is_over = connected.is_over();
        self.note_end(wire);
        if is_over {
            self.wires.remove(&wire);
        }
        if let (Some(host), Some(connection)) = (self.host_mut(id), connection)
            && host.wires.remove(&connection).is_some()
        {
            host.engine.closed(clock, connection);
        }
    }
}

/// Time for a dial of this crate's shell.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a dial of an old peer: that of the operating system.
const OLD_TIMEOUT: Duration = Duration::from_secs(127);
