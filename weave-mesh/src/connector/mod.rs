//! Whom to dial, and when.
//!
//! A target is a direct peer (a string somebody gave) or an address learned from the topology.
//! Each has a state, the last error and a time to try again that moves away with every failure
//! (Weave Net mesh protocol, sections 7.1 to 7.4). The invariant: a target that leads to a peer
//! that is connected already is never dialled.
//!
//! Dials go out through `poll_dial`; whoever dials hands the outcome back.

mod address;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use address::{AddressError, PeerAddress};
pub use target::Target;
pub(crate) use target::{Ending, TargetReport};

use crate::node::DialId;
use crate::peer::PeerName;
use crate::random::Random;
use target::{Entry, Key, State};

/// The targets of one peer.
#[derive(Debug)]
pub(crate) struct Connector {
    us: PeerName,
    port: u16,
    random: Random,
    direct: BTreeMap<String, PeerAddress>,
    /// Direct peers came or went, or the last use of one that went may be over.
    is_direct_changed: bool,
    targets: BTreeMap<Key, Entry>,
    dials: BTreeMap<DialId, Key>,
    attempts: usize,
    /// Attempts for which there would be room if all of them succeeded.
    room: usize,
    next_dial: u64,
    hunt: Hunt,
    /// Where a peer without room sent us; forgotten when we need nobody any more.
    referred: VecDeque<SocketAddr>,
    /// When the first waiting target is due; kept by every change of a target.
    next_due: Option<Duration>,
}

/// What is connected and what could be, at the moment targets are evaluated.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Peers with a connection that is part of the topology.
    pub(crate) connected: BTreeSet<PeerName>,
    /// Remote addresses of those connections.
    pub(crate) addresses: BTreeSet<SocketAddr>,
    /// Remote hosts of those connections that are inbound.
    pub(crate) inbound: BTreeSet<IpAddr>,
    /// Peers that were asked for and have no connection to us, without room for one there or here.
    pub(crate) full: BTreeSet<PeerName>,
    /// Whether we have so few connections that we wait for nobody to dial us.
    pub(crate) is_needy: bool,
    /// Addresses from the topology, with the peer each leads to.
    pub(crate) candidates: BTreeMap<SocketAddr, PeerName>,
}

impl Connector {
    /// A connector without targets; `port` stands in for the port of peers given without one.
    pub(crate) fn new(us: PeerName, port: u16, random: Random) -> Self {
        Self {
            us,
            port,
            random,
            direct: BTreeMap::new(),
            is_direct_changed: false,
            targets: BTreeMap::new(),
            dials: BTreeMap::new(),
            attempts: 0,
            room: usize::MAX,
            next_dial: 0,
            hunt: Hunt::default(),
            referred: VecDeque::new(),
            next_due: None,
        }
    }

    /// Adds direct peers and makes them due; returns the strings that are no `host[:port]`.
    pub(crate) fn connect(
        &mut self,
        now: Duration,
        peers: impl IntoIterator<Item = String>,
        replace: bool,
    ) -> Vec<AddressError> {
        if replace {
            self.direct.clear();
        }
        self.is_direct_changed = true;
        let mut errors = Vec::new();
        for peer in peers {
            match peer.parse::<PeerAddress>() {
                Ok(address) => {
                    if let Some(entry) = self.targets.get_mut(&Key::Direct(peer.clone())) {
                        entry.make_due(now);
                    }
                    self.direct.insert(peer, address);
                }
                Err(error) => errors.push(error),
            }
        }
        self.note_due();
        errors
    }

    /// Removes direct peers, named exactly as they were given.
    pub(crate) fn forget(&mut self, peers: &[String]) {
        for peer in peers {
            self.direct.remove(peer);
        }
        self.is_direct_changed = true;
    }

    /// The direct peers, as given, in order.
    pub(crate) fn direct_peers(&self) -> impl Iterator<Item = &str> {
        self.direct.keys().map(String::as_str)
    }

