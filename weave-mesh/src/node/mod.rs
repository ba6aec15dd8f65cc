//! The engine: one peer of the mesh, without sockets, clock or system randomness.
//!
//! A driver feeds it what happens (`handle_*`, with the time since the driver started) and then
//! drains what follows from it: [`Node::poll_transmit`] for the sockets, [`Node::poll_event`] for
//! data plane and log, [`Node::poll_routes`] for the routes, [`Node::poll_timeout`] for the time
//! at which [`Node::handle_timeout`] is wanted. The tokio shell is one driver; a simulation with
//! virtual time is another.
//!
//! Invariant: `registered` holds exactly the connections that our own topology record lists, one
//! for each neighbour.

mod admit;
mod announce;
mod candidates;
mod commands;
mod config;
mod event;
mod guard;
mod knowledge;
mod notice;
mod parting;
mod payload;
mod receive;
mod report;
mod room;
mod routing;
mod session;
mod snapshot;
mod spread;
mod sync;
mod table;
mod timers;
mod traffic;
mod transmit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Handshake, Offer, Reason};
use crate::connector::{Connector, Ending, PeerAddress};
use crate::crypto::{KeySource, KeyringError};
use crate::gossip::Channel;
use crate::gossip::outbox::Outbox;
use crate::gossip::surrogate::Surrogates;
use crate::peer::{PeerName, PeerRecord, ShortId, Uid};
use crate::random::Random;
use crate::topology::Topology;
use crate::wire::intro::{Features, Header};
use announce::Announcements;
use candidates::Candidates;
use guard::Refusals;
use knowledge::Knowledge;
use parting::Parting;
use routing::Routing;
use session::{Link, Phase};
use timers::{Timer, Timers};
use traffic::Traffic;

pub use commands::UnicastError;
pub use config::{Config, ConfigError};
pub use event::{ConnectionId, DialId, Event, OverlayConnection, OverlayEvent, Transmit};
pub use notice::{Notice, Novelty, Remote};
pub use report::{
    ConnectionReport, ConnectionState, Counters, LinkReport, PasswordReport, PeerReport,
    RefusalReport, Report, Retry,
};
pub use table::RouteTable;
pub use traffic::ChannelTraffic;

/// One peer of the mesh.
pub struct Node {
    config: Config,
    topology: Topology,
    routing: Routing,
    channels: BTreeMap<Arc<str>, Box<dyn Channel>>,
    surrogates: Surrogates,
    /// The built-in channel's name, shared by its slots.
    topology_channel: Arc<str>,
    connector: Connector,
    candidates: Candidates,
    links: BTreeMap<ConnectionId, Link>,
    registered: BTreeMap<PeerName, ConnectionId>,
    next_connection: u64,
    announcements: Announcements,
    /// Records of others to pass on.
    relays: BTreeSet<PeerName>,
    /// When records of others may be passed on again.
    relay_after: Duration,
    /// When unreachable peers may be removed again.
    collect_after: Duration,
    /// The comparison that is due waited for an announcement already.
    is_compare_put_off: bool,
    knowledge: Knowledge,
    /// Records that were asked for: which version at least, and until when nobody else is asked.
    wanted: BTreeMap<PeerName, (u64, Duration)>,
    /// Neighbours without digests and the peers of which they showed an old record.
    lagging: BTreeMap<PeerName, BTreeSet<PeerName>>,
    timers: Timers,
    random: Random,
    transmits: VecDeque<Transmit>,
    /// Connections that may have something to write.
    ready: VecDeque<ConnectionId>,
    events: VecDeque<Event>,
    termination_count: u64,
    counters: Counters,
    traffic: Traffic,
    /// Draws the keys of connections.
    keys: Option<KeySource>,
    refusals: Refusals,
    /// Connections that have ended, but for their last words.
    parting: BTreeMap<ConnectionId, Parting>,
}

