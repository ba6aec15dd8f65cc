//! The engine: requests and messages in, answers and messages out.
//!
//! It has no clock, no randomness of its own and does no I/O. `now` is the time since the caller
//! started, and never goes backwards. After each call the caller
//!
//! 1. writes [`Allocator::snapshot`] durably if [`Allocator::revision`] has moved,
//! 2. then drains [`Allocator::poll_transmit`] and [`Allocator::poll_event`],
//! 3. and calls [`Allocator::handle_timeout`] at [`Allocator::poll_timeout`].
//!
//! In that order a grant or an answer is never known outside before it survives a crash.
//! Invariant after every call: the space owns exactly what the ring gives us (nothing, after a
//! shutdown), and no address has two holders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::consensus::{NodeId, Participant};
use crate::ledger::Ledger;
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::random::Random;
use crate::ring::Ring;
use crate::snapshot::{Snapshot, SnapshotVoter};
use crate::space::Space;
use crate::span::{AddressRange, number};

mod asking;
mod attempt;
mod config;
mod container;
mod contest;
mod departure;
mod establish;
mod event;
mod events;
mod heal;
mod hold;
mod identity;
mod inbound;
mod pending;
mod report;
mod request;
#[cfg(test)]
mod tests;

pub use self::config::{Config, ConfigError, InitMode, InitModeError};
pub use self::event::{Answer, Error, Event, Outcome, Refusal, TakeoverRefusal, Ticket, Transmit};

use self::asking::Asks;
use self::contest::Contests;
use self::events::Events;
use self::hold::Holds;
use self::identity::Doubt;
use self::pending::Pending;

/// Time between retries: of a vote, of a space request, of pending work.
const TICK: Duration = Duration::from_secs(5);

/// Messages kept for the caller to send. What is left out beyond that is asked for again.
const MAX_UNICASTS: usize = 4096;

/// One peer's address allocator.
#[derive(Clone, Debug)]
pub struct Allocator {
    config: Config,
    universe: AddressRange,
    ring: Arc<Ring>,
    space: Space,
    ledger: Ledger,
    paxos: Participant,
    is_awaiting: bool,
    is_shut_down: bool,
    nicknames: BTreeMap<PeerId, String>,
    reachable: BTreeSet<PeerId>,
    targets: usize,
    is_reach_told: bool,
    pending: Pending,
    asks: Asks,
    contests: Contests,
    holds: Holds,
    doubt: Option<Doubt>,
    /// How often there was doubt since the start.
    doubts: u32,
    /// Addresses in use that their owners will not give us.
    renumber: BTreeMap<IpAddr, PeerId>,
    /// Containers that died, and when their addresses are released.
    dead: BTreeMap<String, Duration>,
    refusals: BTreeMap<Option<PeerId>, Refusal>,
    donated: crate::status::Donated,
    random: Random,
    tick: Option<Duration>,
    is_broadcast_due: bool,
    unicasts: VecDeque<Unicast>,
    events: Events,
    touched: Touched,
    is_dirty: bool,
    revision: u64,
}

/// A message in the queue. A ring update is filled in when it is taken out, with the latest state.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unicast {
    Request(PeerId, AddressRange),
    Denied(PeerId, AddressRange),
    RingUpdate(PeerId),
    /// A ring update without a ring, which a peer with a ring answers with its own.
    RingRequest(PeerId),
    /// The same, and that we take over a peer which is gone.
    Removed(PeerId, PeerId),
}

/// Which free counts may have changed since the ring was last told.
#[derive(Clone, Debug, Default)]
enum Touched {
    #[default]
    Nothing,
    Near(u128),
    Everything,
}