    /// The peers that direct peers have led to so far.
    pub(crate) fn direct_names(&self) -> impl Iterator<Item = PeerName> {
        let direct = self.targets.iter();
        let direct = direct.take_while(|(key, _)| matches!(key, Key::Direct(_)));
        direct.filter_map(|(_, entry)| entry.peer)
    }

    /// Brings the set of targets in line with what is connected and what is known.
    pub(crate) fn evaluate(&mut self, now: Duration, around: &Surroundings) {
        self.evaluate_direct(now, around);
        self.evaluate_discovered(now, around);
        self.note_due();
    }

    fn evaluate_direct(&mut self, now: Duration, around: &Surroundings) {
        if std::mem::take(&mut self.is_direct_changed) {
            self.targets.retain(|key, entry| match key {
                Key::Direct(peer) => entry.is_busy() || self.direct.contains_key(peer),
                Key::Discovered(_) => true,
            });
            for (peer, address) in &self.direct {
                let key = Key::Direct(peer.clone());
                self.targets.entry(key).or_insert_with(|| {
                    let mut entry = Entry::due(now, address.literal(self.port));
                    entry.has_port = address.port().is_some();
                    entry
                });
            }
        }
        for (key, entry) in &mut self.targets {
            let Key::Direct(_) = key else { break };
            let is_of_no_use =
                |name| around.connected.contains(&name) || around.full.contains(&name);
            let is_reached = entry.peer.is_some_and(is_of_no_use)
                || entry
                    .addresses
                    .iter()
                    .any(|known| around.addresses.contains(known))
                || (!entry.has_port
                    && entry
                        .addresses
                        .iter()
                        .any(|known| around.inbound.contains(&known.ip())));
            match entry.state {
                State::Waiting if is_reached => entry.state = State::Suspended,
                State::Suspended if !is_reached => entry.state = State::Waiting,
                _ => {}
            }
        }
    }

    fn evaluate_discovered(&mut self, now: Duration, around: &Surroundings) {
        if !around.is_needy {
            self.referred.clear();
        }
        let mut taken = Vec::new();
        let mut under_way = BTreeSet::new();
        for (key, entry) in &self.targets {
            let Key::Direct(_) = key else { break };
            taken.extend(entry.addresses.iter().copied());
            if entry.state == State::Attempting {
                under_way.extend(entry.peer);
            }
        }
        taken.sort_unstable();
        let is_valid = |address: &SocketAddr, name: &PeerName| {
            !around.addresses.contains(address)
                && !around.connected.contains(name)
                && taken.binary_search(address).is_err()
                && !under_way.contains(name)
        };
        self.targets.retain(|key, entry| match key {
            Key::Direct(_) => true,
            Key::Discovered(address) => {
                entry.is_busy()
                    || self.referred.contains(address)
                    || around
                        .candidates
                        .get(address)
                        .is_some_and(|name| is_valid(address, name))
            }
        });
        for address in &self.referred {
            let key = Key::Discovered(*address);
            let is_of_use = is_valid(address, &PeerName::UNKNOWN);
            if is_of_use && !self.targets.contains_key(&key) {
                self.targets.insert(key, Entry::due(now, Some(*address)));
            }
        }
        for (address, name) in &around.candidates {
            let key = Key::Discovered(*address);
            if is_valid(address, name) && !self.targets.contains_key(&key) {
                let wait = match around.is_needy {
                    true => Duration::ZERO,
                    false => self.politeness(*name),
                };
                let mut entry = Entry::due(now + wait, Some(*address));
                entry.peer = Some(*name);
                self.targets.insert(key, entry);
            }
        }
    }

    /// How long to leave the first attempt on a discovered peer to that peer.
    ///
    /// Both ends learn of each other at the same time. The lower name dials at once, the other
    /// waits, so that most pairs end up with one connection and no duplicate.
    fn politeness(&mut self, name: PeerName) -> Duration {
        if self.us < name {
            return Duration::ZERO;
        }
        between(&mut self.random, POLITE_MIN, POLITE_MAX)
    }

