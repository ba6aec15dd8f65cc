//! The fast datapath of one daemon, without I/O.
//!
//! In: connections, control messages and heartbeats of peers, routes, time. Out: heartbeats and
//! control messages to send, events for the owner of the connections, and updates of the tables
//! that the kernel programs look up.
//!
//! Invariant: applying every update in the order of [`Engine::poll_update`] to the tables it
//! started from gives [`Engine::tables`]. Apply updates before you send what
//! [`Engine::poll_transmit`] gives: the answer to a heartbeat is only let in by the new tables.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use super::{
    Heartbeat, Path, PeerName, Routes, ShortId, TableUpdate, Tables, Vni,
    health::{Change, Health},
    heartbeat,
    hold::Holds,
    patience::Patience,
    plan::{self, Carrier, Neighbour},
};
use crate::overlay::pace::{Note, Silence};

/// What an [`Engine`] must know from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Name of this peer.
    pub us: PeerName,
    /// Overlay MTU in bytes, stated and proven by heartbeats.
    pub mtu: u16,
    /// UDP port of the tunnel, [`super::PORT`] by default.
    pub port: u16,
}

/// A connection that the mesh has decided to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Name of the connection between the engine and its owner.
    pub id: u64,
    /// The remote peer.
    pub peer: PeerName,
    /// Its short id as stated in the handshake, if it has one.
    pub short_id: Option<ShortId>,
    /// Our address of the TCP connection.
    pub local: Ipv4Addr,
    /// The peer's address of the TCP connection.
    pub remote: Ipv4Addr,
    /// UDP port of the tunnel in both directions, that of the side that was dialled: open at our end.
    pub port: u16,
    /// The uid both sides know, from the handshake.
    pub uid: u64,
    /// Whether frames on this connection must be encrypted: then the fast datapath declines it.
    pub encrypted: bool,
}

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// A UDP datagram without checksum and with DF set.
    Heartbeat {
        /// The connection it proves.
        id: u64,
        /// Source address.
        local: Ipv4Addr,
        /// Destination address.
        remote: Ipv4Addr,
        /// Destination port.
        port: u16,
        /// VXLAN header and frame.
        payload: Vec<u8>,
    },
    /// An overlay control message.
    Control {
        /// The connection it goes through.
        id: u64,
        /// Inner tag and its payload.
        inner: Vec<u8>,
    },
}

/// What the owner of a connection has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer has acknowledged a heartbeat: the path carries full-size frames towards it.
    Established {
        /// The connection.
        id: u64,
    },
    /// The path does not work: use another overlay if there is one.
    Unhealthy {
        /// The connection.
        id: u64,
        /// How that is known.
        why: Silence,
    },
    /// Heard again after [`Event::Unhealthy`].
    Healthy {
        /// The connection.
        id: u64,
    },
    /// The fast datapath cannot serve this connection, ever.
    Declined {
        /// The connection.
        id: u64,
        /// Why, in words for `status`.
        reason: &'static str,
    },
}

/// A view of one connection for status output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// Name of the connection.
    pub id: u64,
    /// The remote peer.
    pub peer: PeerName,
    /// Where frames go: the address of the last accepted heartbeat.
    pub remote: Ipv4Addr,
    /// Whether a heartbeat of ours was acknowledged.
    pub established: bool,
    /// Whether heartbeats have been arriving at both ends.
    pub healthy: bool,
}

/// The fast datapath engine.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    links: BTreeMap<u64, Link>,
    /// Connections whose frames go by sleeve, and their peers.
    by_sleeve: BTreeMap<u64, PeerName>,
    routes: Routes,
    holds: Holds,
    patience: Patience,
    /// Paths that are known not to work and may still be in the tables.
    broken: BTreeSet<Path>,
    /// Connections whose frames must be encrypted: peer and address.
    sealed: BTreeMap<u64, (PeerName, Ipv4Addr)>,
    /// Addresses in adopted tables that nothing may go to in clear.
    distrusted: BTreeSet<Ipv4Addr>,
    tables: Tables,
    stale: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    health: Health,
    answered: bool,
}

