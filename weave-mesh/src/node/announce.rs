//! When our own record is told to the neighbours.
//!
//! A change is told at once while the allowance lasts. An announcement reaches everybody in the
//! end, so it costs as many messages as there are other peers: a small mesh hears of every change
//! at once, a large one that forms, where each of the changes would go to hundreds, of many at a
//! time. Without allowance an announcement waits until the record is at rest (`ALGORITHM.md`, laws
//! C3 and C4).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Node, Timer};
use crate::gossip::outbox::Item;
use crate::peer::PeerName;

/// What is to be announced, and what may be announced at once.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// Neighbours whose record the next announcement carries besides our own.
    pub(super) remotes: BTreeSet<PeerName>,
    /// When the next announcement goes out whatever else changes; `None` if there is nothing to
    /// announce.
    pub(super) by: Option<Duration>,
    /// When our record is at rest unless it changes before.
    rest_at: Duration,
    allowance: Allowance,
}

impl Announcements {
    /// When our record will be at rest and announced: until then everybody differs from us. `None`
    /// if it is.
    pub(super) fn restless_until(&self, now: Duration) -> Option<Duration> {
        let until = self.rest_at.max(self.by.unwrap_or_default());
        Some(until).filter(|until| *until > now)
    }
}

impl Node {
    /// Our own record changed: tell others, and recalculate.
    pub(super) fn announce_later(&mut self, now: Duration) {
        let cost = self.announcement_cost();
        self.announcements.rest_at = now + REST;
        let by = *self.announcements.by.get_or_insert(now + LIMIT);
        if self.announcements.allowance.has(now, cost) {
            self.timers.set_earliest(Timer::Announce, now + COLLECT);
        } else {
            self.timers.set(Timer::Announce, by.min(now + REST));
        }
        self.recalculate_soon(now);
    }

    /// Queues our own record to all neighbours.
    ///
    /// Weave Net sends it to random ones. But who has it already, from the complete state of
    /// another peer, does not pass it on, and who was not drawn waits for the next interval.
    pub(super) fn announce_changes(&mut self, now: Duration) {
        let cost = self.announcement_cost();
        self.announcements.allowance.take(now, cost);
        self.announcements.by = None;
        let remotes = std::mem::take(&mut self.announcements.remotes);
        let us = self.topology.local().name;
        let channel = Arc::clone(&self.topology_channel);
        let neighbours: Vec<_> = self.registered.iter().map(|(n, id)| (*n, *id)).collect();
        for (neighbour, id) in neighbours {
            let mut names = BTreeSet::from([us]);
            if !self.takes_sync(id) {
                // It may have collected a peer that it can only reach by this change.
                for remote in remotes.iter().filter(|remote| **remote != neighbour) {
                    self.knowledge.forget(id, *remote);
                    names.insert(*remote);
                }
            }
            self.put(neighbour, &channel, None, Item::Names(names));
        }
        self.compare_later(now);
    }

    fn announcement_cost(&self) -> u64 {
        let others = self.topology.len().saturating_sub(1);
        u64::try_from(others).unwrap_or(u64::MAX).min(MAX_COST)
    }
}

/// Messages that announcements may cost at once: a bucket that fills slowly.
#[derive(Debug)]
struct Allowance {
    /// Messages that were left at `at`.
    left: u64,
    at: Duration,
}

impl Allowance {
    /// Whether so many messages are left.
    fn has(&mut self, now: Duration, cost: u64) -> bool {
        self.fill(now);
        self.left >= cost
    }

    /// Takes so many messages if they are left.
    fn take(&mut self, now: Duration, cost: u64) {
        if self.has(now, cost) {
            self.left -= cost;
        }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_millis() / EACH.as_millis();
        let gained = u32::try_from(passed).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(gained.into()).min(BURST);
        self.at = self.at.saturating_add(EACH.saturating_mul(gained));
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            left: BURST,
            at: Duration::ZERO,
        }
    }
}

/// Messages of a full allowance. A mesh of ten forms within it.
const BURST: u64 = 256;
/// The most that an announcement costs. So four of them can be made at once in any mesh, enough for
/// a connection that is lost, made again and established.
const MAX_COST: u64 = BURST / 4;
/// Time in which the allowance grows by one message.
const EACH: Duration = Duration::from_millis(60);
/// Time for which changes are collected before they are told at once.
const COLLECT: Duration = Duration::from_millis(10);
/// Time from the last change of our own record to its announcement, without allowance.
const REST: Duration = Duration::from_secs(1);
/// Time from the first change that is not announced to the announcement, if changes go on.
const LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn an_allowance_is_spent_at_once_and_grows_slowly() {
        let (mut allowance, start) = (Allowance::default(), 20 * EACH);
        for _ in 0..4 {
            assert!(allowance.has(start, 64));
            allowance.take(start, 64);
        }

        assert!(!allowance.has(start, 1));
        allowance.take(start, 1);
        assert!(
            !allowance.has(start + EACH / 2, 1),
            "what is not there is not owed"
        );
        assert!(allowance.has(start + EACH, 1));
        assert!(!allowance.has(start + 10 * EACH, 11));
        assert!(allowance.has(start + 10 * EACH, 10));
        assert!(allowance.has(1000 * S, BURST));
        assert!(
            !allowance.has(2000 * S, BURST + 1),
            "it does not grow for ever"
        );
    }

    #[test]
    fn parts_of_the_time_add_up() {
        let mut allowance = Allowance::default();
        allowance.take(Duration::ZERO, BURST);

        for step in 1..=100 {
            let _ = allowance.has(EACH / 10 * step, 0);
        }

        assert!(allowance.has(10 * EACH, 10));
        assert!(!allowance.has(10 * EACH, 11));
    }

    #[test]
    fn a_record_is_at_rest_a_second_after_its_last_change_and_when_it_is_announced() {
        let mut announcements = Announcements::default();
        assert_eq!(announcements.restless_until(Duration::ZERO), None);

        announcements.rest_at = 5 * S;
        assert_eq!(announcements.restless_until(4 * S), Some(5 * S));
        assert_eq!(announcements.restless_until(5 * S), None);
        announcements.by = Some(7 * S);
        assert_eq!(announcements.restless_until(5 * S), Some(7 * S));
    }
}