    /// Has no more attempts under way than this: what is dialled over the limit on connections
    /// is refused in the end, and costs both sides a connection that they list and lose.
    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Takes addresses from a peer without room.
    pub(crate) fn refer(&mut self, others: &[SocketAddr]) {
        for other in others {
            if !self.referred.contains(other) {
                self.referred.push_front(*other);
            }
        }
        self.referred.truncate(MAX_REFERRED);
    }

    /// Whether a peer without room sent us on, and we still need somebody.
    pub(crate) fn is_referred(&self) -> bool {
        !self.referred.is_empty()
    }

    /// The peer that an attempt leads to, if it is known.
    pub(crate) fn peer(&self, dial: DialId) -> Option<PeerName> {
        self.targets.get(self.dials.get(&dial)?)?.peer
    }

    /// The next target that is due, if another attempt may start. `limit` is the reason why no
    /// connection may be opened at all: it fails the attempt.
    pub(crate) fn poll_dial(
        &mut self,
        now: Duration,
        limit: Option<&str>,
    ) -> Option<(DialId, Target)> {
        if self.attempts >= MAX_ATTEMPTS.min(self.room) || self.next_due.is_none_or(|at| at > now) {
            return None;
        }
        let dial = self.pick(now, limit);
        self.note_due();
        dial
    }

    /// Draws one of the targets that are due. In the order of addresses the first peers of a mesh
    /// would connect to each other until all are at their limit, and shut the others out.
    fn pick(&mut self, now: Duration, limit: Option<&str>) -> Option<(DialId, Target)> {
        loop {
            let hunt = self.hunt;
            let is_due = |key: &Key, entry: &Entry| {
                let at = entry.due_at().map(|at| hunt.due(key, at));
                at.is_some_and(|at| at <= now)
            };
            let due = self.targets.iter().filter(|(k, e)| is_due(k, e)).count();
            let drawn = self.random.below(u64::try_from(due).unwrap_or(u64::MAX));
            let key = self
                .targets
                .iter()
                .filter(|(key, entry)| is_due(key, entry))
                .nth(usize::try_from(drawn).unwrap_or_default())
                .map(|(key, _)| key.clone())?;
            let entry = self.targets.get_mut(&key)?;
            if let Some(reason) = limit {
                entry.fail_later(now, reason.to_owned(), &mut self.random);
                continue;
            }
            let target = match &key {
                Key::Direct(peer) => {
                    let Some(address) = self.direct.get(peer) else {
                        self.targets.remove(&key);
                        continue;
                    };
                    Target::direct(peer, address, self.port)
                }
                Key::Discovered(address) => Target::Discovered(*address),
            };
            let dial = DialId(self.next_dial);
            self.next_dial += 1;
            entry.state = State::Attempting;
            self.dials.insert(dial, key);
            self.attempts += 1;
            return Some((dial, target));
        }
    }

    /// Records the addresses that a direct peer resolved to.
    pub(crate) fn handle_resolved(&mut self, dial: DialId, addresses: Vec<SocketAddr>) {
        if let Some(entry) = self.entry(dial) {
            entry.addresses = addresses;
        }
    }

    /// Whether a connection from this attempt may lead to a peer that nobody has heard of.
    pub(crate) fn accepts_unknown(&self, dial: DialId, address: SocketAddr) -> bool {
        match self.dials.get(&dial) {
            Some(Key::Direct(_)) => true,
            Some(Key::Discovered(address)) if self.referred.contains(address) => true,
            Some(Key::Discovered(_)) | None => self
                .direct
                .values()
                .any(|direct| direct.literal(self.port) == Some(address)),
        }
    }

    /// Records which peer answered, so that another way to it makes this target superfluous.
    pub(crate) fn handle_introduced(&mut self, dial: DialId, peer: PeerName) {
        if let Some(entry) = self.entry(dial) {
            entry.peer = Some(peer);
        }
    }

    /// Which of the passwords to use for this attempt, as its place in the keyring.
    pub(crate) fn password(&self, dial: DialId) -> usize {
        let entry = self.dials.get(&dial).and_then(|key| self.targets.get(key));
        entry.map_or(0, |entry| entry.password)
    }

