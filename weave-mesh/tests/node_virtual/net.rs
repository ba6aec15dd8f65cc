//! A network of nodes in virtual time: latency, partitions, crashes, and a log of what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use weave_mesh::connector::Target;
use weave_mesh::gossip::{Channel, ChannelError, Relay};
use weave_mesh::node::{
    Config, ConnectionId, ConnectionState, DialId, Event, Node, OverlayConnection, OverlayEvent,
    Report, RouteTable, Transmit,
};
use weave_mesh::peer::PeerName;

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// The name of host number `n`.
pub(crate) fn name(n: usize) -> PeerName {
    PeerName::try_from(0x0a00_0000_0000 + n as u64).unwrap()
}

/// The address host number `n` listens on.
pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(n).unwrap()], 6783))
}

/// The configuration of host number `n`, with the hosts in `peers` as direct peers.
pub(crate) fn config(n: usize, peers: &[usize]) -> Config {
    Config::default()
        .name(name(n))
        .nickname(format!("host{n}"))
        .seed(n as u64)
        .listen(address(n))
        .peers(peers.iter().map(|&peer| address(peer).ip().to_string()))
}

/// A grow-only set of words as a channel, with what was received on the side.
#[derive(Clone, Default)]
pub(crate) struct Words {
    pub(crate) set: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) unicasts: Arc<Mutex<Vec<(PeerName, String)>>>,
    pub(crate) broadcasts: Arc<Mutex<Vec<PeerName>>>,
    pub(crate) gone: Arc<Mutex<Vec<PeerName>>>,
}

impl Words {
    pub(crate) fn add(&self, word: &str) {
        self.set.lock().unwrap().insert(word.to_owned());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.set.lock().unwrap().iter().cloned().collect()
    }

    fn merge(&self, payload: &[u8]) -> Result<Relay, ChannelError> {
        let text = std::str::from_utf8(payload).map_err(|e| ChannelError::new(e.to_string()))?;
        if text.contains("poison") {
            return Err(ChannelError::new("poisoned"));
        }
        let mut set = self.set.lock().unwrap();
        let is_news = text
            .split(' ')
            .filter(|word| set.insert((*word).to_owned()))
            .count()
            > 0;
        Ok(if is_news {
            Relay::State
        } else {
            Relay::Nothing
        })
    }
}

impl Channel for Words {
    fn state(&mut self) -> Option<Bytes> {
        let words = self.all();
        (!words.is_empty()).then(|| words.join(" ").into())
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.merge(payload)
    }

    fn handle_broadcast(
        &mut self,
        source: PeerName,
        payload: &[u8],
    ) -> Result<Relay, ChannelError> {
        self.broadcasts.lock().unwrap().push(source);
        self.merge(payload)?;
        Ok(Relay::Payload(Bytes::copy_from_slice(payload)))
    }

    fn handle_unicast(&mut self, source: PeerName, payload: &[u8]) -> Result<(), ChannelError> {
        let text = String::from_utf8_lossy(payload).into_owned();
        self.unicasts.lock().unwrap().push((source, text));
        Ok(())
    }

    fn peers_gone(&mut self, peers: &[PeerName]) {
        self.gone.lock().unwrap().extend_from_slice(peers);
    }
}

/// One host and what its node told.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) log: Vec<String>,
    pub(crate) confirmed: BTreeMap<ConnectionId, OverlayConnection>,
    pub(crate) controls: Vec<(ConnectionId, Bytes)>,
    pub(crate) routes: Option<Arc<RouteTable>>,
    pub(crate) bytes_sent: usize,
    /// Completes overlays by itself: a connection both ends confirmed becomes established.
    boots: u64,
}

impl Host {
    pub(crate) fn has_logged(&self, part: &str) -> bool {
        self.log.iter().any(|line| line.contains(part))
    }
}

#[derive(Debug)]
enum Delivery {
    Connect {
        from: usize,
        dial: DialId,
        to: usize,
    },
    Refused {
        from: usize,
        dial: DialId,
        to: SocketAddr,
        reason: &'static str,
    },
    Bytes {
        wire: usize,
        end: usize,
        bytes: Bytes,
    },
    Written {
        wire: usize,
        end: usize,
        count: usize,
    },
    Closed {
        wire: usize,
        end: usize,
    },
}

/// A TCP connection: two ends, each a host, its incarnation and its id there.
struct Wire {
    ends: [(usize, u64, ConnectionId); 2],
}

#[derive(Default)]
pub(crate) struct Net {
    pub(crate) now: Duration,
    hosts: BTreeMap<usize, Host>,
    boots: u64,
    wires: Vec<Wire>,
    queue: BTreeMap<(Duration, u64), Delivery>,
    sequence: u64,
    cut: BTreeSet<(usize, usize)>,
    latency: Duration,
}

