//! From no ring to a ring.

use std::sync::Arc;
use std::time::Duration;

use super::{Allocator, Event, InitMode, TICK};
use crate::consensus::Votes;
use crate::peer::PeerId;

impl Allocator {
    /// Starts a vote, or a wait for others to vote, unless there is a ring or one is going on.
    pub(super) fn establish(&mut self, now: Duration) {
        if !self.ring.is_empty() || self.is_awaiting || self.is_shut_down {
            return;
        }
        self.is_awaiting = true;
        self.tick = Some(now + TICK);
        self.paxos.set_quorum(self.quorum());
        self.propose();
        self.form_if_decided(now);
    }

    /// A further round; everyone hears of it. An observer only asks for the ring.
    pub(super) fn propose(&mut self) {
        self.paxos.propose();
        self.is_dirty = true;
        self.is_broadcast_due = true;
    }

    /// The votes of another peer, while there is no ring.
    pub(super) fn count_votes(&mut self, now: Duration, votes: &Votes) {
        if !self.paxos.update(votes) {
            return;
        }
        if self.paxos.think() {
            self.is_dirty = true;
            self.is_broadcast_due = true;
        }
        self.form_if_decided(now);
    }

    /// At the start, if the seeds were given and nothing was saved.
    pub(super) fn seed_ring(&mut self) {
        if let InitMode::Seed(seeds) = &self.config.init
            && self.ring.is_empty()
        {
            let seeds = seeds.clone();
            self.form(&seeds);
        }
    }

    /// Whatever was waited for has come.
    pub(super) fn ring_established(&mut self) {
        self.is_awaiting = false;
        self.events.push_back(Event::RingEstablished);
    }

    /// A majority of the peers expected, or of the configured targets and ourselves.
    fn quorum(&self) -> usize {
        match self.config.init {
            InitMode::Consensus {
                expected: Some(count),
            } => count / 2 + 1,
            _ => self.targets.div_ceil(2) + 1,
        }
    }

    fn form_if_decided(&mut self, now: Duration) {
        let Some(peers) = self.paxos.decided().map(|value| value.peers.clone()) else {
            return;
        };
        self.form(&peers);
        self.retry(now);
    }

    fn form(&mut self, seeds: &[PeerId]) {
        Arc::make_mut(&mut self.ring).form(seeds);
        if self.ring.is_empty() {
            return;
        }
        tracing::debug!(seeds = seeds.len(), "ring formed");
        self.follow_ring();
        self.ring_established();
        self.is_broadcast_due = true;
    }
}
