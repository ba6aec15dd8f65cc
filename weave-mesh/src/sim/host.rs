//! One simulated machine: a peer, its inbox, its processor.
//!
//! A host handles what waits for it in slices, as the tokio shell does: timers that are due, then
//! up to [`SLICE`] inputs. The cost model says how long a slice takes; what follows from it leaves
//! the host at its end, and nothing else is handled before.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::cost::{Prices, Work};
use super::meter::Counts;
use super::old::OldPeer;
use super::wire::{Side, WireId};
use crate::connector::Target;
use crate::node::{
    ConnectionId, ConnectionState, DialId, Event, Node, Notice, OverlayEvent, Transmit,
};
use crate::peer::PeerName;
use crate::topology::{Pool, Topology};

/// A machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) address: SocketAddr,
    /// The clock of the peer starts here.
    pub(super) started: Duration,
    pub(super) inbox: VecDeque<Input>,
    pub(super) wires: HashMap<ConnectionId, (WireId, Side)>,
    /// The processor works until then.
    pub(super) busy_until: Duration,
    /// When the host runs next, if that is arranged.
    pub(super) wake: Option<Duration>,
    /// Share of a processor that the host gets, in thousandths.
    pub(super) share: u32,
    /// The link to the network is taken until then.
    pub(super) sending_until: Duration,
    /// When the accept loop of an old peer has a token again, see [`Host::accept_at`].
    accept_tokens: Duration,
    pub(super) next_port: u16,
    pub(super) counts: Counts,
    routes_seen: u64,
    /// The revision of the topology up to which its records are shared with other hosts.
    shared: u64,
}

/// The peer on a machine.
#[derive(Debug)]
pub(super) enum Engine {
    New(Box<Node>),
    Old(Box<OldPeer>),
}

/// What waits to be handled.
#[derive(Debug)]
pub(super) enum Input {
    Accepted(WireId),
    Dialled(DialId, WireId),
    DialFailed(DialId, SocketAddr, &'static str),
    /// Something arrived on this side of a connection.
    Arrived(WireId, Side),
    Written(WireId, Side, usize),
    Reset(WireId, Side),
    OverlayWorks(ConnectionId),
}

/// What a peer did that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A connection became part of the topology.
    Added(ConnectionId),
    /// A connection that was part of it ended.
    Ended,
    /// A connection ended before, or could not be dialled.
    AttemptFailed,
}

impl Host {
    pub(super) fn new(engine: Engine, address: SocketAddr, started: Duration) -> Self {
        Self {
            engine,
            address,
            started,
            inbox: VecDeque::new(),
            wires: HashMap::new(),
            busy_until: started,
            wake: None,
            share: WHOLE,
            sending_until: Duration::ZERO,
            accept_tokens: Duration::ZERO,
            next_port: FIRST_PORT,
            counts: Counts::default(),
            routes_seen: 0,
            shared: 0,
        }
    }

    pub(super) fn is_old(&self) -> bool {
        matches!(self.engine, Engine::Old(_))
    }

    /// Lets the records of this peer share memory with those of others.
    pub(super) fn share_records(&mut self, pool: &mut Pool) {
        self.shared = match &mut self.engine {
            Engine::New(node) => node.share_records(self.shared, pool),
            Engine::Old(old) => old.share_records(self.shared, pool),
        };
    }

    /// When there is something to do: at once with a full inbox, else at the next timer.
    pub(super) fn wants(&self, now: Duration) -> Option<Duration> {
        let at = if self.inbox.is_empty() {
            self.engine.poll_timeout()? + self.started
        } else {
            now
        };
        Some(at.max(self.busy_until).max(now))
    }

    /// When a connection that arrives now is accepted. An old peer takes 20 at once, then one
    /// every 50 ms (Weave Net mesh protocol, section 7.6).
    pub(super) fn accept_at(&mut self, now: Duration) -> Duration {
        if !self.is_old() {
            return now;
        }
        let at = now.max(self.accept_tokens.saturating_sub(19 * TOKEN));
        self.accept_tokens = self.accept_tokens.max(at) + TOKEN;
        at
    }

