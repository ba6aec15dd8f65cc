//! Whom an old peer dials: every address that any record names, with a growing back-off.
//!
//! There is no order between the two ends of a pair and no bound on attempts at a time, so peers
//! that hear of each other dial each other (Weave Net mesh protocol, sections 7.2 and 7.3).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::node::DialId;
use crate::random::Random;

/// The targets of one old peer.
#[derive(Debug, Default)]
pub(super) struct Targets {
    entries: BTreeMap<SocketAddr, Target>,
    dials: BTreeMap<DialId, SocketAddr>,
    next_dial: u64,
}

#[derive(Debug)]
struct Target {
    state: State,
    is_direct: bool,
    is_valid: bool,
    has_failed: bool,
    try_after: Duration,
    interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Busy,
}

impl Targets {
    /// Takes over the addresses that may be dialled; `true` marks a direct peer.
    pub(super) fn evaluate(&mut self, now: Duration, valid: &BTreeMap<SocketAddr, bool>) {
        self.entries.retain(|address, target| {
            target.is_valid = valid.contains_key(address);
            target.is_valid || target.is_direct || target.state == State::Busy
        });
        for (address, is_direct) in valid {
            let target = self.entries.entry(*address).or_insert(Target {
                state: State::Waiting,
                is_direct: *is_direct,
                is_valid: true,
                has_failed: false,
                try_after: now,
                interval: INITIAL_INTERVAL,
            });
            target.is_direct |= *is_direct;
        }
    }

    /// The next target that is due.
    pub(super) fn poll_dial(&mut self, now: Duration) -> Option<(DialId, SocketAddr)> {
        let (address, target) = self
            .entries
            .iter_mut()
            .find(|(_, target)| target.is_due(now))?;
        target.state = State::Busy;
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        self.dials.insert(dial, *address);
        Some((dial, *address))
    }

    /// Puts off everything that is due, as when there are too many connections.
    pub(super) fn put_off(&mut self, now: Duration, random: &mut Random) {
        for target in self.entries.values_mut() {
            if target.is_due(now) {
                target.try_later(now, random);
            }
        }
    }

    /// The address of an attempt.
    pub(super) fn address(&self, dial: DialId) -> Option<SocketAddr> {
        self.dials.get(&dial).copied()
    }

    /// The attempt failed, or its connection ended.
    pub(super) fn ended(&mut self, now: Duration, dial: DialId, random: &mut Random) {
        let address = self.dials.remove(&dial);
        let Some(target) = address.and_then(|address| self.entries.get_mut(&address)) else {
            return;
        };
        target.state = State::Waiting;
        if now.saturating_sub(target.try_after) > RESET_AFTER {
            target.try_after = now;
            target.interval = INITIAL_INTERVAL;
            target.has_failed = true;
        } else {
            target.try_later(now, random);
        }
    }

    /// When the next target is due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let waiting = self.entries.values();
        waiting
            .filter(|target| target.state == State::Waiting && target.is_valid)
            .map(|target| target.try_after)
            .min()
    }

    /// Valid targets that failed and wait to be tried again.
    pub(super) fn failed(&self) -> usize {
        let is_failed = |target: &&Target| {
            target.is_valid && target.has_failed && target.state == State::Waiting
        };
        self.entries.values().filter(is_failed).count()
    }

    /// Addresses of direct peers among the targets.
    pub(super) fn is_direct(&self, address: &SocketAddr) -> bool {
        self.entries
            .get(address)
            .is_some_and(|target| target.is_direct)
    }

    /// Addresses with an attempt or a connection.
    pub(super) fn busy(&self) -> BTreeSet<SocketAddr> {
        self.dials.values().copied().collect()
    }
}

impl Target {
    fn is_due(&self, now: Duration) -> bool {
        self.state == State::Waiting && self.is_valid && self.try_after <= now
    }

    fn try_later(&mut self, now: Duration, random: &mut Random) {
        self.state = State::Waiting;
        self.has_failed = true;
        let micros = u64::try_from(self.interval.as_micros()).unwrap_or(u64::MAX);
        self.try_after = now + self.interval / 2 + Duration::from_micros(random.below(micros));
        self.interval = (self.interval * 3 / 2).min(MAX_INTERVAL);
    }
}

/// Back-off after the first failure.
const INITIAL_INTERVAL: Duration = Duration::from_secs(2);
/// Longest back-off.
const MAX_INTERVAL: Duration = Duration::from_secs(360);
/// A connection that lasted longer than this resets the back-off.
const RESET_AFTER: Duration = Duration::from_secs(60);
