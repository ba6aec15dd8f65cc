//! The deadlines of a node, in one ordered set.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ConnectionId;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Complete state of every channel to random neighbours.
    Gossip,
    /// Changes of our own record to neighbours.
    Announce,
    /// News of others to neighbours.
    Relay,
    /// Comparison of what we know with what some neighbours know.
    Compare,
    /// Removal of unreachable peers.
    Collect,
    /// Recalculation of routes.
    Routes,
    /// Evaluation of targets.
    Targets,
    /// The next step of the introduction, or the next message, must have arrived.
    Read(ConnectionId),
    /// Something must have been written.
    Write(ConnectionId),
    /// A heartbeat is due.
    Heartbeat(ConnectionId),
    /// The last words of an ended connection must have been written.
    Part(ConnectionId),
}

/// A table of deadlines with the next one at hand.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: BTreeMap<Timer, Duration>,
    order: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        if let Some(old) = self.deadlines.insert(timer, at) {
            self.order.remove(&(old, timer));
        }
        self.order.insert((at, timer));
    }

    /// Sets a deadline unless it would move an earlier one back.
    pub(super) fn set_earliest(&mut self, timer: Timer, at: Duration) {
        if self.deadlines.get(&timer).is_none_or(|old| *old > at) {
            self.set(timer, at);
        }
    }

    /// Clears a deadline.
    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(old) = self.deadlines.remove(&timer) {
            self.order.remove(&(old, timer));
        }
    }

    /// Takes the earliest deadline that has passed.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_come_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Gossip, 3 * S);
        timers.set(Timer::Collect, S);
        timers.set(Timer::Gossip, 2 * S);

        assert_eq!(timers.next(), Some(S));
        assert_eq!(timers.pop(Duration::ZERO), None);
        assert_eq!(timers.pop(2 * S), Some(Timer::Collect));
        assert_eq!(timers.pop(2 * S), Some(Timer::Gossip));
        assert_eq!(timers.pop(9 * S), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_pending_deadline_is_not_put_off() {
        let mut timers = Timers::default();
        timers.set(Timer::Routes, 2 * S);

        timers.set_earliest(Timer::Routes, 3 * S);
        assert_eq!(timers.next(), Some(2 * S));
        timers.set_earliest(Timer::Routes, S);
        assert_eq!(timers.next(), Some(S));
        timers.clear(Timer::Routes);
        assert_eq!(timers.next(), None);
    }
}