    /// Charges for the work since the last call: how long the processor is busy with it.
    pub(super) fn charge(&mut self, inputs: u64, bytes_in: u64) -> Duration {
        let (prices, work) = match &mut self.engine {
            Engine::Old(old) => {
                let mut work = old.take_work();
                work.inputs += inputs;
                (Prices::OLD, work)
            }
            Engine::New(node) => {
                let routes = node.counters().route_calculations - self.routes_seen;
                self.routes_seen += routes;
                let edges = if routes == 0 {
                    0
                } else {
                    edges(node.topology())
                };
                let work = Work {
                    inputs,
                    bytes_in,
                    bytes_out: 0,
                    routes,
                    edges,
                };
                (Prices::OURS, work)
            }
        };
        self.counts.route_calculations += work.routes;
        let cost = prices.of(&work);
        self.counts.cpu += cost;
        self.stretched(cost)
    }

    /// Charges for bytes that a peer of this crate encoded.
    pub(super) fn charge_output(&mut self, bytes: u64) -> Duration {
        if self.is_old() {
            return Duration::ZERO;
        }
        let cost = Prices::OURS.of(&Work {
            bytes_out: bytes,
            ..Work::default()
        });
        self.counts.cpu += cost;
        self.stretched(cost)
    }

    fn stretched(&self, cost: Duration) -> Duration {
        cost * WHOLE / self.share.max(1)
    }
}

fn edges(topology: &Topology) -> u64 {
    let edges: usize = topology
        .records()
        .map(|record| record.connections.len())
        .sum();
    u64::try_from(edges).unwrap_or(u64::MAX)
}

impl Engine {
    pub(super) fn topology(&self) -> &Topology {
        match self {
            Self::New(node) => node.topology(),
            Self::Old(old) => old.topology(),
        }
    }

    /// Targets that failed and wait to be tried again.
    pub(super) fn failed_targets(&self, now: Duration) -> usize {
        match self {
            Self::New(node) => {
                let is_failed =
                    |state| matches!(state, ConnectionState::Failed | ConnectionState::Retrying);
                let connections = node.connections(now);
                connections.iter().filter(|c| is_failed(c.state)).count()
            }
            Self::Old(old) => old.failed_targets(),
        }
    }

    /// The connection with a peer.
    pub(super) fn connection_with(&self, name: PeerName) -> Option<ConnectionId> {
        match self {
            Self::New(node) => node.connection_with(name),
            Self::Old(old) => old.connection_with(name),
        }
    }

