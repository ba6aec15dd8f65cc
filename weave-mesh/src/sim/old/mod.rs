//! A fake old peer: what a router of Weave Net 2.x does, by the protocol text.
//!
//! It gossips the complete topology to `2·log₂ n` random neighbours every 30 s and to every peer
//! that connects and is not reachable by established routes, encodes every record again for each
//! neighbour, relays news on the receive path after waiting for a recalculation of routes (up to
//! 100 ms, during which it does not read that connection), dials every address it hears of
//! without order or bound, refuses one of two connections of a pair by their ids, has no write
//! deadline, and is slow to accept (the simulation delays what it accepts).
//!
//! Where this crate's topology improves on the merge of old routers (stale entries make no
//! placeholders), the fake does so too. It introduces itself without password, in version 2.

mod deadlines;
mod gossip;
mod link;
mod targets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::cost::Work;
use super::host::Happening;
use crate::connector::{PeerAddress, Target};
use crate::node::{Config, ConnectionId, DialId, Transmit};
use crate::peer::{self, PeerName, PeerRecord, ShortId, Uid};
use crate::random::Random;
use crate::topology::routes::{self, Relation};
use crate::topology::{Pool, Topology};
use crate::wire::frame;
use crate::wire::intro::Features;
use deadlines::{Deadlines, Due};
use link::{Link, Peer, Stage, Step, VERSIONS};
use targets::Targets;

/// A router of Weave Net 2.x.
#[derive(Debug)]
pub(super) struct OldPeer {
    config: Config,
    topology: Topology,
    /// Next hops as of the last recalculation.
    all: BTreeMap<PeerName, PeerName>,
    established: BTreeMap<PeerName, PeerName>,
    links: BTreeMap<ConnectionId, Link>,
    registered: BTreeMap<PeerName, ConnectionId>,
    next_connection: u64,
    targets: Targets,
    deadlines: Deadlines,
    random: Random,
    announce: BTreeSet<PeerName>,
    /// News that wait for the routes: from whom, and about whom.
    relays: Vec<(PeerName, BTreeSet<PeerName>)>,
    transmits: VecDeque<Transmit>,
    ready: VecDeque<ConnectionId>,
    happened: VecDeque<Happening>,
    work: Work,
    /// The complete state as a frame, as long as it is right. The peer is charged for each time.
    complete: Option<Bytes>,
}

impl OldPeer {
    pub(super) fn new(config: Config) -> Self {
        let mut random = Random::new(config.seed.unwrap_or_default());
        let short_id = u16::try_from(random.below(u64::from(ShortId::COUNT)))
            .ok()
            .and_then(|id| ShortId::try_from(id).ok());
        let uid = Uid(random.next_u64().max(1));
        let local = PeerRecord {
            short_id,
            ..PeerRecord::new(config.name, config.nickname.clone(), uid)
        };
        let mut deadlines = Deadlines::default();
        deadlines.set(Due::Gossip, config.gossip_interval);
        deadlines.set(Due::Targets, Duration::ZERO);
        Self {
            topology: Topology::new(local, random.next_u64()),
            all: [(config.name, PeerName::UNKNOWN)].into(),
            established: BTreeMap::new(),
            links: BTreeMap::new(),
            registered: BTreeMap::new(),
            next_connection: 0,
            targets: Targets::default(),
            deadlines,
            random,
            announce: BTreeSet::new(),
            relays: Vec::new(),
            transmits: VecDeque::new(),
            ready: VecDeque::new(),
            happened: VecDeque::new(),
            work: Work::default(),
            complete: None,
            config,
        }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// See [`Topology::share`].
    pub(super) fn share_records(&mut self, revision: u64, pool: &mut Pool) -> u64 {
        self.topology.share(revision, pool)
    }

    /// Valid targets that failed and wait.
    pub(super) fn failed_targets(&self) -> usize {
        self.targets.failed()
    }

    /// The connection with a peer.
    pub(super) fn connection_with(&self, name: PeerName) -> Option<ConnectionId> {
        self.registered.get(&name).copied()
    }

    pub(super) fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    pub(super) fn open(
        &mut self,
        now: Duration,
        dial: Option<DialId>,
        remote: SocketAddr,
    ) -> ConnectionId {
        let id = ConnectionId::from(self.next_connection);
        self.next_connection += 1;
        let local = self.topology.local();
        let ours = Features {
            name: local.name,
            nickname: local.nickname.clone(),
            uid: local.uid,
            conn_id: self.random.next_u64(),
            short_id: local.short_id,
            trusted: false,
            overlays: (!self.config.overlays.is_empty()).then(|| self.config.overlays.clone()),
            sync: 0,
            refused: None,
            needy: false,
        };
        let link = Link {
            remote,
            dial,
            stage: Stage::Header(BytesMut::new()),
            ours,
            peer: None,
            retained: None,
            is_paused: false,
            output: BytesMut::from(&VERSIONS.emit()[..]),
            heartbeats: 0,
            slot: None,
            in_flight: 0,
        };
        self.links.insert(id, link);
        self.ready.push_back(id);
        self.deadlines.set(Due::Read(id), now + HEADER_TIMEOUT);
        id
    }

    pub(super) fn handle_dial_failed(&mut self, now: Duration, dial: DialId) {
        self.targets.ended(now, dial, &mut self.random);
        self.deadlines.request(Due::Targets, now);
        self.happened.push_back(Happening::AttemptFailed);
    }

    pub(super) fn handle_bytes(&mut self, now: Duration, id: ConnectionId, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(&id) {
            link.push(bytes);
            self.read(now, id);
        }
    }

    /// Handles what is complete, until the connection has to wait for routes.
    fn read(&mut self, now: Duration, id: ConnectionId) {
        loop {
            let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_paused) else {
                return;
            };
            let is_going_on = match link.pop() {
                Step::Nothing => return,
                Step::Refused => false,
                Step::Header => {
                    link.output.extend_from_slice(&[0]);
                    if let Ok(features) = frame::encode(&link.ours.encode()) {
                        link.output.extend_from_slice(&features);
                    }
                    self.ready.push_back(id);
                    true
                }
                Step::Frame(frame) => match link.peer {
                    None => Features::decode(&frame)
                        .is_ok_and(|features| self.admit(now, id, &features)),
                    Some(peer) => self.handle_message(now, id, peer.name, &frame),
                },
            };
            if !is_going_on {
                return self.end(now, id);
            }
            self.deadlines.set(Due::Read(id), now + READ_TIMEOUT);
        }
    }