impl Net {
    pub(crate) fn new(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// Starts a host, or starts it again.
    pub(crate) fn start(&mut self, n: usize, config: Config, channels: Vec<(&str, Words)>) {
        let channels = channels
            .into_iter()
            .map(|(name, words)| (name.to_owned(), Box::new(words) as Box<dyn Channel>));
        let mut node = Node::new(config, channels).unwrap();
        // A node counts from its own start; here all hosts share one clock.
        node.handle_timeout(self.now);
        self.boots += 1;
        let host = Host {
            node,
            log: Vec::new(),
            confirmed: BTreeMap::new(),
            controls: Vec::new(),
            routes: None,
            bytes_sent: 0,
            boots: self.boots,
        };
        self.hosts.insert(n, host);
    }

    /// Stops a host. With `silent` its peers are not told, as when its machine dies.
    pub(crate) fn stop(&mut self, n: usize, silent: bool) {
        let host = self.hosts.remove(&n).expect("the host runs");
        if silent {
            return;
        }
        for wire in 0..self.wires.len() {
            for end in 0..2 {
                let (on, boots, _) = self.wires[wire].ends[end];
                if (on, boots) == (n, host.boots) {
                    self.deliver(self.latency, Delivery::Closed { wire, end: 1 - end });
                }
            }
        }
    }

    /// Cuts or mends the path between two hosts.
    pub(crate) fn set_path(&mut self, a: usize, b: usize, works: bool) {
        let pair = (a.min(b), a.max(b));
        if works {
            self.cut.remove(&pair);
        } else {
            self.cut.insert(pair);
        }
    }

    pub(crate) fn host(&self, n: usize) -> &Host {
        &self.hosts[&n]
    }

    /// Calls into a node at this moment.
    pub(crate) fn with<T>(&mut self, n: usize, call: impl FnOnce(&mut Node, Duration) -> T) -> T {
        let now = self.now;
        call(
            &mut self.hosts.get_mut(&n).expect("the host runs").node,
            now,
        )
    }

    pub(crate) fn report(&mut self, n: usize) -> Report {
        self.with(n, Node::report)
    }

    /// Names of the peers a host is connected to, in order.
    pub(crate) fn neighbours(&mut self, n: usize) -> Vec<PeerName> {
        let live = self
            .report(n)
            .connections
            .into_iter()
            .filter_map(|c| c.remote);
        live.map(|(name, _)| name).collect()
    }

    /// True if these hosts are all connected to each other, established, and agree on the graph.
    pub(crate) fn is_full_mesh(&mut self, hosts: &[usize]) -> bool {
        hosts.iter().all(|&n| {
            let report = self.report(n);
            let others: Vec<_> = hosts
                .iter()
                .filter(|&&other| other != n)
                .map(|&other| name(other))
                .collect();
            let live: Vec<_> = report
                .connections
                .iter()
                .filter(|c| c.state == ConnectionState::Established)
                .filter_map(|c| c.remote.as_ref().map(|(name, _)| *name))
                .collect();
            live == others
                && report.connections.len() == others.len()
                && report.peers.len() == hosts.len()
                && report
                    .peers
                    .iter()
                    .all(|peer| peer.connections.len() == others.len())
        })
    }

    /// Runs for a while.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until a condition holds, and says how long that took.
    ///
    /// # Panics
    ///
    /// If the condition does not hold within `limit`.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        mut is_done: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let start = self.now;
        while !is_done(self) {
            assert!(
                self.now < start + limit,
                "not within {limit:?}; logs: {:#?}",
                self.logs()
            );
            let next = (self.now + 10 * MS).min(start + limit);
            while self.step(next) {}
            self.now = next;
        }
        self.now - start
    }

    pub(crate) fn logs(&self) -> Vec<(usize, &[String])> {
        self.hosts
            .iter()
            .map(|(n, host)| (*n, &host.log[..]))
            .collect()
    }