    pub(super) fn accept(
        &mut self,
        now: Duration,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionId {
        match self {
            Self::New(node) => node.handle_accepted(now, local, remote),
            Self::Old(old) => old.open(now, None, remote),
        }
    }

    pub(super) fn dialled(
        &mut self,
        now: Duration,
        dial: DialId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionId {
        match self {
            Self::New(node) => {
                node.handle_resolved(dial, vec![remote]);
                node.handle_dialled(now, dial, local, remote)
            }
            Self::Old(old) => old.open(now, Some(dial), remote),
        }
    }

    pub(super) fn dial_failed(&mut self, now: Duration, dial: DialId, to: SocketAddr, why: &str) {
        match self {
            Self::New(node) => {
                let reason = format!("dial tcp :0->{to}: {why}");
                node.handle_dial_failed(now, dial, to.to_string(), reason);
            }
            Self::Old(old) => old.handle_dial_failed(now, dial),
        }
    }

    pub(super) fn bytes(&mut self, now: Duration, id: ConnectionId, bytes: &[u8]) {
        match self {
            Self::New(node) => node.handle_bytes(now, id, bytes),
            Self::Old(old) => old.handle_bytes(now, id, bytes),
        }
    }

    pub(super) fn written(&mut self, now: Duration, id: ConnectionId, count: usize) {
        match self {
            Self::New(node) => node.handle_written(now, id, count),
            Self::Old(old) => old.handle_written(id, count),
        }
    }

    pub(super) fn closed(&mut self, now: Duration, id: ConnectionId) {
        match self {
            Self::New(node) => {
                node.handle_closed(now, id, "connection reset by peer".to_owned());
            }
            Self::Old(old) => old.handle_closed(now, id),
        }
    }

    pub(super) fn established(&mut self, now: Duration, id: ConnectionId) {
        match self {
            Self::New(node) => node.handle_established(now, id),
            Self::Old(old) => old.handle_established(now, id),
        }
    }

    pub(super) fn timeout(&mut self, now: Duration) {
        match self {
            Self::New(node) => node.handle_timeout(now),
            Self::Old(old) => old.handle_timeout(now),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::New(node) => node.poll_timeout(),
            Self::Old(old) => old.poll_timeout(),
        }
    }

    pub(super) fn poll_output(&mut self, now: Duration) -> Option<Output> {
        let transmit = match self {
            Self::New(node) => node.poll_transmit(now),
            Self::Old(old) => old.poll_transmit(now),
        }?;
        Some(match transmit {
            Transmit::Dial { dial, target } => Output::Dial(dial, target),
            Transmit::Data { connection, bytes } => Output::Data(connection, bytes),
            Transmit::Close { connection } => Output::Close(connection),
        })
    }

    pub(super) fn poll_happening(&mut self) -> Option<Happening> {
        let node = match self {
            Self::New(node) => node,
            Self::Old(old) => return old.poll_happening(),
        };
        // The data plane of a simulated host has no use for the table.
        let _ = node.poll_routes();
        loop {
            match node.poll_event()? {
                Event::Overlay(OverlayEvent::Confirmed(connection)) => {
                    return Some(Happening::Added(connection.id));
                }
                Event::Overlay(OverlayEvent::Closed { .. }) => return Some(Happening::Ended),
                Event::Notice(Notice::Refused { .. } | Notice::AttemptFailed { .. }) => {
                    return Some(Happening::AttemptFailed);
                }
                _ => {}
            }
        }
    }
}

/// What a peer wants of the network.
#[derive(Debug)]
pub(super) enum Output {
    Dial(DialId, Target),
    Data(ConnectionId, Bytes),
    Close(ConnectionId),
}

/// Inputs handled before what follows from them leaves the host.
pub(super) const SLICE: usize = 64;
/// A whole processor.
pub(super) const WHOLE: u32 = 1000;
/// Time for which an old peer accepts nothing after 20 connections at once.
const TOKEN: Duration = Duration::from_millis(50);
/// First port of connections that are dialled.
const FIRST_PORT: u16 = 32_768;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Config;

    const MS: Duration = Duration::from_millis(1);

    fn host(is_old: bool) -> Host {
        let config = Config::default().name(PeerName::from_bytes([2, 0, 0, 0, 0, 1]));
        let listen = config.listen;
        let engine = if is_old {
            Engine::Old(Box::new(OldPeer::new(config)))
        } else {
            Engine::New(Box::new(Node::new(config, []).unwrap()))
        };
        Host::new(engine, listen, Duration::ZERO)
    }

    #[test]
    fn an_old_peer_accepts_twenty_at_once_and_then_twenty_a_second() {
        let mut old = host(true);

        let times: Vec<_> = (0..30).map(|_| old.accept_at(1000 * MS)).collect();

        assert!(times[..20].iter().all(|at| *at == 1000 * MS), "{times:?}");
        assert_eq!(times[20], 1050 * MS);
        assert_eq!(times[29], 1500 * MS);
        assert_eq!(
            old.accept_at(9000 * MS),
            9000 * MS,
            "the bucket fills again"
        );
    }

    #[test]
    fn a_peer_of_this_crate_accepts_at_once() {
        let mut new = host(false);

        assert!((0..100).all(|_| new.accept_at(MS) == MS));
    }

    #[test]
    fn a_starved_host_takes_longer_for_the_same_work() {
        let (mut fed, mut starved) = (host(false), host(false));
        starved.share = 20;

        let (fast, slow) = (fed.charge(10, 1000), starved.charge(10, 1000));

        assert_eq!(slow, fast * 50);
        assert_eq!(fed.counts.cpu, starved.counts.cpu, "the work is the same");
    }
}