impl Node {
    /// Creates a peer that knows nobody and has the configured direct peers as targets.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names what to correct.
    pub fn new(
        config: Config,
        channels: impl IntoIterator<Item = (String, Box<dyn Channel>)>,
    ) -> Result<Self, ConfigError> {
        check(&config)?;
        let channels = register(channels)?;
        let mut random = Random::new(config.seed.unwrap_or_default());
        let local = PeerRecord {
            short_id: Some(
                config
                    .short_id
                    .unwrap_or_else(|| stable_short_id(config.name)),
            ),
            ..PeerRecord::new(
                config.name,
                config.nickname.clone(),
                uid(&config, &mut random),
            )
        };
        let topology = Topology::new(local, random.next_u64());
        let connector = Connector::new(
            config.name,
            config.listen.port(),
            Random::new(random.next_u64()),
        );
        let mut node = Self {
            routing: Routing::new(&topology),
            topology,
            channels,
            surrogates: Surrogates::default(),
            topology_channel: Arc::from(TOPOLOGY),
            connector,
            candidates: Candidates::default(),
            links: BTreeMap::new(),
            registered: BTreeMap::new(),
            next_connection: 0,
            announcements: Announcements::default(),
            relays: BTreeSet::new(),
            relay_after: Duration::ZERO,
            collect_after: Duration::ZERO,
            is_compare_put_off: false,
            knowledge: Knowledge::default(),
            wanted: BTreeMap::new(),
            lagging: BTreeMap::new(),
            timers: Timers::default(),
            random,
            transmits: VecDeque::new(),
            ready: VecDeque::new(),
            events: VecDeque::new(),
            termination_count: 0,
            counters: Counters::default(),
            traffic: Traffic::default(),
            keys: config.key_seed.clone().map(KeySource::new),
            refusals: Refusals::default(),
            parting: BTreeMap::new(),
            config,
        };
        let peers = node.config.peers.clone();
        node.connector.connect(Duration::ZERO, peers, false);
        node.timers.set(Timer::Targets, Duration::ZERO);
        let first_gossip = node.first_gossip();
        node.timers.set(Timer::Gossip, first_gossip);
        Ok(node)
    }

    /// A remote connected to us.
    pub fn handle_accepted(
        &mut self,
        now: Duration,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionId {
        let id = self.open(now, None, local, remote);
        self.bound_introductions(now);
        id
    }

    /// A dialled target answered.
    pub fn handle_dialled(
        &mut self,
        now: Duration,
        dial: DialId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionId {
        let id = self.open(now, Some(dial), local, remote);
        let peer = self.connector.peer(dial);
        if let Some(peer) = peer.filter(|peer| self.registered.contains_key(peer)) {
            // It was faster. A second connection would replace the first, or end like this.
            let remote = self.topology.get(peer).map(ToString::to_string);
            let reason = Reason::Duplicate {
                remote: remote.unwrap_or_default(),
                local: self.topology.local().to_string(),
            };
            self.counters.duplicate += 1;
            self.end(now, id, reason);
        }
        id
    }

    /// The host of a dialled target has these addresses.
    pub fn handle_resolved(&mut self, dial: DialId, addresses: Vec<SocketAddr>) {
        self.connector.handle_resolved(dial, addresses);
    }

    /// A dialled target did not answer; `address` is what was tried.
    pub fn handle_dial_failed(
        &mut self,
        now: Duration,
        dial: DialId,
        address: String,
        reason: String,
    ) {
        self.notice(Notice::AttemptFailed {
            address,
            reason: reason.clone(),
        });
        self.connector
            .handle_ended(now, dial, Ending::Failed(reason));
        self.timers.set(Timer::Targets, now);
    }

    /// The stream of a connection ended: `cause` is `EOF` or the text of an error.
    pub fn handle_closed(&mut self, now: Duration, id: ConnectionId, cause: String) {
        self.close_parted(id);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.greeting.clear();
        let reason = match &link.phase {
            Phase::Introducing(handshake) => handshake.broken_off(&cause).into(),
            Phase::Running(_) => Reason::Closed(cause),
        };
        self.end(now, id, reason);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Gossip => self.gossip_everything(now),
                Timer::Announce => self.announce_changes(now),
                Timer::Relay => self.relay(now),
                Timer::Compare => self.compare(now),
                Timer::Collect => self.collect_garbage(now),
                Timer::Routes => self.routing.recalculate(now),
                Timer::Targets => self.evaluate_targets(now),
                Timer::Read(id) => self.handle_read_timeout(now, id),
                Timer::Write(id) => self.handle_write_timeout(now, id),
                Timer::Heartbeat(id) => self.send_heartbeat(now, id),
                Timer::Part(id) => self.close_parted(id),
            }
        }
        self.dial_targets(now);
        self.counters.route_calculations = self.routing.calculations();
    }

    /// When [`Node::handle_timeout`] is wanted next, in time since the driver started.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        [self.timers.next(), self.connector.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The topology as this peer knows it.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// See [`Topology::share`].
    #[cfg(feature = "sim")]
    pub(crate) fn share_records(&mut self, revision: u64, pool: &mut crate::topology::Pool) -> u64 {
        self.topology.share(revision, pool)
    }

