//! Whole meshes in one process and in virtual time (feature `sim`).
//!
//! A [`Simulation`] holds hosts, the TCP connections between them and an ordered queue of what
//! happens next. Time jumps from one happening to the next; nothing sleeps and nothing reads a
//! clock, so equal seeds give equal runs. [`Scenario`] is the standard experiment on top: start a
//! mesh, wait until it has formed, measure what it costs at rest, and how fast a change spreads.
//!
//! # What is modelled
//!
//! - **Peers**: [`crate::node::Node`] as it is, and fake old peers that follow the rules of Weave
//!   Net 2.x (complete topology to random neighbours every 30 s, every record encoded for each of
//!   them, throttled accepts, dials in both directions), mixed or alone.
//! - **Network**: latency with jitter, bandwidth of each host, partitions, connections that are
//!   reset. Loss is what TCP makes of it: a lost segment is sent again after one round trip if
//!   three later ones arrive, else after a timer of 200 ms that doubles; what follows it waits.
//!   A lost connection request costs 1 s, 2 s, 4 s. Congestion windows are not modelled.
//! - **Sockets**: writes stop when 512 KiB wait for the reader; a close is a reset, and
//!   what has arrived before can be read. Backlogs of listeners are not bounded.
//! - **Processors**: each slice of work (64 inputs at most) is charged by a cost model (a price for
//!   each input, byte and edge of the graph in a route calculation), and the host does nothing else
//!   until it is paid. A starved host has a share of a processor and so does everything late. All
//!   hosts can be made to share some cores, as when they run on one machine.
//! - **Data overlay**: works a fixed time after a connection was added.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use weave_mesh::sim::Scenario;
//!
//! let outcome = Scenario::new(8).loss(0.05).run(|_| ());
//!
//! println!("{} peers formed one mesh in {:?}", outcome.nodes, outcome.formed);
//! assert!(outcome.formed < Some(Duration::from_secs(10)));
//! ```

mod cost;
mod host;
mod meter;
mod network;
mod old;
mod run;
mod scenario;
mod settings;
mod tcp;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use crate::gossip::Channel;
use crate::node::{Config, ConfigError, ConnectionId, DialId, Node};
use crate::peer::PeerName;
use crate::random::Random;
use crate::topology::{Pool, Topology};
use host::{Engine, Host, Input, WHOLE};
use old::OldPeer;
use wire::{Side, Wire, WireId};

pub use meter::Counts;
pub use scenario::{Outcome, Progress, Scenario};
pub use settings::Settings;

/// A host of a simulation, in the order in which they were started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(usize);

impl HostId {
    /// The number of the host: 0 for the first one started.
    #[must_use]
    pub fn number(self) -> usize {
        self.0
    }
}

/// Hosts, the network between them, and the time.
#[derive(Debug)]
pub struct Simulation {
    settings: Settings,
    now: Duration,
    random: Random,
    /// `None` is a host that was stopped.
    hosts: Vec<Option<Host>>,
    listeners: HashMap<SocketAddr, HostId>,
    wires: HashMap<WireId, Wire>,
    next_wire: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    /// Hosts on the far side of the cut; empty if there is none.
    cut: BTreeSet<HostId>,
    cores: Vec<Duration>,
    watch: Option<Watch>,
    ended: Vec<Ended>,
    happenings: u64,
    pool: Pool,
}

/// A connection that was part of the topology, at one end at least, and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// When the first end was closed.
    pub at: Duration,
    /// The host that dialled.
    pub dialler: HostId,
    /// The host that accepted.
    pub listener: HostId,
    /// Time for which it was part of the topology at one end at least.
    pub lasted: Duration,
    /// Whether it was part of the topology at both ends. One that the other end had no room for
    /// was not.
    pub is_mutual: bool,
    /// Whether one of them is starved.
    pub is_starved: bool,
}

/// Who knows of a change, and since when.
#[derive(Debug)]
struct Watch {
    peer: PeerName,
    version: u64,
    seen: BTreeMap<HostId, Duration>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Duration,
    sequence: u64,
    next: Next,
}

/// Something that will happen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// A host has something to do.
    Run(HostId),
    /// A connection request reaches a listener.
    Request {
        from: HostId,
        dial: DialId,
        to: SocketAddr,
        port: u16,
    },
    /// A dial is over without connection.
    Unanswered {
        from: HostId,
        dial: DialId,
        to: SocketAddr,
        reason: &'static str,
    },
    /// The dialling host learns that it is connected.
    Answered {
        dial: DialId,
        wire: WireId,
    },
    /// The accept loop gets to a connection.
    Accept {
        host: HostId,
        wire: WireId,
    },
    /// The next bytes for this end arrive.
    Arrive(WireId, Side),
    /// The reader at the other end made room.
    Room(WireId, Side),
    /// The other end was closed.
    Reset(WireId, Side),
    OverlayWorks {
        host: HostId,
        id: ConnectionId,
    },
}