impl Link {
    fn path(&self) -> Path {
        Path {
            remote: self.connection.remote,
            local: self.connection.local,
            port: self.connection.port,
        }
    }

    fn works(&self) -> bool {
        self.health.is_healthy()
    }
}

impl Engine {
    /// An engine that starts from empty tables.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            links: BTreeMap::new(),
            by_sleeve: BTreeMap::new(),
            routes: Routes::default(),
            holds: Holds::default(),
            patience: Patience::default(),
            broken: BTreeSet::new(),
            sealed: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            tables: Tables::default(),
            stale: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Our UDP port of the tunnel. Both directions of a connection use the port of the side that was
    /// dialled, so it may be another.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// Starts from the tables an earlier daemon left in the kernel: every way in them is kept until
    /// a better one is known or its time is up. Call it before anything else.
    pub fn adopt(&mut self, now: Duration, tables: Tables) {
        self.tables = tables;
        self.refresh_holds(now);
    }

    /// Gives up adopted ways to addresses that nothing may go to in clear, until an unencrypted
    /// connection leads there. To be called right after [`Self::adopt`].
    pub fn distrust(&mut self, is_trusted: impl Fn(Ipv4Addr) -> bool) {
        let remotes = self.tables.paths().map(|path| path.remote);
        self.distrusted = remotes.filter(|remote| !is_trusted(*remote)).collect();
        self.stale |= !self.distrusted.is_empty();
    }

    /// The mesh keeps this connection; heartbeats start.
    pub fn handle_connection(&mut self, now: Duration, connection: Connection) {
        let id = connection.id;
        if connection.encrypted {
            self.handle_sealed(id, connection.peer, connection.remote);
            let reason = "the connection is encrypted and fastdp sends in clear";
            self.events.push_back(Event::Declined { id, reason });
            return;
        }
        self.distrusted.remove(&connection.remote);
        let link = Link {
            connection,
            health: Health::new(now),
            answered: false,
        };
        self.links.insert(id, link);
        self.stale = true;
        self.send_due(now);
    }

    /// Frames of connection `id` must be encrypted, so none goes by the tunnel to its address from
    /// the next update on, whatever was known before: no way there is held, and none is left slowly.
    pub fn handle_sealed(&mut self, id: u64, peer: PeerName, remote: Ipv4Addr) {
        self.sealed.insert(id, (peer, remote));
        self.stale = true;
    }

    /// Whether nothing may go to `remote` in clear.
    fn is_sealed(&self, remote: Ipv4Addr) -> bool {
        let mut sealed = self.sealed.values();
        self.distrusted.contains(&remote) || sealed.any(|(_, address)| *address == remote)
    }

    /// The MTU of the network has changed: heartbeats prove the new one from now on.
    pub fn handle_mtu(&mut self, mtu: u16) {
        self.config.mtu = mtu;
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self, _now: Duration, id: u64) {
        self.stale |= self.sealed.remove(&id).is_some();
        self.stale |= self.links.remove(&id).is_some();
        self.stale |= self.by_sleeve.remove(&id).is_some();
    }

    /// Frames for the peer of connection `id` go by sleeve from now on, or do not any more. The
    /// connection need not be one that the fast datapath serves.
    pub fn handle_sleeve(&mut self, id: u64, peer: PeerName, on: bool) {
        let before = self.by_sleeve.remove(&id).is_some();
        if on {
            self.by_sleeve.insert(id, peer);
        }
        self.stale |= before != on;
    }

    /// A control message for the fast datapath: inner tag and payload. Unknown tags are ignored, as
    /// they are by other implementations.
    pub fn handle_control(&mut self, now: Duration, id: u64, inner: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let change = match (inner.first(), Note::parse(inner)) {
            (Some(&ACK), _) => link.health.handle_ack(now),
            (_, Some(Note::Pace(pace))) => {
                link.health.handle_pace(now, pace);
                None
            }
            (_, Some(Note::Deaf)) => link.health.handle_deaf(true),
            (_, Some(Note::Hears)) => link.health.handle_deaf(false),
            _ => None,
        };
        self.note(id, change);
    }