    /// Makes a connection part of the topology; false if it is refused.
    fn admit(&mut self, now: Duration, id: ConnectionId, theirs: &Features) -> bool {
        let name = theirs.name;
        let Some(link) = self.links.get(&id) else {
            return false;
        };
        let (dial, address) = (link.dial, link.remote);
        let connection_uid = link.ours.connection_uid(theirs);
        let accepts_unknown = dial.is_none_or(|dial| {
            self.targets
                .address(dial)
                .is_some_and(|to| self.targets.is_direct(&to))
        });
        let known = self.topology.get(name);
        if name == self.config.name || (known.is_none() && !accepts_unknown) {
            return false;
        }
        let is_restarted = known.is_some_and(|known| known.uid != theirs.uid);
        let effects = self.topology.insert_handshake(theirs.record());
        if self.topology.retain(name)
            && let Some(link) = self.links.get_mut(&id)
        {
            link.retained = Some(name);
        }
        if effects.local_changed {
            self.changed(now);
        }
        if !self.resolve_duplicate(now, name, connection_uid) {
            return false;
        }
        let limit = self.config.connection_limit;
        if limit != 0 && self.registered.len() >= limit {
            return false;
        }
        let is_new = is_restarted || !self.established.contains_key(&name);
        let gossiped = peer::Link {
            address: address.into(),
            outbound: dial.is_some(),
            established: false,
        };
        self.topology.add_connection(name, gossiped);
        self.registered.insert(name, id);
        if let Some(link) = self.links.get_mut(&id) {
            link.peer = Some(Peer {
                name,
                connection_uid,
                is_established: false,
            });
            if is_new {
                link.queue(None);
            }
        }
        self.ready.push_back(id);
        self.announce.insert(name);
        self.changed(now);
        self.deadlines.set(Due::Heartbeat(id), now + HEARTBEAT);
        self.deadlines.request(Due::Targets, now);
        self.happened.push_back(Happening::Added(id));
        if self.config.overlays.is_empty() {
            self.handle_established(now, id);
        }
        true
    }

    /// The lower connection uid stays; equal ones go both. Returns whether the new one stays.
    fn resolve_duplicate(&mut self, now: Duration, name: PeerName, new: u64) -> bool {
        let old_id = self.registered.get(&name).copied();
        let old = old_id.and_then(|id| Some((id, self.links.get(&id)?.peer?)));
        let Some((old_id, old)) = old else {
            return true;
        };
        if old.connection_uid >= new {
            self.end(now, old_id);
        }
        new < old.connection_uid
    }

    pub(super) fn handle_established(&mut self, now: Duration, id: ConnectionId) {
        let peer = self.links.get_mut(&id).and_then(|link| link.peer.as_mut());
        let Some(peer) = peer.filter(|peer| !peer.is_established) else {
            return;
        };
        peer.is_established = true;
        let name = peer.name;
        self.topology.establish(name);
        self.changed(now);
    }

    pub(super) fn handle_closed(&mut self, now: Duration, id: ConnectionId) {
        self.end(now, id);
    }