impl Simulation {
    /// An empty network.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let random = Random::new(settings.seed);
        let cores = vec![Duration::ZERO; settings.shared_cores.unwrap_or_default()];
        Self {
            settings,
            now: Duration::ZERO,
            random,
            hosts: Vec::new(),
            listeners: HashMap::new(),
            wires: HashMap::new(),
            next_wire: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            cores,
            watch: None,
            ended: Vec::new(),
            happenings: 0,
            pool: Pool::default(),
        }
    }

    /// Starts a host with a peer of this crate, at a moment that has not passed. Peers must be
    /// given as IP addresses. With overlays in the configuration, connections become established
    /// after [`Settings::overlay_delay`], else at once.
    ///
    /// # Errors
    ///
    /// As [`Node::new`].
    pub fn start(
        &mut self,
        at: Duration,
        config: Config,
        channels: impl IntoIterator<Item = (String, Box<dyn Channel>)>,
    ) -> Result<HostId, ConfigError> {
        let listen = config.listen;
        let node = Node::new(config, channels)?;
        Ok(self.add(at, Engine::New(Box::new(node)), listen))
    }

    /// Starts a host with a fake old peer, which takes name, nickname, seed, addresses, discovery,
    /// overlays, connection limit and gossip interval from the configuration.
    pub fn start_old(&mut self, at: Duration, config: Config) -> HostId {
        let listen = config.listen;
        self.add(at, Engine::Old(Box::new(OldPeer::new(config))), listen)
    }

    /// Gives a host only this share of a processor, in thousandths.
    pub fn starve(&mut self, host: HostId, thousandths: u32) {
        if let Some(host) = self.host_mut(host) {
            host.share = thousandths.clamp(1, WHOLE);
        }
    }

    /// Cuts the network between `far` and all other hosts, instead of an earlier cut. Connections
    /// across it stall; dials across it time out.
    pub fn partition(&mut self, far: impl IntoIterator<Item = HostId>) {
        self.heal();
        self.cut = far.into_iter().collect();
    }

    /// Stops a host. Its connections are reset, or with `silent` stall, as when a machine dies.
    pub fn stop(&mut self, host: HostId, silent: bool) {
        let Some(stopped) = self.hosts.get_mut(host.0).and_then(Option::take) else {
            return;
        };
        self.listeners.remove(&stopped.address);
        let mut wires: Vec<_> = stopped.wires.into_values().collect();
        wires.sort_unstable();
        for (wire, side) in wires {
            self.close(wire, side, self.now, silent);
        }
    }

    /// Resets the connection between two hosts; false if there is none.
    pub fn reset(&mut self, a: HostId, b: HostId) -> bool {
        let Some(name) = self.topology(b).map(|topology| topology.local().name) else {
            return false;
        };
        let wire = self.host(a).and_then(|host| {
            let id = host.engine.connection_with(name)?;
            host.wires.get(&id).copied()
        });
        let Some((wire, side)) = wire else {
            return false;
        };
        for side in [side, 1 - side] {
            self.at(self.now, Next::Reset(wire, side));
        }
        true
    }

    /// Runs until `until`.
    pub fn run_until(&mut self, until: Duration) {
        while let Some(Reverse(entry)) = self.queue.peek() {
            if entry.at > until {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(entry.at);
            self.handle(&entry);
        }
        self.now = self.now.max(until);
    }

    /// Calls into a peer of this crate at this moment, with its own clock; `None` if the host runs
    /// none.
    pub fn with<T>(
        &mut self,
        host: HostId,
        call: impl FnOnce(&mut Node, Duration) -> T,
    ) -> Option<T> {
        let now = self.now;
        let running = self.host_mut(host)?;
        let clock = now.saturating_sub(running.started);
        let Engine::New(node) = &mut running.engine else {
            return None;
        };
        let result = call(node, clock);
        self.flush(host, now);
        self.arrange(host);
        Some(result)
    }

    /// The time since the simulation began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How many things have happened so far.
    #[must_use]
    pub fn happenings(&self) -> u64 {
        self.happenings
    }

    /// The hosts that run, in the order in which they were started.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> {
        let running = self.hosts.iter().enumerate();
        running.filter_map(|(number, host)| host.as_ref().map(|_| HostId(number)))
    }

    /// What a host knows of the mesh; `None` if it was stopped.
    #[must_use]
    pub fn topology(&self, host: HostId) -> Option<&Topology> {
        Some(self.host(host)?.engine.topology())
    }

    /// What a host has done so far; `None` if it was stopped.
    #[must_use]
    pub fn counts(&self, host: HostId) -> Option<Counts> {
        Some(self.host(host)?.counts)
    }

    /// The connections that ended so far, first to last.
    #[must_use]
    pub fn ended(&self) -> &[Ended] {
        &self.ended
    }

    /// Targets of a host that failed and wait to be tried again, or are being tried again.
    #[must_use]
    pub fn failed_targets(&self, host: HostId) -> usize {
        self.host(host).map_or(0, |running| {
            let clock = self.now.saturating_sub(running.started);
            running.engine.failed_targets(clock)
        })
    }

    /// Notes from now on when each host learns that `peer` has a record of this version or a later
    /// one, instead of an earlier watch.
    pub fn watch(&mut self, peer: PeerName, version: u64) {
        self.watch = Some(Watch {
            peer,
            version,
            seen: BTreeMap::new(),
        });
    }

    /// Since when hosts know of what is watched.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<HostId, Duration> {
        self.watch
            .as_ref()
            .map(|watch| watch.seen.clone())
            .unwrap_or_default()
    }

    fn add(&mut self, at: Duration, engine: Engine, listen: SocketAddr) -> HostId {
        let id = HostId(self.hosts.len());
        let at = at.max(self.now);
        self.hosts.push(Some(Host::new(engine, listen, at)));
        self.listeners.insert(listen, id);
        self.arrange(id);
        id
    }

    fn host(&self, host: HostId) -> Option<&Host> {
        self.hosts.get(host.0)?.as_ref()
    }

    fn host_mut(&mut self, host: HostId) -> Option<&mut Host> {
        self.hosts.get_mut(host.0)?.as_mut()
    }

    fn at(&mut self, at: Duration, next: Next) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry {
            at,
            sequence: self.sequence,
            next,
        }));
    }

    /// Puts something into the inbox of a host.
    fn give(&mut self, host: HostId, input: Input) {
        if let Some(running) = self.host_mut(host) {
            running.inbox.push_back(input);
            self.arrange(host);
        }
    }
}