impl Allocator {
    /// An allocator with the state it had when `snapshot` was taken, or a fresh one.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], or [`Error::Snapshot`] if the snapshot belongs to another peer or
    /// universe or is damaged. It is then the only record of who holds what: keep it.
    pub fn new(config: Config, snapshot: Option<Snapshot>) -> Result<Self, Error> {
        config.check()?;
        let universe = AddressRange::of(config.universe);
        let voter = snapshot.as_ref().and_then(|saved| saved.voter.clone());
        let (ring, ledger) = match snapshot {
            Some(snapshot) => snapshot.restore(config.universe, config.peer)?,
            None => (Ring::new(universe, config.peer), Ledger::default()),
        };
        let us = NodeId {
            name: config.peer,
            uid: config.uid,
        };
        let paxos = match config.init {
            InitMode::Observer => Participant::observer(us),
            InitMode::Consensus { .. } | InitMode::Seed(_) => match voter {
                Some(voter) => {
                    let uid = voter.uid;
                    Participant::resumed(NodeId { uid, ..us }, voter.claims())
                }
                None => Participant::elector(us, None),
            },
        };
        let is_restart = match config.init {
            InitMode::Seed(_) if config.is_cautious => true,
            _ => !ring.is_empty(),
        };
        let mut space = Space::new(universe.family);
        space.add_all(ring.ranges_of(config.peer));
        for address in ledger.holdings().flat_map(|(_, held)| &held.addresses) {
            // An address outside the universe, or in a range since lost, is not in the space.
            let _ = space.claim(number(address.addr()));
        }
        let mut allocator = Self {
            universe,
            space,
            ledger,
            paxos,
            ring: Arc::new(ring),
            is_awaiting: false,
            is_shut_down: false,
            nicknames: [(config.peer, config.nickname.clone())].into(),
            reachable: BTreeSet::new(),
            targets: 0,
            is_reach_told: false,
            pending: Pending::default(),
            asks: Asks::default(),
            contests: Contests::default(),
            holds: Holds::new(is_restart && !config.hold.is_zero()),
            doubt: None,
            doubts: 0,
            renumber: BTreeMap::new(),
            dead: BTreeMap::new(),
            refusals: BTreeMap::new(),
            random: Random::new(config.seed),
            tick: None,
            is_broadcast_due: false,
            unicasts: VecDeque::new(),
            donated: crate::status::Donated::default(),
            events: Events::default(),
            touched: Touched::Everything,
            is_dirty: false,
            revision: 0,
            config,
        };
        allocator.seed_ring();
        allocator.keep_addresses();
        allocator.report();
        Ok(allocator)
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Duration) {
        let thawed = self.space.thaw(now);
        for number in &thawed {
            self.touch(*number);
        }
        self.expire_requests(now);
        self.bury(now);
        self.review_holds(now);
        let is_retry_due = self.asks.expire(now);
        if self.tick.is_some_and(|at| at <= now) {
            self.tick = None;
            self.pending.count_tries();
            self.repeat_doubt(now);
            if self.is_awaiting {
                self.propose();
            } else if self.ring.is_empty() {
                if !self.pending.is_empty() {
                    self.establish(now);
                }
            } else {
                self.retry(now);
            }
        } else if is_retry_due || !thawed.is_empty() {
            self.retry(now);
        }
        self.commit(now);
    }

    /// When [`Allocator::handle_timeout`] has something to do; `None` if nothing is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let thaw = self.space.next_thaw();
        [
            self.tick,
            self.asks.next_expiry(),
            self.pending.next_deadline(),
            self.holds.next(),
            self.doubt.as_ref().map(|doubt| doubt.until),
            self.dead.values().min().copied(),
            thaw,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if std::mem::take(&mut self.is_broadcast_due) {
            return Some(Transmit::Broadcast);
        }
        let (to, message) = match self.unicasts.pop_front()? {
            Unicast::Request(to, range) => (to, Message::SpaceRequest(range)),
            Unicast::Denied(to, range) => (to, Message::SpaceDenied(range)),
            Unicast::RingUpdate(to) => (to, Message::RingUpdate(self.state(0))),
            Unicast::Removed(to, gone) => (to, Message::Removed(gone)),
            Unicast::RingRequest(to) => (to, Message::RingUpdate(State::request())),
        };
        Some(Transmit::Unicast { to, message })
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is gossiped: nicknames and either the ring or our votes. `unix_seconds` is the clock,
    /// which receivers ignore.
    #[must_use]
    pub fn state(&self, unix_seconds: i64) -> State {
        let has_ring = !self.ring.is_empty();
        let votes = (!has_ring && self.paxos.is_elector()).then(|| self.paxos.votes().clone());
        let ring = has_ring.then(|| Arc::clone(&self.ring));
        State {
            unix_seconds,
            nicknames: self.nicknames.clone(),
            votes,
            ring,
        }
    }

    /// Changes whenever [`Allocator::snapshot`] would give something else. 0 for as long as nothing
    /// has changed since [`Allocator::new`].
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What must be found again after a restart.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::take(self.config.universe, &self.ring, &self.ledger);
        if self.ring.is_empty() {
            let ours = self.paxos.ours();
            snapshot.voter = ours.map(|(node, claims)| SnapshotVoter::of(node, claims));
        }
        snapshot
    }

