//! A peer that behaves as Weave Net 2.8 does, as far as other peers can tell.
//!
//! Owner-only edits, the strict merge (a message with one contradiction is refused whole and its
//! connection dropped), takeover without proof, released addresses given out at once, a crash after
//! an accepted repair. Source of fact: Weave Net IPAM description, sections "merge",
//! "consequences of an error" and "allocator". Invariant: it never edits an entry that is not its
//! own, except by takeover.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::host_range;
use crate::consensus::{NodeId, Participant};
use crate::ledger::Ledger;
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::random::Random;
use crate::ring::{MergeError, Ring};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::space::Space;
use crate::span::{AddressRange, Span, coalesce, number};

mod receive;
mod request;

/// Time between two retries.
const TICK: Duration = Duration::from_secs(5);

/// What the shell must do.
#[derive(Clone, Debug)]
pub(super) enum Output {
    Broadcast,
    Unicast(PeerId, Message),
    /// A request that waited: the address, or `None` if it failed.
    Settled(u64, Option<IpNet>),
}

/// How it starts.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) universe: IpNet,
    pub(super) peer: PeerId,
    pub(super) uid: u64,
    pub(super) nickname: String,
    pub(super) seeds: Vec<PeerId>,
    pub(super) quorum: usize,
    pub(super) is_observer: bool,
    pub(super) seed: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Legacy {
    universe: AddressRange,
    network: IpNet,
    us: PeerId,
    quorum: usize,
    ring: Ring,
    space: Space,
    ledger: Ledger,
    paxos: Participant,
    is_awaiting: bool,
    is_shut_down: bool,
    tick: Option<Duration>,
    reachable: BTreeSet<PeerId>,
    nicknames: BTreeMap<PeerId, String>,
    pending: BTreeMap<u64, Want>,
    tickets: u64,
    random: Random,
    outputs: VecDeque<Output>,
    revision: u64,
    has_crashed: bool,
}

#[derive(Clone, Debug)]
enum Want {
    Allocate {
        ident: String,
    },
    Claim {
        ident: String,
        address: IpNet,
        tries: u32,
    },
}

impl Legacy {
    pub(super) fn new(setting: Setting, saved: Option<Snapshot>) -> Result<Self, SnapshotError> {
        let universe = AddressRange::of(setting.universe);
        let us = setting.peer;
        let (ring, ledger) = match saved {
            Some(saved) => without_repetitions(saved).restore(setting.universe, us)?,
            None => (Ring::new(universe, us), Ledger::default()),
        };
        let mut space = Space::new(universe.family);
        space.add_all(ring.ranges_of(us));
        for address in ledger.holdings().flat_map(|(_, held)| &held.addresses) {
            // Conflicts are ignored, as there.
            let _ = space.claim(number(address.addr()));
        }
        let node = NodeId {
            name: us,
            uid: setting.uid,
        };
        let mut legacy = Self {
            universe,
            network: setting.universe,
            us,
            quorum: setting.quorum,
            ring,
            space,
            ledger,
            paxos: if setting.is_observer {
                Participant::observer(node)
            } else {
                Participant::elector(node, None)
            },
            is_awaiting: false,
            is_shut_down: false,
            tick: None,
            reachable: BTreeSet::new(),
            nicknames: [(us, setting.nickname)].into(),
            pending: BTreeMap::new(),
            tickets: 0,
            random: Random::new(setting.seed),
            outputs: VecDeque::new(),
            revision: 0,
            has_crashed: false,
        };
        if legacy.ring.is_empty() && !setting.seeds.is_empty() {
            legacy.form(&setting.seeds);
        }
        legacy.finish(Duration::ZERO);
        Ok(legacy)
    }

    pub(super) fn handle_reachable(&mut self, peers: BTreeSet<PeerId>) {
        self.reachable = peers;
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        if self.tick.is_some_and(|at| at <= now) {
            self.tick = None;
            if self.is_awaiting {
                self.paxos.propose();
                self.outputs.push_back(Output::Broadcast);
            } else if self.ring.is_empty() {
                self.establish();
            } else {
                self.retry();
            }
        }
        self.finish(now);
    }

    pub(super) const fn poll_timeout(&self) -> Option<Duration> {
        self.tick
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn state(&self, unix_seconds: i64) -> State {
        let has_ring = !self.ring.is_empty();
        State {
            unix_seconds,
            nicknames: self.nicknames.clone(),
            votes: (!has_ring && self.paxos.is_elector()).then(|| self.paxos.votes().clone()),
            ring: has_ring.then(|| Arc::new(self.ring.clone())),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.network, &self.ring, &self.ledger)
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether an accepted repair has killed the process. What was saved is the repaired ring.
    pub(super) const fn has_crashed(&self) -> bool {
        self.has_crashed
    }

    pub(super) fn owned(&self) -> impl Iterator<Item = (&str, &[IpNet])> {
        let holdings = self.ledger.holdings();
        holdings.map(|(ident, held)| (ident, held.addresses.as_slice()))
    }

    /// The end of every event: consistency, free counts, timers.
    fn finish(&mut self, now: Duration) {
        let ranges = coalesce(self.ring.ranges_of(self.us));
        if !self.is_shut_down && !self.space.owned().eq(ranges) {
            self.has_crashed = true;
            self.revision += 1;
            return;
        }
        let space = &self.space;
        if self.ring.report_free(|span| space.count_free(span)) {
            self.revision += 1;
        }
        if self.is_awaiting || !self.pending.is_empty() {
            self.tick.get_or_insert(now + TICK);
        } else {
            self.tick = None;
        }
    }

    /// Whether a span counts as used: some address of it is not one of our free ones.
    fn is_in_use(space: &Space, span: Span) -> bool {
        space.count_free(span) != span.size()
    }

    fn hosts(&self) -> Span {
        host_range(self.network).span
    }
}

/// A file of Weave Net may name two holders of an address; it takes the first.
fn without_repetitions(mut saved: Snapshot) -> Snapshot {
    let mut seen = BTreeSet::new();
    for holding in saved.owned.values_mut() {
        holding
            .addresses
            .retain(|address| seen.insert(address.addr()));
    }
    saved
        .owned
        .retain(|_, holding| !holding.addresses.is_empty());
    saved
}
