//! The timers of an old peer in the order in which they are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::node::ConnectionId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Complete state to random neighbours.
    Gossip,
    /// Changes of the own record to random neighbours.
    Announce,
    /// Removal of unreachable peers.
    Collect,
    /// Recalculation of routes.
    Routes,
    /// Evaluation of targets.
    Targets,
    /// A heartbeat.
    Heartbeat(ConnectionId),
    /// The next message must have arrived.
    Read(ConnectionId),
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    at: BTreeMap<Due, Duration>,
    order: BTreeSet<(Duration, Due)>,
}

impl Deadlines {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, due: Due, at: Duration) {
        self.clear(due);
        self.at.insert(due, at);
        self.order.insert((at, due));
    }

    /// Sets a deadline unless it is pending.
    pub(super) fn request(&mut self, due: Due, at: Duration) {
        if !self.at.contains_key(&due) {
            self.set(due, at);
        }
    }

    pub(super) fn clear(&mut self, due: Due) {
        if let Some(old) = self.at.remove(&due) {
            self.order.remove(&(old, due));
        }
    }

    pub(super) fn is_pending(&self, due: Due) -> bool {
        self.at.contains_key(&due)
    }

    /// Takes the earliest deadline that has passed.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Due> {
        let (at, due) = *self.order.first()?;
        (at <= now).then(|| {
            self.clear(due);
            due
        })
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }
}