    fn open(
        &mut self,
        now: Duration,
        dial: Option<DialId>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionId {
        let id = ConnectionId::from(self.next_connection);
        self.next_connection += 1;
        let is_trusted = self.config.trusts(remote.ip());
        let offer = Offer {
            versions: self.versions(),
            features: self.features(is_trusted),
        };
        let mut handshake = match self.credentials(dial) {
            Some(credentials) => Handshake::with_password(offer, credentials),
            None => Handshake::new(offer),
        };
        if dial.is_none() && self.is_at_limit() {
            handshake.hold_back();
        }
        let link = Link {
            id,
            local,
            remote,
            dial,
            is_trusted,
            greeting: handshake.take_output(),
            phase: Phase::Introducing(Box::new(handshake)),
            outbox: Outbox::default(),
            in_flight: 0,
            retained: None,
        };
        self.links.insert(id, link);
        self.ready.push_back(id);
        self.timers.set(Timer::Read(id), now + HEADER_TIMEOUT);
        id
    }

    /// Protocol versions to accept.
    fn versions(&self) -> Header {
        Header {
            min: self.config.min_version,
            max: MAX_VERSION,
        }
    }

    fn features(&mut self, is_trusted: bool) -> Features {
        let needed = self.needed();
        let local = self.topology.local();
        Features {
            name: local.name,
            nickname: local.nickname.clone(),
            uid: local.uid,
            conn_id: self.random.next_u64(),
            short_id: local.short_id,
            trusted: is_trusted,
            overlays: self.config.offered_overlays(is_trusted),
            sync: u8::from(self.config.sync),
            refused: None,
            needy: needed > 0,
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.events.push_back(Event::Notice(notice));
    }

    fn overlay_event(&mut self, event: OverlayEvent) {
        self.events.push_back(Event::Overlay(event));
    }

    fn first_gossip(&mut self) -> Duration {
        // Peers that start together do not gossip together.
        let half = self.config.gossip_interval / 2;
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half + Duration::from_micros(self.random.below(spread))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("local", self.topology.local())
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    if config.name == PeerName::UNKNOWN {
        return Err(ConfigError::NoName);
    }
    if let Some(peer) = config
        .peers
        .iter()
        .find(|peer| peer.parse::<PeerAddress>().is_err())
    {
        return Err(ConfigError::Peer(peer.clone()));
    }
    let is_bad = |overlay: &&String| overlay.is_empty() || overlay.contains(' ');
    if let Some(overlay) = config.overlays.iter().find(is_bad) {
        return Err(ConfigError::Overlay(overlay.clone()));
    }
    let place = |name: &str| config.overlays.iter().position(|overlay| overlay == name);
    if let (Some(fastdp), Some(sleeve)) = (place("fastdp"), place("sleeve"))
        && sleeve < fastdp
    {
        return Err(ConfigError::OverlayOrder);
    }
    if !(1..=MAX_VERSION).contains(&config.min_version) {
        return Err(ConfigError::MinVersion(config.min_version));
    }
    if !config.keyring.is_empty() && config.key_seed.is_none() {
        return Err(KeyringError::NoSeed.into());
    }
    Ok(())
}

fn register(
    list: impl IntoIterator<Item = (String, Box<dyn Channel>)>,
) -> Result<BTreeMap<Arc<str>, Box<dyn Channel>>, ConfigError> {
    let mut channels = BTreeMap::new();
    for (name, channel) in list {
        let key: Arc<str> = Arc::from(name.as_str());
        if name == TOPOLOGY || channels.insert(key, channel).is_some() {
            return Err(ConfigError::ChannelExists(name));
        }
    }
    Ok(channels)
}

/// A uid that is not 0, which stands for a placeholder.
fn uid(config: &Config, random: &mut Random) -> Uid {
    config.uid.unwrap_or_else(|| Uid(random.next_u64().max(1)))
}

/// A short id that spreads like a random one and is the same after a restart, so that tunnels
/// made for it stay valid.
fn stable_short_id(name: PeerName) -> ShortId {
    let drawn = Random::new(u64::from(name)).below(u64::from(ShortId::COUNT));
    u16::try_from(drawn)
        .ok()
        .and_then(|id| ShortId::try_from(id).ok())
        .expect("invariant: a number below COUNT is a short id")
}

/// The built-in channel.
const TOPOLOGY: &str = "topology";
/// The highest protocol version this peer speaks.
const MAX_VERSION: u8 = 2;
/// Time for both headers (Weave Net mesh protocol, section 1.7).
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the rest of the introduction, and for each message after it.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time within which something of what waits must have been written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Time for which news are not passed on after some were, for each of them; and at most.
const RELAY_PACE: Duration = Duration::from_millis(10);
const RELAY_LIMIT: Duration = Duration::from_secs(1);
/// Least time from a change to the comparison with some neighbours; at most twice as much.
const COMPARE_DELAY: Duration = Duration::from_secs(1);
/// Least time between two lists of all heads on one connection.
const HEADS_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which a record that was asked for is not asked for again.
const WANT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time from a topology update to the removal of unreachable peers.
const COLLECT_DELAY: Duration = Duration::from_secs(1);
/// Time for which reasons to evaluate targets are collected, if nobody waits for it.
const TARGETS_DELAY: Duration = Duration::from_millis(100);
/// Addresses from the topology that are considered at a time.
const MAX_CANDIDATES: usize = 4096;
/// Accepted connections that are being introduced at a time.
const MAX_INTRODUCTIONS: usize = 256;