    /// Does the next thing that is due by `until`; false if there is none.
    fn step(&mut self, until: Duration) -> bool {
        self.drain();
        let delivery = self.queue.keys().next().map(|(at, _)| *at);
        let timeout = self
            .hosts
            .values()
            .filter_map(|host| host.node.poll_timeout())
            .min();
        let Some(next) = [delivery, timeout]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at <= until)
        else {
            return false;
        };
        self.now = self.now.max(next);
        if delivery.is_some_and(|at| at <= self.now) {
            let (_, delivery) = self.queue.pop_first().unwrap();
            self.handle(delivery);
        } else {
            for host in self.hosts.values_mut() {
                if host.node.poll_timeout().is_some_and(|at| at <= self.now) {
                    host.node.handle_timeout(self.now);
                }
            }
        }
        true
    }

    fn drain(&mut self) {
        let running: Vec<usize> = self.hosts.keys().copied().collect();
        for n in running {
            while let Some(transmit) = self.with(n, Node::poll_transmit) {
                self.transmit(n, transmit);
            }
            let host = self.hosts.get_mut(&n).unwrap();
            while let Some(event) = host.node.poll_event() {
                match event {
                    Event::Notice(notice) => host.log.push(notice.to_string()),
                    Event::Overlay(OverlayEvent::Confirmed(connection)) => {
                        host.confirmed.insert(connection.id, connection);
                    }
                    Event::Overlay(OverlayEvent::Control { id, body }) => {
                        host.controls.push((id, body));
                    }
                    Event::Overlay(OverlayEvent::Closed { id }) => {
                        assert!(host.confirmed.remove(&id).is_some(), "closed once");
                    }
                }
            }
            if let Some(table) = host.node.poll_routes() {
                host.routes = Some(table);
            }
        }
    }

    fn transmit(&mut self, n: usize, transmit: Transmit) {
        match transmit {
            Transmit::Dial { dial, target } => self.dial(n, dial, &target),
            Transmit::Data { connection, bytes } => {
                self.hosts.get_mut(&n).unwrap().bytes_sent += bytes.len();
                let Some((wire, end)) = self.wire(n, connection) else {
                    return;
                };
                if self.is_cut(wire) {
                    return;
                }
                let count = bytes.len();
                self.deliver(
                    self.latency,
                    Delivery::Bytes {
                        wire,
                        end: 1 - end,
                        bytes,
                    },
                );
                self.deliver(self.latency, Delivery::Written { wire, end, count });
            }
            Transmit::Close { connection } => {
                let Some((wire, end)) = self.wire(n, connection) else {
                    return;
                };
                if !self.is_cut(wire) {
                    self.deliver(self.latency, Delivery::Closed { wire, end: 1 - end });
                }
            }
        }
    }

    fn dial(&mut self, from: usize, dial: DialId, target: &Target) {
        let to: SocketAddr = target
            .to_string()
            .parse()
            .expect("hosts are given as addresses");
        let host = self.hosts.keys().copied().find(|n| address(*n) == to);
        let delivery = match host {
            Some(n) if self.cut.contains(&(from.min(n), from.max(n))) => {
                let reason = "i/o timeout";
                return self.deliver(
                    5 * S,
                    Delivery::Refused {
                        from,
                        dial,
                        to,
                        reason,
                    },
                );
            }
            Some(to) => Delivery::Connect { from, dial, to },
            None => Delivery::Refused {
                from,
                dial,
                to,
                reason: "connect: connection refused",
            },
        };
        self.deliver(self.latency, delivery);
    }

    fn handle(&mut self, delivery: Delivery) {
        let now = self.now;
        match delivery {
            Delivery::Connect { from, dial, to } => self.connect(from, dial, to),
            Delivery::Refused {
                from,
                dial,
                to,
                reason,
            } => {
                if let Some(host) = self.hosts.get_mut(&from) {
                    let reason = format!("dial tcp :0->{to}: {reason}");
                    host.node
                        .handle_dial_failed(now, dial, to.to_string(), reason);
                }
            }
            Delivery::Bytes { wire, end, bytes } => {
                self.at_end(wire, end, |node, id| node.handle_bytes(now, id, &bytes));
            }
            Delivery::Written { wire, end, count } => {
                self.at_end(wire, end, |node, id| node.handle_written(now, id, count));
            }
            Delivery::Closed { wire, end } => self.at_end(wire, end, |node, id| {
                node.handle_closed(now, id, "connection reset by peer".to_owned());
            }),
        }
    }

    fn connect(&mut self, from: usize, dial: DialId, to: usize) {
        let now = self.now;
        let port = 40_000 + u16::try_from(self.wires.len()).unwrap();
        let ephemeral = SocketAddr::new(address(from).ip(), port);
        let Some(dialler) = self.hosts.get_mut(&from) else {
            return;
        };
        let out = dialler
            .node
            .handle_dialled(now, dial, ephemeral, address(to));
        let out = (from, dialler.boots, out);
        let Some(listener) = self.hosts.get_mut(&to) else {
            return self
                .hosts
                .get_mut(&from)
                .unwrap()
                .node
                .handle_closed(now, out.2, "EOF".into());
        };
        let accepted = listener.node.handle_accepted(now, address(to), ephemeral);
        self.wires.push(Wire {
            ends: [out, (to, listener.boots, accepted)],
        });
    }

    fn at_end(&mut self, wire: usize, end: usize, call: impl FnOnce(&mut Node, ConnectionId)) {
        let (n, boots, id) = self.wires[wire].ends[end];
        if let Some(host) = self.hosts.get_mut(&n).filter(|host| host.boots == boots) {
            call(&mut host.node, id);
        }
    }

    fn wire(&self, n: usize, id: ConnectionId) -> Option<(usize, usize)> {
        let boots = self.hosts[&n].boots;
        self.wires
            .iter()
            .enumerate()
            .rev()
            .find_map(|(wire, ends)| {
                ends.ends
                    .iter()
                    .position(|end| *end == (n, boots, id))
                    .map(|end| (wire, end))
            })
    }

    fn is_cut(&self, wire: usize) -> bool {
        let [(a, ..), (b, ..)] = self.wires[wire].ends;
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn deliver(&mut self, after: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue
            .insert((self.now + after, self.sequence), delivery);
    }
}
