//! Timers of one connection: when to send a heartbeat, when to stop believing in the path.
//!
//! Invariant: a connection is *established* from its first acknowledgement for ever, and *healthy*
//! exactly while its last accepted heartbeat is younger than its patience (or none is due yet) and
//! the peer has not said that it hears none of ours. The patience is [`TIMEOUT`], and less for a peer
//! that has told its [pace].

use std::time::Duration;

use crate::overlay::pace::{self, PACE, Silence};

/// Time between heartbeats until the first acknowledgement.
pub const FAST: Duration = Duration::from_millis(500);
/// Time between heartbeats afterwards.
pub const SLOW: Duration = Duration::from_secs(10);
/// Time without an accepted heartbeat after which a path is unhealthy.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Heartbeat state of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    next_send: Duration,
    interval: Duration,
    /// `None` once the timer has fired: only an accepted heartbeat arms it again.
    expires: Option<Duration>,
    established: bool,
    patience: Duration,
    /// The peer has told its pace, so it is told whether we hear it.
    paced: bool,
    /// The peer says that it does not hear us.
    deaf: bool,
}

/// What a call changed for the user of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The remote peer has acknowledged a heartbeat of ours for the first time.
    Established,
    /// The path does not work any more.
    Unhealthy(Silence),
    /// It works again.
    Healthy,
}

