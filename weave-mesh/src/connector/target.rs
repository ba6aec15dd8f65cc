//! One target: its state and the times at which it is tried.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{PeerAddress, between};
use crate::connection::Refusal;
use crate::node::{ConnectionState, Retry};
use crate::peer::PeerName;
use crate::random::Random;

/// Where to dial. `Display` is what status and log show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A peer that somebody named; the name is resolved at every attempt.
    Direct {
        /// As it was given.
        peer: String,
        /// Host name or IP address.
        host: String,
        /// Port to dial.
        port: u16,
    },
    /// An address from the topology.
    Discovered(SocketAddr),
}

impl Target {
    pub(super) fn direct(peer: &str, address: &PeerAddress, port: u16) -> Self {
        Self::Direct {
            peer: peer.to_owned(),
            host: address.host().to_owned(),
            port: address.port().unwrap_or(port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Direct { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Discovered(address) => address.fmt(f),
        }
    }
}

/// What identifies a target. A direct peer keeps its own even if its address changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Direct(String),
    Discovered(SocketAddr),
}

/// How an attempt or the connection it led to came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There was no connection; try later.
    Failed(String),
    /// The connection ended; try now if it was a long one, else later.
    Closed(String),
    /// The remote has no room for the connection; try later, and others not all at once.
    Full(String),
    /// Another attempt cannot end differently; try only when a user asks for it.
    Never(String),
    /// The remote does not use the password that was tried; try another one.
    Password(String, Refusal),
}

/// A target as the report shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TargetReport {
    pub(crate) address: String,
    pub(crate) state: ConnectionState,
    pub(crate) error: Option<String>,
    pub(crate) retry: Option<Retry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Attempting,
    Connected,
    Suspended,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Whether a direct peer was given with a port.
    pub(super) has_port: bool,
    /// Addresses of the target, as far as they are known.
    pub(super) addresses: Vec<SocketAddr>,
    /// The peer that answered last, or is expected to.
    pub(super) peer: Option<PeerName>,
    error: Option<String>,
    /// When to try, or when the current attempt was due; `None` is never.
    try_after: Option<Duration>,
    interval: Duration,
    /// Place of the password to use in the keyring; it counts on from the start behind the last.
    pub(super) password: usize,
    /// The next attempt, or the one under way, did not wait because the password is known.
    pub(super) is_hurried: bool,
}

impl Entry {
    /// A target to be tried at `at`.
    pub(super) fn due(at: Duration, address: Option<SocketAddr>) -> Self {
        Self {
            state: State::Waiting,
            has_port: true,
            addresses: address.into_iter().collect(),
            peer: None,
            error: None,
            try_after: Some(at),
            interval: INITIAL_INTERVAL,
            password: 0,
            is_hurried: false,
        }
    }

    /// A user asked for this target: try now, and count failures from the start.
    pub(super) fn make_due(&mut self, now: Duration) {
        self.interval = INITIAL_INTERVAL;
        if !self.is_busy() {
            self.try_after = Some(now);
        }
    }

    /// True while there is an attempt or a connection.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Attempting | State::Connected)
    }

    /// When to dial, if the target waits for its time.
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.try_after.filter(|_| self.state == State::Waiting)
    }

    /// No connection came about.
    pub(super) fn fail_later(&mut self, now: Duration, reason: String, random: &mut Random) {
        self.state = State::Waiting;
        self.error = Some(reason);
        let half = self.interval / 2;
        self.try_after = Some(now + between(random, half, half + self.interval));
        self.interval = (self.interval * 3 / 2).min(MAX_INTERVAL);
    }

    /// The connection ended. A long one is taken for a sign that the next will succeed.
    pub(super) fn close(&mut self, now: Duration, reason: String, random: &mut Random) {
        let started = self.try_after.unwrap_or(now);
        if now.saturating_sub(started) <= RESET_AFTER {
            self.fail_later(now, reason, random);
            return;
        }
        self.state = State::Waiting;
        self.error = Some(reason);
        self.try_after = Some(now);
        self.interval = INITIAL_INTERVAL;
    }

    /// The remote uses another password. If it is known which, one attempt with that is made at
    /// once; a remote that keeps changing its mind is waited for as any other.
    pub(super) fn refuse(
        &mut self,
        now: Duration,
        reason: String,
        refusal: Refusal,
        random: &mut Random,
    ) {
        let is_known = match refusal {
            Refusal::Choose(place) => {
                self.password = place;
                true
            }
            Refusal::Next => {
                self.password = self.password.wrapping_add(1);
                false
            }
        };
        self.is_hurried = is_known && !self.is_hurried;
        if self.is_hurried {
            self.state = State::Waiting;
            self.error = Some(reason);
            self.try_after = Some(now);
        } else {
            self.fail_later(now, reason, random);
        }
    }

    /// Trying again is of no use.
    pub(super) fn fail_for_ever(&mut self, reason: String) {
        self.state = State::Waiting;
        self.error = Some(reason);
        self.try_after = None;
        self.interval = INITIAL_INTERVAL;
    }

    pub(super) fn report(&self, now: Duration, key: &Key) -> Option<TargetReport> {
        let (state, retry) = match (self.state, &self.error) {
            (State::Attempting, None) => (ConnectionState::Connecting, None),
            (State::Attempting, Some(_)) => (ConnectionState::Retrying, None),
            (State::Waiting, error) => {
                let retry = self
                    .try_after
                    .map_or(Retry::Never, |at| Retry::In(at.saturating_sub(now)));
                let state = match error {
                    None => ConnectionState::Waiting,
                    Some(_) => ConnectionState::Failed,
                };
                (state, Some(retry))
            }
            (State::Connected | State::Suspended, _) => return None,
        };
        let address = match (self.addresses.first(), key) {
            (Some(address), _) | (None, Key::Discovered(address)) => address.to_string(),
            (None, Key::Direct(peer)) => peer.clone(),
        };
        Some(TargetReport {
            address,
            state,
            error: self.error.clone(),
            retry,
        })
    }
}

/// Back-off after the first failure.
pub(super) const INITIAL_INTERVAL: Duration = Duration::from_secs(2);
/// Longest back-off.
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(360);
/// A connection that lasted longer than this resets the back-off.
const RESET_AFTER: Duration = Duration::from_secs(60);
