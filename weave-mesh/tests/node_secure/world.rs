//! A few nodes joined by pipes without latency, and a clock that stands until it is moved.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use weave_mesh::connector::Target;
use weave_mesh::crypto::{Keyring, Password};
use weave_mesh::node::{
    Config, ConnectionId, ConnectionState, Event, Node, OverlayConnection, OverlayEvent, Transmit,
};
use weave_mesh::peer::PeerName;

pub(crate) const S: Duration = Duration::from_secs(1);

pub(crate) fn name(n: usize) -> PeerName {
    PeerName::try_from(0x0a00_0000_0000 + n as u64).unwrap()
}

pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(n).unwrap()], 6783))
}

pub(crate) fn keyring(words: &[&str]) -> Keyring {
    Keyring::new(words.iter().map(|word| Password::new(*word))).unwrap()
}

/// Host number `n` with these passwords and direct peers, without discovery.
pub(crate) fn config(n: usize, words: &[&str], peers: &[usize]) -> Config {
    let seed = [u8::try_from(n).unwrap(); 32];
    Config::default()
        .name(name(n))
        .seed(n as u64)
        .key_seed(seed)
        .listen(address(n))
        .discovery(false)
        .keyring(keyring(words))
        .peers(peers.iter().map(|&peer| address(peer).ip().to_string()))
}

type End = (usize, ConnectionId);

/// Hosts by number.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) now: Duration,
    nodes: BTreeMap<usize, Node>,
    pipes: BTreeMap<End, End>,
    next_port: u16,
    /// Log lines by host.
    pub(crate) log: Vec<(usize, String)>,
    /// Confirmed connections by host.
    pub(crate) overlays: Vec<(usize, OverlayConnection)>,
}

impl World {
    pub(crate) fn start(&mut self, n: usize, config: Config) {
        self.nodes.insert(n, Node::new(config, []).unwrap());
        self.settle();
    }

    pub(crate) fn node(&mut self, n: usize) -> &mut Node {
        self.nodes.get_mut(&n).unwrap()
    }

    /// Takes a host away without a word, as a restart does.
    pub(crate) fn stop(&mut self, n: usize) {
        self.nodes.remove(&n);
        let ends: Vec<_> = self
            .pipes
            .keys()
            .copied()
            .filter(|end| end.0 == n)
            .collect();
        for end in ends {
            self.close(end);
        }
        self.settle();
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        loop {
            let next = self.nodes.values().filter_map(Node::poll_timeout).min();
            let Some(at) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            for node in self.nodes.values_mut() {
                node.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = until;
    }

    /// Whether two hosts have a live connection.
    pub(crate) fn connected(&mut self, a: usize, b: usize) -> bool {
        let now = self.now;
        let report = self.node(a).report(now);
        let live = [ConnectionState::Established, ConnectionState::Pending];
        report.connections.iter().any(|connection| {
            let remote = connection.remote.as_ref().map(|(name, _)| *name);
            remote == Some(name(b)) && live.contains(&connection.state)
        })
    }

    /// Log lines that hold `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        let lines = self.log.iter().filter(|(_, line)| line.contains(text));
        lines.count()
    }

    pub(crate) fn settle(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for n in self.nodes.keys().copied().collect::<Vec<_>>() {
                quiet &= !self.drain(n);
            }
        }
    }

    /// Does what one host wants; whether there was anything.
    fn drain(&mut self, n: usize) -> bool {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&n) else {
            return false;
        };
        let transmits: VecDeque<_> = std::iter::from_fn(|| node.poll_transmit(now)).collect();
        let events: Vec<_> = std::iter::from_fn(|| node.poll_event()).collect();
        let is_busy = !transmits.is_empty() || !events.is_empty();
        for event in events {
            match event {
                Event::Notice(notice) => self.log.push((n, notice.to_string())),
                Event::Overlay(OverlayEvent::Confirmed(overlay)) => {
                    self.overlays.push((n, overlay));
                }
                Event::Overlay(_) => {}
            }
        }
        for transmit in transmits {
            self.transmit(n, transmit);
        }
        is_busy
    }

    fn transmit(&mut self, n: usize, transmit: Transmit) {
        let now = self.now;
        match transmit {
            Transmit::Dial { dial, target } => {
                let to = match &target {
                    Target::Direct { host, .. } => host.rsplit('.').next().unwrap().parse(),
                    Target::Discovered(address) => address.ip().to_string()[7..].parse(),
                };
                let to: usize = to.unwrap();
                let Some(other) = self.nodes.get_mut(&to) else {
                    let refused = "connection refused".to_owned();
                    let node = self.nodes.get_mut(&n).unwrap();
                    return node.handle_dial_failed(now, dial, target.to_string(), refused);
                };
                self.next_port += 1;
                let from = SocketAddr::new(address(n).ip(), 40_000 + self.next_port);
                let theirs = other.handle_accepted(now, address(to), from);
                let node = self.nodes.get_mut(&n).unwrap();
                let ours = node.handle_dialled(now, dial, from, address(to));
                self.pipes.insert((n, ours), (to, theirs));
                self.pipes.insert((to, theirs), (n, ours));
            }
            Transmit::Data { connection, bytes } => {
                let end = self.pipes.get(&(n, connection)).copied();
                if let Some((to, theirs)) = end
                    && let Some(other) = self.nodes.get_mut(&to)
                {
                    other.handle_bytes(now, theirs, &bytes);
                }
                if let Some(node) = self.nodes.get_mut(&n) {
                    node.handle_written(now, connection, bytes.len());
                }
            }
            Transmit::Close { connection } => self.close((n, connection)),
        }
    }

    fn close(&mut self, end: End) {
        let now = self.now;
        if let Some((to, theirs)) = self.pipes.remove(&end) {
            self.pipes.remove(&(to, theirs));
            if let Some(other) = self.nodes.get_mut(&to) {
                other.handle_closed(now, theirs, "EOF".to_owned());
            }
        }
    }
}