impl Health {
    /// A connection confirmed at `now`: the first heartbeat is due at once.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            next_send: now,
            interval: FAST,
            expires: Some(now + TIMEOUT),
            established: false,
            patience: TIMEOUT,
            paced: false,
            deaf: false,
        }
    }

    /// An acknowledgement arrived.
    pub fn handle_ack(&mut self, now: Duration) -> Option<Change> {
        if self.established {
            return None;
        }
        self.established = true;
        self.interval = self.steady();
        self.next_send = now + self.interval;
        Some(Change::Established)
    }

    /// A heartbeat was accepted.
    pub fn handle_heartbeat(&mut self, now: Duration) -> Option<Change> {
        let was_healthy = self.is_healthy();
        self.expires = Some(now + self.patience);
        (!was_healthy && self.is_healthy()).then_some(Change::Healthy)
    }

    /// The peer told how often it sends: its silence is noticed as soon, and it is called as often.
    pub fn handle_pace(&mut self, now: Duration, pace: Duration) {
        self.paced = true;
        self.patience = pace::patience(pace).min(TIMEOUT);
        self.expires = self.expires.map(|at| at.min(now + self.patience));
        if self.established {
            self.interval = self.steady();
            self.next_send = self.next_send.min(now + self.interval);
        }
    }

    /// The peer says whether it hears us.
    pub fn handle_deaf(&mut self, deaf: bool) -> Option<Change> {
        let was_healthy = self.is_healthy();
        self.deaf = deaf;
        match (was_healthy, self.is_healthy()) {
            (true, false) => Some(Change::Unhealthy(Silence::There)),
            (false, true) => Some(Change::Healthy),
            _ => None,
        }
    }

    fn steady(&self) -> Duration {
        if self.paced { PACE } else { SLOW }
    }

    /// Fires the receive timer when it is due.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Change> {
        if self.expires.is_none_or(|at| now < at) {
            return None;
        }
        self.expires = None;
        self.interval = self.steady();
        (!self.deaf).then_some(Change::Unhealthy(Silence::Here(self.patience)))
    }

    /// Whether a heartbeat is to be sent; if so the next one is due an interval later.
    #[must_use]
    pub fn take_send(&mut self, now: Duration) -> bool {
        let due = now >= self.next_send;
        if due {
            self.next_send = now + self.interval;
        }
        due
    }

    /// Makes a heartbeat due at once, if the path is not established yet: the remote peer has just
    /// shown that it listens, while an earlier heartbeat may have come before it did.
    pub fn hurry(&mut self, now: Duration) {
        if !self.established {
            self.next_send = self.next_send.min(now);
        }
    }

    /// When [`Self::take_send`] will next be true.
    #[must_use]
    pub fn next_send(&self) -> Duration {
        self.next_send
    }

    /// When [`Self::handle_timeout`] will next do something.
    #[must_use]
    pub fn expires(&self) -> Option<Duration> {
        self.expires
    }

    /// Whether an acknowledgement has arrived.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the receive timer is running and the peer hears us.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.hears() && !self.deaf
    }

    /// Whether the receive timer is running.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.expires.is_some()
    }

    /// Whether the peer has told its pace.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.paced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn sent_at(health: &mut Health, until: Duration) -> Vec<Duration> {
        let mut at = Vec::new();
        while health.next_send() <= until {
            let now = health.next_send();
            assert!(health.take_send(now));
            assert!(!health.take_send(now));
            at.push(now - START);
        }
        at
    }

    #[test]
    fn heartbeats_are_fast_until_the_acknowledgement_and_slow_afterwards() {
        let mut health = Health::new(START);
        assert_eq!(
            sent_at(&mut health, START + Duration::from_secs(1)),
            [0, 500, 1000].map(Duration::from_millis)
        );

        let ack = START + Duration::from_millis(1100);
        assert_eq!(health.handle_ack(ack), Some(Change::Established));
        assert_eq!(health.handle_ack(ack), None);
        assert_eq!(
            sent_at(&mut health, START + Duration::from_secs(22)),
            [11_100, 21_100].map(Duration::from_millis)
        );
    }

    #[test]
    fn silence_makes_unhealthy_once_and_a_heartbeat_heals() {
        let mut health = Health::new(START);
        let just_before = START + TIMEOUT - Duration::from_nanos(1);
        assert_eq!(health.handle_timeout(just_before), None);
        assert_eq!(
            health.handle_timeout(START + TIMEOUT),
            Some(Change::Unhealthy(Silence::Here(TIMEOUT)))
        );
        assert_eq!(health.handle_timeout(START + 5 * TIMEOUT), None);
        assert!(!health.is_healthy());

        let back = START + 6 * TIMEOUT;
        assert_eq!(health.handle_heartbeat(back), Some(Change::Healthy));
        assert_eq!(health.handle_heartbeat(back), None);
        assert_eq!(health.expires(), Some(back + TIMEOUT));
    }

    #[test]
    fn an_unhealthy_path_is_probed_slowly() {
        let mut health = Health::new(START);
        let _ = sent_at(&mut health, START + TIMEOUT);
        let _ = health.handle_timeout(START + TIMEOUT);
        let first = health.next_send();
        assert!(health.take_send(first));
        assert_eq!(health.next_send(), first + SLOW);
    }

    #[test]
    fn a_peer_that_told_its_pace_is_called_as_often_and_missed_as_soon() {
        let mut health = Health::new(START);
        let _ = health.handle_ack(START);
        health.handle_pace(START, PACE);
        assert_eq!(health.next_send(), START + PACE);
        let _ = health.handle_heartbeat(START);

        let silent = Duration::from_secs(2);
        assert_eq!(health.handle_timeout(START + silent - PACE), None);
        assert_eq!(
            health.handle_timeout(START + silent),
            Some(Change::Unhealthy(Silence::Here(silent)))
        );
        let _ = sent_at(&mut health, START + silent);
        let first = health.next_send();
        assert!(health.take_send(first));
        assert_eq!(
            health.next_send(),
            first + PACE,
            "so that it comes back soon"
        );
    }

    #[test]
    fn a_path_works_while_both_ends_hear() {
        let mut health = Health::new(START);
        health.handle_pace(START, PACE);

        let change = health.handle_deaf(true);
        assert_eq!(change, Some(Change::Unhealthy(Silence::There)));
        assert_eq!(health.handle_timeout(START + TIMEOUT), None);
        assert_eq!(health.handle_deaf(false), None, "we do not hear it either");
        let back = START + TIMEOUT;
        assert_eq!(health.handle_heartbeat(back), Some(Change::Healthy));
        assert_eq!(health.handle_deaf(false), None);
    }

    #[test]
    fn hurry_does_nothing_to_an_established_path() {
        let mut health = Health::new(START);
        assert!(health.take_send(START));
        health.hurry(START);
        assert!(health.take_send(START));

        let _ = health.handle_ack(START);
        health.hurry(START);
        assert!(!health.take_send(START));
    }
}