    /// Our copy of the ring.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Our addresses, free and in use.
    #[must_use]
    pub const fn space(&self) -> &Space {
        &self.space
    }

    /// The subnet of requests that name none.
    #[must_use]
    pub fn default_subnet(&self) -> IpNet {
        self.config.default_subnet.unwrap_or(self.config.universe)
    }

    // ===== end of every call =====

    /// Settles what follows from a call: holds, hints, revision and timers.
    fn commit(&mut self, now: Duration) {
        if self.holds.is_fresh() {
            self.advance_restart(now);
        }
        self.report();
        if !self.asks.is_empty() {
            self.asks.retain(&self.pending.ranges(self.universe.span));
        }
        if self.is_awaiting || !self.pending.is_empty() || self.doubt.is_some() {
            self.tick.get_or_insert(now + TICK);
        } else {
            self.tick = None;
        }
    }

    /// Tells the ring how much is free, and settles the revision.
    fn report(&mut self) {
        let space = &self.space;
        let free = |span| space.count_free(span);
        let is_reported = match std::mem::take(&mut self.touched) {
            // Who has left owns nothing to report, whatever the ring says.
            _ if self.is_shut_down => false,
            Touched::Nothing => false,
            Touched::Near(number) => Arc::make_mut(&mut self.ring).report_free_near(number, free),
            Touched::Everything => Arc::make_mut(&mut self.ring).report_free(free),
        };
        if is_reported || std::mem::take(&mut self.is_dirty) {
            self.is_dirty = false;
            self.revision += 1;
        }
        debug_assert!(self.is_consistent(), "ring and space disagree");
    }

    /// Whether the space owns what the ring says.
    fn is_consistent(&self) -> bool {
        if self.is_shut_down {
            return self.ring.check().is_ok() && self.space.owned().next().is_none();
        }
        let ranges = crate::span::coalesce(self.ring.ranges_of(self.config.peer));
        self.ring.check().is_ok() && self.space.owned().eq(ranges)
    }

    fn touch(&mut self, number: u128) {
        self.touched = match self.touched {
            Touched::Nothing => Touched::Near(number),
            Touched::Near(other) if other == number => Touched::Near(number),
            Touched::Near(_) | Touched::Everything => Touched::Everything,
        };
    }

    /// After a change of the ring: the space follows in the same step.
    fn follow_ring(&mut self) {
        self.is_dirty = true;
        if self.is_shut_down {
            return;
        }
        let before: Vec<_> = self.space.owned().collect();
        let ranges = crate::span::coalesce(self.ring.ranges_of(self.config.peer));
        let (is_larger, used) = self.space.resize(&ranges);
        debug_assert!(used.is_empty(), "lost addresses that are in use");
        for span in crate::span::difference(&before, &ranges) {
            let family = self.universe.family;
            self.events
                .push_back(Event::RangeLost(AddressRange { family, span }));
        }
        if is_larger {
            self.asks
                .satisfy(&crate::span::difference(&ranges, &before));
        }
        self.touched = Touched::Everything;
    }

    fn send_ring_to(&mut self, to: PeerId) {
        let update = Unicast::RingUpdate(to);
        // Only the last one counts, and it must follow any denial.
        self.unicasts.retain(|queued| *queued != update);
        self.queue(update);
    }

    /// Queues a message once, unless the queue is full.
    fn queue(&mut self, unicast: Unicast) {
        if self.unicasts.len() < MAX_UNICASTS && !self.unicasts.contains(&unicast) {
            self.unicasts.push_back(unicast);
        }
    }
}