    /// Tells of a change in the health of a connection.
    fn note(&mut self, id: u64, change: Option<Change>) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let event = match change {
            None => return,
            Some(Change::Established) => Event::Established { id },
            Some(Change::Healthy) => {
                self.broken.remove(&link.path());
                self.stale = true;
                Event::Healthy { id }
            }
            Some(Change::Unhealthy(why)) => {
                self.broken.insert(link.path());
                self.stale = true;
                Event::Unhealthy { id, why }
            }
        };
        self.events.push_back(event);
    }

    /// Tells a peer of ours whether it is heard, when that has changed.
    fn tell(&mut self, id: u64, heard_before: bool) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let note = match (heard_before, link.health.hears()) {
            (true, false) => Note::Deaf,
            (false, true) => Note::Hears,
            _ => return,
        };
        if link.health.is_paced() {
            let inner = note.emit();
            self.transmits.push_back(Transmit::Control { id, inner });
        }
    }

    /// A special frame came out of the tunnel. It is ignored unless it is a heartbeat of a
    /// connection that we know, from the peer that owns the origin id, to an id that exists.
    pub fn handle_heartbeat(&mut self, now: Duration, heartbeat: &Heartbeat) {
        let Some(uid) = heartbeat.uid() else {
            return;
        };
        let Some(peer) = self.owner(heartbeat.origin) else {
            return;
        };
        let resolves = self.owner(heartbeat.destination).is_some();
        let mine = |link: &&mut Link| link.connection.peer == peer && link.connection.uid == uid;
        let Some(link) = self.links.values_mut().find(mine).filter(|_| resolves) else {
            return;
        };

        let id = link.connection.id;
        if link.connection.remote != heartbeat.outer_src {
            self.broken.insert(link.path());
            link.connection.remote = heartbeat.outer_src;
            self.stale = true;
        }
        let heard_before = link.health.hears();
        let change = link.health.handle_heartbeat(now);
        if link.works() {
            self.broken.remove(&link.path());
        }
        let first = !std::mem::replace(&mut link.answered, true);
        if first {
            link.health.hurry(now);
            // The peer has confirmed the connection, so it takes what is said about it.
            for inner in [vec![ACK], Note::ours().emit()] {
                self.transmits.push_back(Transmit::Control { id, inner });
            }
        }
        self.note(id, change);
        self.tell(id, heard_before);
        if first {
            self.send_due(now);
        }
    }

    /// Routes and short ids changed.
    pub fn handle_routes(&mut self, now: Duration, routes: Routes) {
        let routes = routes.settled();
        if self.routes != routes {
            self.routes = routes;
            self.stale = true;
        }
        self.send_due(now);
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            let heard_before = link.health.hears();
            let change = link.health.handle_timeout(now);
            self.note(id, change);
            self.tell(id, heard_before);
        }
        let waits = [self.holds.poll_timeout(), self.patience.poll_timeout()];
        self.stale |= waits.into_iter().flatten().any(|at| at <= now);
        self.send_due(now);
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let links = self.links.values().flat_map(|link| {
            let sendable = self.vni(&link.connection).is_some();
            let send = sendable.then(|| link.health.next_send());
            [send, link.health.expires()]
        });
        let waits = [self.holds.poll_timeout(), self.patience.poll_timeout()];
        links.chain(waits).flatten().min()
    }

    /// The next thing to send.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The change of the tables that is due, if there is one.
    pub fn poll_update(&mut self, now: Duration) -> Option<TableUpdate> {
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        let mut next = self.refresh_holds(now);
        let paths = self.tables.paths();
        let sealed: Vec<Path> = paths.filter(|path| self.is_sealed(path.remote)).collect();
        self.broken.extend(&sealed);
        let (patience, tables) = (&mut self.patience, &self.tables);
        if patience.waits(now, tables, &next, &self.broken) {
            // What must not be used is left also while the rest of the change waits.
            next = tables.left_for(&next, |path| sealed.contains(&path));
        }
        let healthy = |path: &Path| self.links.values().any(|l| l.path() == *path && l.works());
        self.broken
            .retain(|path| !healthy(path) && next.uses(*path));
        let update = self.tables.diff_to(&next);
        self.tables = next;
        (!update.is_empty()).then_some(update)
    }

    /// The tables as the updates handed out so far make them.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The connections served, in the order of their ids.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionStatus> {
        self.links.values().map(|link| ConnectionStatus {
            id: link.connection.id,
            peer: link.connection.peer,
            remote: link.connection.remote,
            established: link.health.is_established(),
            healthy: link.health.is_healthy(),
        })
    }

    fn refresh_holds(&mut self, now: Duration) -> Tables {
        let us = self.config.us;
        let mut next = plan::tables(us, &self.routes, &self.neighbours());
        let previous = self.tables.without(|path| self.is_sealed(path.remote));
        self.holds.merge(now, us, &previous, &mut next);
        next
    }

    /// One entry a peer: the youngest connection wins, a usable one before an unusable one.
    fn neighbours(&self) -> BTreeMap<PeerName, Neighbour> {
        let mut neighbours = BTreeMap::new();
        for link in self.links.values() {
            let peer = link.connection.peer;
            let mut sealed = self.sealed.values();
            let may_send = !self.is_sealed(link.connection.remote)
                && !sealed.any(|(sealed, _)| *sealed == peer);
            let neighbour = Neighbour {
                id: link.connection.short_id,
                carrier: if link.works() && may_send {
                    Carrier::Fastdp(link.path())
                } else {
                    Carrier::None
                },
            };
            let best = neighbours.entry(link.connection.peer).or_insert(neighbour);
            if neighbour.carrier != Carrier::None || best.carrier == Carrier::None {
                *best = neighbour;
            }
        }
        for peer in self.by_sleeve.values() {
            let neighbour = neighbours.entry(*peer).or_insert(Neighbour {
                id: None,
                carrier: Carrier::None,
            });
            neighbour.carrier = Carrier::Sleeve;
        }
        neighbours
    }

    /// The peer a short id means: what the mesh says, else what a handshake said.
    fn owner(&self, id: ShortId) -> Option<PeerName> {
        let mut mesh = self.routes.short_ids.iter();
        let known = mesh.find(|(_, owned)| **owned == id).map(|(name, _)| *name);
        known.or_else(|| {
            let stated = |link: &&Link| link.connection.short_id == Some(id);
            let peer = self.links.values().find(stated)?.connection.peer;
            (!self.routes.short_ids.contains_key(&peer)).then_some(peer)
        })
    }

    fn vni(&self, connection: &Connection) -> Option<Vni> {
        let known = self.routes.short_ids.get(&connection.peer).copied();
        let of_peer = |id: &ShortId| self.owner(*id) == Some(connection.peer);
        Some(Vni {
            origin: self.routes.short_ids.get(&self.config.us).copied()?,
            destination: known.or_else(|| connection.short_id.filter(of_peer))?,
        })
    }

    fn send_due(&mut self, now: Duration) {
        let vnis: Vec<(u64, Vni)> = self
            .links
            .iter()
            .filter_map(|(id, link)| Some((*id, self.vni(&link.connection)?)))
            .collect();
        for (id, vni) in vnis {
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            if link.health.take_send(now) {
                self.transmits.push_back(Transmit::Heartbeat {
                    id,
                    local: link.connection.local,
                    remote: link.connection.remote,
                    port: link.connection.port,
                    payload: heartbeat::payload(vni, link.connection.uid, self.config.mtu),
                });
            }
        }
    }
}

/// Inner tag of the control message that acknowledges the first heartbeat.
const ACK: u8 = 0;

#[cfg(test)]
mod tests;
