//! Own space that is not given for a time, because what a peer lost, or never had, is with the
//! others (`ALGORITHM.md`, section "holding back").
//!
//! Invariant: a hold ends by itself, at the latest when its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Allocator, Event, Unicast};
use crate::peer::PeerId;
use crate::span::{AddressRange, Span, coalesce, difference};
use crate::status::{HoldCause, HoldStatus};

/// How long objections to the announcement of a start are waited for.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a peer that owns nothing is waited for: it may not allocate addresses at all.
const BYSTANDER: Duration = Duration::from_secs(3);

/// Peers asked for their ring in one survey.
const MAX_ASKED: usize = 1024;

/// Whose rings are waited for, and how long.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    awaited: BTreeMap<PeerId, Duration>,
    asked: BTreeSet<PeerId>,
}

/// What is held, but for doubt.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    pub(super) restart: Restart,
    takeover: Option<TakeoverHold>,
}

/// A start from saved state.
#[derive(Clone, Debug)]
pub(super) enum Restart {
    /// No call yet, so the time is not known.
    Fresh,
    /// Others are looked for and heard.
    Collecting {
        until: Duration,
        survey: Survey,
        has_contact: bool,
    },
    /// All were heard and our entries raised; whoever has our name objects.
    Announced { until: Duration },
    /// The time passed without anybody there.
    Lapsed,
    /// Nothing to do any more.
    Over,
}

#[derive(Clone, Debug)]
struct TakeoverHold {
    spans: Vec<Span>,
    until: Duration,
    survey: Survey,
}

impl Survey {
    pub(super) fn heard(&mut self, peer: PeerId) {
        self.awaited.remove(&peer);
    }

    /// Does not wait any longer for who is gone or silent.
    fn review(&mut self, now: Duration, reachable: &BTreeSet<PeerId>) {
        self.awaited
            .retain(|peer, until| *until > now && reachable.contains(peer));
    }

    fn next(&self) -> Option<Duration> {
        self.awaited.values().min().copied()
    }
}

impl Restart {
    const fn is_held(&self) -> bool {
        matches!(
            self,
            Self::Fresh | Self::Collecting { .. } | Self::Announced { .. }
        )
    }

    fn next(&self) -> Option<Duration> {
        match self {
            Self::Fresh => Some(Duration::ZERO),
            Self::Collecting { until, survey, .. } => {
                Some(survey.next().map_or(*until, |next| next.min(*until)))
            }
            Self::Announced { until } => Some(*until),
            Self::Lapsed | Self::Over => None,
        }
    }
}

impl Holds {
    pub(super) const fn new(is_restart: bool) -> Self {
        let restart = if is_restart {
            Restart::Fresh
        } else {
            Restart::Over
        };
        Self {
            restart,
            takeover: None,
        }
    }

    /// Whether the time is not known yet.
    pub(super) const fn is_fresh(&self) -> bool {
        matches!(self.restart, Restart::Fresh)
    }

    /// Whether this is the time after a start in which others are heard.
    pub(super) const fn is_restarting(&self) -> bool {
        self.restart.is_held()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        let takeover = self.takeover.as_ref().map(|hold| {
            let next = hold.survey.next();
            next.map_or(hold.until, |next| next.min(hold.until))
        });
        self.restart.next().into_iter().chain(takeover).min()
    }

    fn heard(&mut self, peer: PeerId) {
        if let Restart::Collecting { survey, .. } = &mut self.restart {
            survey.heard(peer);
        }
        if let Some(hold) = &mut self.takeover {
            hold.survey.heard(peer);
        }
    }
}

impl Allocator {
    /// The parts of `span` from which addresses may be given: neither contested nor held.
    pub(super) fn available(&self, span: Span) -> Vec<Span> {
        if self.holds.is_restarting() || self.doubt.is_some() {
            return Vec::new();
        }
        let parts = self.contests.undisputed(span);
        match &self.holds.takeover {
            Some(hold) => difference(&parts, &hold.spans),
            None => parts,
        }
    }

    /// Whether something may be given from anywhere at all.
    pub(super) const fn is_holding_all(&self) -> bool {
        self.holds.is_restarting() || self.doubt.is_some()
    }

    /// Whether addresses may be given without a look at contests and holds.
    pub(super) fn is_unrestricted(&self) -> bool {
        !self.is_holding_all() && self.holds.takeover.is_none() && self.contests.is_empty()
    }

    /// The time is known, or others came or went: looks whom else to hear.
    pub(super) fn advance_restart(&mut self, now: Duration) {
        let is_alone = self.others().next().is_none();
        let restart = &mut self.holds.restart;
        let is_contact = matches!(restart, Restart::Lapsed) && !is_alone;
        if matches!(restart, Restart::Fresh) || is_contact {
            *restart = Restart::Collecting {
                until: now + self.config.hold,
                survey: Survey::default(),
                has_contact: false,
            };
            self.events.push_back(Event::Held(HoldCause::Restart));
        }
        let Restart::Collecting { until, survey, .. } = &mut self.holds.restart else {
            return;
        };
        let (until, mut survey) = (*until, std::mem::take(survey));
        self.ask_for_rings(now, until, &mut survey, None);
        self.holds.restart = Restart::Collecting {
            until,
            survey,
            has_contact: !is_alone,
        };
    }

    /// Tells those present that a peer is gone, and holds what was taken over from it until they
    /// have said what they know of it.
    pub(super) fn hold_taken(&mut self, now: Duration, victim: PeerId, ranges: &[Span]) {
        let until = now + self.config.hold;
        let mut survey = Survey::default();
        self.ask_for_rings(now, until, &mut survey, Some(victim));
        if ranges.is_empty() || survey.awaited.is_empty() || self.config.hold.is_zero() {
            return;
        }
        let mut spans = ranges.to_vec();
        if let Some(hold) = &self.holds.takeover {
            spans.extend(&hold.spans);
        }
        spans.sort_unstable();
        self.holds.takeover = Some(TakeoverHold {
            spans: coalesce(spans),
            until,
            survey,
        });
        self.events.push_back(Event::Held(HoldCause::Takeover));
    }