    fn end(&mut self, now: Duration, id: ConnectionId) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        self.deadlines.clear(Due::Read(id));
        self.deadlines.clear(Due::Heartbeat(id));
        self.transmits.push_back(Transmit::Close { connection: id });
        if let Some(name) = link.retained {
            self.topology.release(name);
        }
        match link.peer {
            Some(peer) if self.registered.get(&peer.name) == Some(&id) => {
                self.registered.remove(&peer.name);
                self.topology.remove_connection(peer.name);
                self.collect(now);
                self.changed(now);
                self.happened.push_back(Happening::Ended);
            }
            _ => self.happened.push_back(Happening::AttemptFailed),
        }
        if let Some(dial) = link.dial {
            self.targets.ended(now, dial, &mut self.random);
        }
        self.deadlines.request(Due::Targets, now);
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        while let Some(due) = self.deadlines.pop(now) {
            self.work.inputs += 1;
            match due {
                Due::Gossip => self.gossip_everything(now),
                Due::Announce => self.announce_changes(now),
                Due::Collect => self.collect(now),
                Due::Routes => self.recalculate(now),
                Due::Targets => self.evaluate_targets(now),
                Due::Heartbeat(id) => self.heartbeat(now, id),
                Due::Read(id) => self.end(now, id),
            }
        }
        self.dial_targets(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        [self.deadlines.next(), self.targets.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn poll_happening(&mut self) -> Option<Happening> {
        self.happened.pop_front()
    }

    fn dial_targets(&mut self, now: Duration) {
        let limit = self.config.connection_limit;
        if limit != 0 && self.registered.len() >= limit {
            self.targets.put_off(now, &mut self.random);
            return;
        }
        while let Some((dial, address)) = self.targets.poll_dial(now) {
            let target = Target::Discovered(address);
            self.transmits.push_back(Transmit::Dial { dial, target });
        }
    }

    /// Collects the addresses that may be dialled.
    fn evaluate_targets(&mut self, now: Duration) {
        let mut addresses = BTreeSet::new();
        let mut inbound = BTreeSet::new();
        for id in self.registered.values() {
            let Some(link) = self.links.get(id) else {
                continue;
            };
            addresses.insert(link.remote);
            if link.dial.is_none() {
                inbound.insert(link.remote.ip());
            }
        }
        let port = self.config.listen.port();
        let mut valid = BTreeMap::new();
        if self.config.discovery {
            for address in self.discovered(port) {
                valid.insert(address, false);
            }
        }
        for peer in &self.config.peers {
            let Ok(peer) = peer.parse::<PeerAddress>() else {
                continue;
            };
            let Some(address) = peer.literal(port) else {
                continue;
            };
            if peer.port().is_some() || !inbound.contains(&address.ip()) {
                valid.insert(address, true);
            }
        }
        // A target that is busy stays as it is whether it is valid or not.
        let busy = self.targets.busy();
        valid.retain(|address, _| !addresses.contains(address) || busy.contains(address));
        self.targets.evaluate(now, &valid);
    }

    /// Addresses of peers without a connection to us, from the connections of others.
    fn discovered(&self, port: u16) -> BTreeSet<SocketAddr> {
        let us = self.config.name;
        let mut found = BTreeSet::new();
        let missing: Vec<_> = self
            .topology
            .records()
            .map(|record| record.name)
            .filter(|name| *name != us && !self.registered.contains_key(name))
            .collect();
        for record in self.topology.records().filter(|record| record.name != us) {
            for name in &missing {
                let Some(link) = record.connections.get(name) else {
                    continue;
                };
                if let Some(mut address) = link.address.socket() {
                    if !link.outbound {
                        address.set_port(port);
                    }
                    found.insert(address);
                }
            }
        }
        found
    }

    /// The own record changed.
    fn changed(&mut self, now: Duration) {
        self.complete = None;
        self.deadlines.request(Due::Announce, now + ANNOUNCE_DELAY);
        self.deadlines.request(Due::Routes, now + ROUTES_DELAY);
    }

    fn collect(&mut self, now: Duration) {
        let collected = self.topology.collect_garbage();
        if collected.local_changed {
            self.changed(now);
        }
        if !collected.removed.is_empty() {
            self.complete = None;
            self.deadlines.request(Due::Routes, now + ROUTES_DELAY);
        }
    }

    /// Computes both tables, then relays what waited for them and reads on.
    fn recalculate(&mut self, now: Duration) {
        self.deadlines.clear(Due::Routes);
        self.all = routes::unicast(&self.topology, Relation::All);
        self.established = routes::unicast(&self.topology, Relation::Established);
        self.work.routes += 1;
        let edges: usize = self
            .topology
            .records()
            .map(|record| record.connections.len())
            .sum();
        self.work.edges = u64::try_from(edges).unwrap_or(u64::MAX);
        for (from, news) in std::mem::take(&mut self.relays) {
            self.spread(from, Some(&news));
        }
        let paused: Vec<_> = self
            .links
            .iter_mut()
            .filter_map(|(id, link)| std::mem::take(&mut link.is_paused).then_some(*id))
            .collect();
        for id in paused {
            self.read(now, id);
        }
    }
}

/// Time for the header (Weave Net mesh protocol, section 1.7).
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for each message.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Time for which changes of the own record are collected.
const ANNOUNCE_DELAY: Duration = Duration::from_secs(1);
/// Time from an update to the collection of garbage.
const COLLECT_DELAY: Duration = Duration::from_secs(1);
/// Time for which requests for routes are collected.
const ROUTES_DELAY: Duration = Duration::from_millis(100);