    /// The passwords have changed: every target is tried with the current one first.
    pub(crate) fn forget_passwords(&mut self) {
        for entry in self.targets.values_mut() {
            entry.password = 0;
            entry.is_hurried = false;
        }
    }

    /// The connection from this attempt is part of the topology.
    pub(crate) fn handle_added(&mut self, dial: DialId) {
        let Some(entry) = self.entry(dial) else {
            return;
        };
        entry.is_hurried = false;
        if entry.state == State::Attempting {
            entry.state = State::Connected;
            self.attempts -= 1;
            self.hunt = Hunt::default();
        }
    }

    /// The attempt failed, or its connection ended.
    pub(crate) fn handle_ended(&mut self, now: Duration, dial: DialId, ending: Ending) {
        let Some(key) = self.dials.remove(&dial) else {
            return;
        };
        if let Key::Direct(peer) = &key {
            self.is_direct_changed |= !self.direct.contains_key(peer);
        }
        let Some(entry) = self.targets.get_mut(&key) else {
            return;
        };
        if entry.state == State::Attempting {
            self.attempts -= 1;
        }
        match ending {
            Ending::Failed(reason) => entry.fail_later(now, reason, &mut self.random),
            Ending::Never(reason) => entry.fail_for_ever(reason),
            Ending::Password(reason, refusal) => {
                entry.refuse(now, reason, refusal, &mut self.random);
            }
            Ending::Closed(reason) => entry.close(now, reason, &mut self.random),
            Ending::Full(reason) => {
                entry.fail_later(now, reason, &mut self.random);
                self.hunt.fail(now, &mut self.random);
            }
        }
        self.note_due();
    }

    /// When the next target is due.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.next_due
            .filter(|_| self.attempts < MAX_ATTEMPTS.min(self.room))
    }

    fn note_due(&mut self) {
        let due = self.targets.iter();
        let due = due.filter_map(|(key, entry)| Some(self.hunt.due(key, entry.due_at()?)));
        self.next_due = due.min();
    }

    /// Targets that are neither connected nor suspended, for the report.
    pub(crate) fn report(&self, now: Duration) -> impl Iterator<Item = TargetReport> {
        self.targets
            .iter()
            .filter_map(move |(key, entry)| entry.report(now, key))
    }

    fn entry(&mut self, dial: DialId) -> Option<&mut Entry> {
        self.targets.get_mut(self.dials.get(&dial)?)
    }
}

/// The search for peers with room in a mesh at its limit.
///
/// What is known of the room of others is old by as much as they wait with announcements. So many
/// look for the same few places at a time, and who is refused pauses: twice as long each time, until
/// it has found one.
#[derive(Clone, Copy, Debug, Default)]
struct Hunt {
    /// When discovered targets may be dialled again.
    next: Duration,
    pause: Duration,
}

impl Hunt {
    /// Attempts that were under way together and are refused together count as one.
    fn fail(&mut self, now: Duration, random: &mut Random) {
        if now < self.next {
            return;
        }
        self.pause = (2 * self.pause).clamp(MIN_PAUSE, MAX_PAUSE);
        self.next = now + between(random, self.pause / 2, self.pause * 3 / 2);
    }

    /// When a target may be dialled that is due at `at`. Peers that somebody named do not wait.
    fn due(&self, key: &Key, at: Duration) -> Duration {
        match key {
            Key::Direct(_) => at,
            Key::Discovered(_) => at.max(self.next),
        }
    }
}

/// A time in `min..max`.
fn between(random: &mut Random, min: Duration, max: Duration) -> Duration {
    let span = u64::try_from(max.saturating_sub(min).as_micros()).unwrap_or(u64::MAX);
    min + Duration::from_micros(random.below(span))
}

/// Attempts at a time, from the dial until the connection is part of the topology.
const MAX_ATTEMPTS: usize = 32;
/// Addresses that are kept of those that peers without room gave.
const MAX_REFERRED: usize = 32;
/// Bounds of the pause of a peer that finds no room.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Bounds of the time the higher name leaves to the lower one.
const POLITE_MIN: Duration = Duration::from_secs(2);
const POLITE_MAX: Duration = Duration::from_secs(4);
