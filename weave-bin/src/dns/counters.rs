//! What the name server counts, for the report and the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::status::model::DnsCounters;

/// Counts since the daemon started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Questions answered from the store.
    pub local: AtomicU64,
    /// Questions answered by another server.
    pub forwarded: AtomicU64,
    /// Questions that no other server answered.
    pub failed: AtomicU64,
    /// Messages that are no question.
    pub malformed: AtomicU64,
    /// Questions and connections beyond what is served at a time.
    pub busy: AtomicU64,
    /// Gossip dropped because the queue was full.
    pub gossip_dropped: AtomicU64,
    /// Gossip refused for its clock.
    pub gossip_skewed: AtomicU64,
    /// Entries of gossip refused: without sense, or without room.
    pub gossip_refused: AtomicU64,
}

impl Counters {
    /// The counts at this moment.
    pub fn read(&self) -> DnsCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DnsCounters {
            local: read(&self.local),
            forwarded: read(&self.forwarded),
            failed: read(&self.failed),
            malformed: read(&self.malformed),
            busy: read(&self.busy),
            gossip_dropped: read(&self.gossip_dropped),
            gossip_skewed: read(&self.gossip_skewed),
            gossip_refused: read(&self.gossip_refused),
        }
    }
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