    /// The ring of a peer was seen, or the peer has none.
    pub(super) fn heard(&mut self, now: Duration, peer: PeerId) {
        self.holds.heard(peer);
        self.review_holds(now);
    }

    /// Ends what is over, and tries again what waited for it.
    pub(super) fn review_holds(&mut self, now: Duration) {
        let is_started = self.review_restart(now);
        let is_taken = self.review_takeover(now);
        let is_sure = self.review_doubt(now);
        if (is_started || is_taken || is_sure) && !self.is_holding_all() {
            self.retry(now);
        }
    }

    /// Asks everybody for their ring who has not been asked in this survey, and says who is gone.
    pub(super) fn ask_for_rings(
        &mut self,
        now: Duration,
        until: Duration,
        survey: &mut Survey,
        gone: Option<PeerId>,
    ) {
        let owners = self.ring.peers();
        let room = MAX_ASKED - survey.asked.len().min(MAX_ASKED);
        let others: Vec<PeerId> = self
            .others()
            .filter(|peer| !survey.asked.contains(peer))
            .take(room)
            .collect();
        for peer in others {
            let patience = if owners.contains(&peer) {
                until
            } else {
                until.min(now + BYSTANDER)
            };
            survey.asked.insert(peer);
            survey.awaited.insert(peer, patience);
            self.queue(match gone {
                Some(gone) => Unicast::Removed(peer, gone),
                None => Unicast::RingRequest(peer),
            });
        }
    }

    /// What is held and why, for people.
    pub(super) fn hold_status(&self) -> Vec<HoldStatus> {
        let all = || vec![self.universe.to_string()];
        let mut list = Vec::new();
        match &self.holds.restart {
            Restart::Collecting { until, survey, .. } => list.push(HoldStatus {
                cause: HoldCause::Restart,
                ranges: all(),
                until: *until,
                awaited: survey.awaited.keys().copied().collect(),
            }),
            Restart::Announced { until } => list.push(HoldStatus {
                cause: HoldCause::Restart,
                ranges: all(),
                until: *until,
                awaited: Vec::new(),
            }),
            Restart::Fresh | Restart::Lapsed | Restart::Over => {}
        }
        if let Some(hold) = &self.holds.takeover {
            let family = self.universe.family;
            let ranges = hold.spans.iter().map(|span| AddressRange {
                family,
                span: *span,
            });
            list.push(HoldStatus {
                cause: HoldCause::Takeover,
                ranges: ranges.map(|range| range.to_string()).collect(),
                until: hold.until,
                awaited: hold.survey.awaited.keys().copied().collect(),
            });
        }
        if let Some(doubt) = &self.doubt {
            list.push(HoldStatus {
                cause: HoldCause::Doubt,
                ranges: all(),
                until: doubt.until,
                awaited: Vec::new(),
            });
        }
        list
    }

    /// The peers in the network, without ourselves.
    pub(super) fn others(&self) -> impl Iterator<Item = PeerId> {
        let us = self.config.peer;
        self.reachable
            .iter()
            .copied()
            .filter(move |peer| *peer != us)
    }

    fn review_restart(&mut self, now: Duration) -> bool {
        let knows_nobody = self.knows_nobody();
        let end = match &mut self.holds.restart {
            Restart::Collecting {
                until,
                survey,
                has_contact,
            } => {
                survey.review(now, &self.reachable);
                let is_heard = *has_contact && survey.awaited.is_empty();
                let is_late = now >= *until;
                match (is_heard || is_late && *has_contact, is_late) {
                    (true, true) => Restart::Over,
                    (true, false) => Restart::Announced {
                        until: (*until).min(now + SETTLE),
                    },
                    (false, true) => Restart::Lapsed,
                    (false, false) if knows_nobody => Restart::Lapsed,
                    (false, false) => return false,
                }
            }
            Restart::Announced { until } if now >= *until => {
                self.holds.restart = Restart::Over;
                self.events.push_back(Event::HoldOver(HoldCause::Restart));
                return true;
            }
            _ => return false,
        };
        let is_heard = !matches!(end, Restart::Lapsed);
        let is_over = !end.is_held();
        self.holds.restart = end;
        if is_heard {
            self.announce_ourselves();
        }
        if is_over {
            self.events.push_back(Event::HoldOver(HoldCause::Restart));
        }
        is_over
    }

    fn review_takeover(&mut self, now: Duration) -> bool {
        let Some(hold) = &mut self.holds.takeover else {
            return false;
        };
        hold.survey.review(now, &self.reachable);
        if now < hold.until && !hold.survey.awaited.is_empty() {
            return false;
        }
        self.holds.takeover = None;
        self.events.push_back(Event::HoldOver(HoldCause::Takeover));
        true
    }

    /// Whether there is nobody who could know more than we do: no other owner, no target, no peer.
    fn knows_nobody(&self) -> bool {
        let us = self.config.peer;
        let is_alone = self.is_reach_told && self.targets == 0 && self.others().next().is_none();
        is_alone && self.ring.entries().iter().all(|entry| entry.peer == us)
    }

    /// Raises our entries, so that whoever else edits them sees that we do.
    pub(super) fn announce_ourselves(&mut self) {
        let by = 1 + u32::try_from(self.config.uid % 32).unwrap_or_default();
        if Arc::make_mut(&mut self.ring).raise(by) {
            self.is_dirty = true;
            self.is_broadcast_due = true;
        }
    }
}
