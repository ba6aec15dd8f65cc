//! Whether another process edits under our name (`ALGORITHM.md`, section "one name, one process").
//!
//! Only we edit our entries and every edit is saved before it is told, so whoever knows more of
//! them than we do had it from a process with our name and another memory. Invariant: while that
//! may be so, nothing of ours is handed out or granted.

use std::time::Duration;

use super::hold::Survey;
use super::{Allocator, Event, TICK};
use crate::peer::PeerId;
use crate::ring::Ring;
use crate::status::{DoubtStatus, HoldCause};

/// Without evidence for this long, the other process is gone, or never was one.
const QUIET: Duration = Duration::from_secs(30);

/// How often the time of a further doubt in one life is doubled: up to about an hour.
const MAX_DOUBLINGS: u32 = 7;

/// Rounds of five seconds with evidence after which it can only be a second process.
const TWIN_ROUNDS: u32 = 3;

/// Reason to believe that another process has our name.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    since: Duration,
    pub(super) until: Duration,
    /// An entry of ours that is known better elsewhere.
    token: u128,
    /// Who knew, and the version it knew.
    reporter: PeerId,
    version: u32,
    rounds: u32,
    next_round: Duration,
    is_announced: bool,
    survey: Survey,
}

/// An entry of ours as somebody else knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    token: u128,
    version: u32,
    /// In how many entries.
    count: usize,
}

impl Doubt {
    const fn is_twin(&self) -> bool {
        self.rounds >= TWIN_ROUNDS
    }
}

impl Allocator {
    /// What a ring shows of our own entries that we do not know. To be asked before it is merged.
    pub(super) fn evidence_in(&self, theirs: &Ring) -> Option<Evidence> {
        let us = self.config.peer;
        let is_first = self.ring.is_empty();
        let is_restarting = self.holds.is_restarting();
        let is_our_hand = theirs.peer() == us;
        let mut found: Option<Evidence> = None;
        for (entry, size) in theirs.entries_of(us) {
            let is_used = u128::from(entry.free) < size;
            let is_evidence = match self.ring.entry(entry.token) {
                _ if is_first => entry.version > 0,
                Some(mine) if mine.peer == us => {
                    let is_other = mine.version == entry.version && mine.free != entry.free;
                    entry.version > mine.version || (is_our_hand && is_other)
                }
                Some(_) => false,
                None if self.ring.owner(entry.token) == Some(us) => true,
                None => is_restarting && is_used,
            };
            if is_evidence {
                let (token, version) = (entry.token, entry.version);
                let first = Evidence {
                    token,
                    version,
                    count: 0,
                };
                found.get_or_insert(first).count += 1;
            }
        }
        found
    }

    /// Notes evidence, which is to be merged by now.
    pub(super) fn doubt(&mut self, now: Duration, reporter: PeerId, evidence: Evidence) {
        if let Some(doubt) = &mut self.doubt {
            doubt.until = doubt.until.max(now + QUIET);
            if now >= doubt.next_round {
                doubt.next_round = now + TICK;
                doubt.rounds = doubt.rounds.saturating_add(1);
                if doubt.rounds == TWIN_ROUNDS {
                    let token = self.universe.family.address(doubt.token);
                    self.events.push_back(Event::Twin { token, reporter });
                }
            }
            return;
        }
        // Our past was outdone by the first doubt. Whoever edits after that is another process.
        let until = now + QUIET * (1 << self.doubts.min(MAX_DOUBLINGS));
        let rounds = if self.doubts == 0 { 1 } else { TWIN_ROUNDS };
        self.doubts = self.doubts.saturating_add(1);
        let mut survey = Survey::default();
        self.ask_for_rings(now, until, &mut survey, None);
        self.is_broadcast_due = true;
        let token = self.universe.family.address(evidence.token);
        let count = evidence.count;
        self.events.push_back(Event::Outdated { token, count });
        if rounds >= TWIN_ROUNDS {
            self.events.push_back(Event::Twin { token, reporter });
        }
        self.events.push_back(Event::Held(HoldCause::Doubt));
        tracing::debug!(%reporter, count, "our entries are known better elsewhere");
        self.doubt = Some(Doubt {
            since: now,
            until,
            token: evidence.token,
            reporter,
            version: evidence.version,
            rounds,
            next_round: now + TICK,
            is_announced: false,
            survey,
        });
    }

    /// While in doubt, everyone hears our entries every five seconds, raised once.
    pub(super) fn repeat_doubt(&mut self, now: Duration) {
        let Some(mut doubt) = self.doubt.take() else {
            return;
        };
        self.ask_for_rings(now, doubt.until, &mut doubt.survey, None);
        let is_announced = std::mem::replace(&mut doubt.is_announced, true);
        self.doubt = Some(doubt);
        if !is_announced {
            self.announce_ourselves();
        }
        self.is_broadcast_due = true;
    }

    /// Whether the doubt is over now.
    pub(super) fn review_doubt(&mut self, now: Duration) -> bool {
        let is_over = self.doubt.as_ref().is_some_and(|doubt| now >= doubt.until);
        if is_over {
            self.doubt = None;
            self.events.push_back(Event::HoldOver(HoldCause::Doubt));
        }
        is_over
    }

    pub(super) fn doubt_status(&self) -> Option<DoubtStatus> {
        self.doubt.as_ref().map(|doubt| DoubtStatus {
            is_twin: doubt.is_twin(),
            token: self.universe.family.address(doubt.token),
            reporter: doubt.reporter,
            version: doubt.version,
            since: doubt.since,
        })
    }
}
