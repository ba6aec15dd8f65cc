//! What peers say.
//!
//! Nothing here fails: what cannot be used is reported as an event and otherwise ignored. What is
//! kept of a message is bounded by the bounds of the ring, the votes and the nicknames.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Allocator, Event, Refusal, Unicast};
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::ring::{MergeError, Ring};
use crate::span::{AddressRange, Span};

/// Nicknames kept, and the length of one in bytes; others are left out.
const MAX_NICKNAMES: usize = 4096;
const MAX_NICKNAME: usize = 255;

/// Sources whose last refusal is kept.
const MAX_REFUSALS: usize = 64;

impl Allocator {
    /// Which peers are in the network, and how many targets we are configured to connect to (for
    /// the quorum, where the number of peers was not given).
    pub fn handle_reachable(&mut self, now: Duration, peers: BTreeSet<PeerId>, targets: usize) {
        let gone: Vec<PeerId> = self.reachable.difference(&peers).copied().collect();
        let has_news = !peers.is_subset(&self.reachable);
        self.reachable = peers;
        self.targets = targets;
        self.is_reach_told = true;
        self.advance_restart(now);
        let owners = if gone.is_empty() {
            BTreeSet::new()
        } else {
            self.ring.peers()
        };
        for peer in &gone {
            if !owners.contains(peer) && *peer != self.config.peer {
                self.nicknames.remove(peer);
            }
            self.refusals.remove(&Some(*peer));
        }
        let is_ask_dropped = gone
            .iter()
            .fold(false, |any, peer| self.asks.drop_peer(*peer) | any);
        let is_settled = self.contests.drop_overruled(&self.reachable);
        if (has_news || is_ask_dropped || is_settled) && !self.ring.is_empty() {
            self.retry(now);
        }
        self.review_holds(now);
        self.commit(now);
    }

    /// A message to us.
    pub fn handle_unicast(&mut self, now: Duration, from: PeerId, message: Message) {
        if from == self.config.peer {
            return;
        }
        match message {
            Message::SpaceRequest(range) => self.give(from, range),
            Message::RingUpdate(state) => {
                self.receive(now, Some(from), state);
            }
            Message::SpaceDenied(range) => self.denied(now, from, range),
            Message::Removed(peer) => self.removed(now, from, peer),
        }
        self.commit(now);
    }

    /// A broadcast by `source`; its content may be that of a peer which passed it on. Whether to
    /// pass it on in turn (with our state).
    pub fn handle_broadcast(&mut self, now: Duration, source: PeerId, state: State) -> bool {
        let is_sound =
            source != self.config.peer && self.receive(now, Some(source), state).is_some();
        self.commit(now);
        is_sound
    }

    /// Periodic gossip. Whether it told us anything, so that our state is worth telling others.
    pub fn handle_gossip(&mut self, now: Duration, state: State) -> bool {
        let is_news = self.receive(now, None, state) == Some(true);
        self.commit(now);
        is_news
    }

    /// A message could not be sent because there is no way to the peer.
    pub fn handle_send_failed(&mut self, now: Duration, to: PeerId) {
        if self.asks.drop_peer(to) {
            self.retry_allocations(now);
        }
        self.commit(now);
    }

    /// `None` if the ring in it was refused, else whether our ring changed.
    fn receive(&mut self, now: Duration, source: Option<PeerId>, state: State) -> Option<bool> {
        let reporter = state.ring.as_ref().map(|ring| ring.peer());
        self.learn_nicknames([source, reporter], state.nicknames);
        if let Some(ring) = state.ring {
            let is_news = self.merge(now, source, &ring);
            self.heard(now, ring.peer());
            return is_news;
        }
        if let Some(source) = source {
            self.heard(now, source);
        }
        if !self.ring.is_empty() {
            if let Some(source) = source {
                self.send_ring_to(source);
            }
        } else if let Some(votes) = state.votes {
            self.count_votes(now, &votes);
        } else if self.paxos.is_elector() && source.is_some() {
            self.establish(now);
        }
        Some(false)
    }

    fn merge(&mut self, now: Duration, source: Option<PeerId>, theirs: &Ring) -> Option<bool> {
        let space = &self.space;
        let in_use = |span| space.uses(span);
        let before = (!self.contests.is_empty()).then(|| Arc::clone(&self.ring));
        let was_empty = self.ring.is_empty();
        let evidence = self.evidence_in(theirs);
        let merged = match Arc::make_mut(&mut self.ring).merge_confined(theirs, in_use) {
            Ok(merged) => merged,
            Err(MergeError::Seeds { .. }) if self.gives_way(theirs) => {
                if let Err(error) = self.change_sides(now, theirs) {
                    self.refuse(source, error);
                    return None;
                }
                if let Some(evidence) = evidence {
                    self.doubt(now, theirs.peer(), evidence);
                }
                return Some(true);
            }
            Err(error) => {
                self.refuse(source, error);
                return None;
            }
        };
        self.refusals.remove(&source);
        if let Some(evidence) = evidence {
            self.doubt(now, theirs.peer(), evidence);
        }
        let (news, is_settled) = self.contests.update(theirs.peer(), &merged);
        for conflict in news {
            tracing::debug!(reporter = %theirs.peer(), %conflict, "entry left out of merge");
            self.events.push_back(Event::Conflict {
                reporter: theirs.peer(),
                conflict,
            });
        }
        if let Some(before) = before.filter(|_| merged.updated) {
            self.contests
                .overrule(theirs.peer(), &before, self.ring.as_ref());
        }
        let is_settled = is_settled | self.contests.drop_overruled(&self.reachable);
        if merged.updated {
            self.follow_ring();
            self.prune_nicknames();
            self.review_asks();
            if was_empty && !self.ring.is_empty() {
                self.ring_established();
            }
        }
        if merged.updated || is_settled {
            self.retry(now);
        }
        Some(merged.updated)
    }

    /// People told `from` that a peer is gone for ever. It asks for our ring as well.
    fn removed(&mut self, now: Duration, from: PeerId, peer: PeerId) {
        let is_here = peer == self.config.peer || self.reachable.contains(&peer);
        if !is_here && self.contests.forget(peer) {
            self.retry(now);
        }
        self.receive(now, Some(from), State::request());
    }

    fn refuse(&mut self, source: Option<PeerId>, error: MergeError) {
        let named = |peers: Vec<PeerId>| {
            let names = peers.into_iter().take(MAX_REFUSALS);
            names
                .map(|peer| (peer, self.nicknames.get(&peer).cloned()))
                .collect()
        };
        let refusal = match error {
            MergeError::Seeds { ours, theirs } => Refusal::Seeds {
                received: named(theirs),
                ours: named(ours),
            },
            MergeError::Universe { ours, theirs } => Refusal::Universe {
                received: theirs,
                ours,
            },
            MergeError::Unsound(violation) | MergeError::Result(violation) => {
                Refusal::Unsound(violation)
            }
            MergeError::TooLarge(count) => Refusal::TooLarge(count),
            MergeError::Conflict(_) => return,
        };
        tracing::debug!(?source, %refusal, "ring refused");
        let is_seeds = matches!(refusal, Refusal::Seeds { .. });
        let is_known = self.refusals.get(&source) == Some(&refusal);
        if let Some(source) = source.filter(|_| is_seeds && !is_known) {
            // Whoever formed the other ring finds that it gives way.
            self.send_ring_to(source);
        }
        if self.refusals.len() < MAX_REFUSALS || self.refusals.contains_key(&source) {
            self.refusals.insert(source, refusal.clone());
        }
        self.events.push_back(Event::Refused { source, refusal });
    }

    /// A peer asks for space: give part of what is free, or say no. The ring goes last.
    fn give(&mut self, to: PeerId, wanted: AddressRange) {
        if self.ring.is_empty() || wanted.family != self.universe.family {
            return;
        }
        let offer = self.offer(wanted.span);
        let is_given = offer.is_some_and(|range| self.grant(range, to));
        // A peer of the old kind takes a denial to concern every claim in its range, so a request
        // for a subnet is refused by the ring alone: it shows that nothing is free here. What is
        // held may be given later.
        let is_held = self.available(wanted.span).is_empty();
        if !is_given && wanted.span.size() == 1 && !is_held {
            self.queue(Unicast::Denied(to, wanted));
        }
        self.send_ring_to(to);
    }

    /// What can be given of a range: the largest block, but not only an address at the edge, which
    /// nobody can use in that subnet.
    fn offer(&self, wanted: Span) -> Option<Span> {
        let hosts = Span::between(
            wanted.start().saturating_add(1),
            wanted.end().saturating_sub(1),
        );
        let is_usable = |span: &Span| wanted.size() == 1 || span.intersection(hosts).is_some();
        let block = self.largest_offer(wanted);
        block
            .filter(is_usable)
            .or_else(|| self.largest_offer(hosts).filter(is_usable))
    }

    fn largest_offer(&self, wanted: Span) -> Option<Span> {
        let offers = self.available(wanted).into_iter().filter_map(|span| {
            if span.size() == 1 && self.space.is_cooling(span.start()) {
                return Some(span);
            }
            self.space.donation(span)
        });
        offers.max_by_key(|span| span.size())
    }

    /// Whether our ring gives way to one that was formed by others.
    fn gives_way(&self, theirs: &Ring) -> bool {
        theirs.check().is_ok() && self.ring.gives_way_to(theirs)
    }

    fn grant(&mut self, range: Span, to: PeerId) -> bool {
        if Arc::make_mut(&mut self.ring).grant(range, to).is_err() {
            return false;
        }
        let range = AddressRange {
            family: self.universe.family,
            span: range,
        };
        tracing::debug!(%range, %to, "granted");
        self.space.remove(range.span);
        self.donated.ranges += 1;
        self.donated.addresses += range.span.size();
        self.touched = super::Touched::Everything;
        self.is_dirty = true;
        self.is_broadcast_due = true;
        true
    }

    fn denied(&mut self, now: Duration, from: PeerId, range: AddressRange) {
        if range.family != self.universe.family || !self.asks.refuse(range.span, from) {
            return;
        }
        if range.span.size() == 1 && self.ring.owner(range.span.start()) == Some(from) {
            self.fail_claims(range.span.start(), from);
        } else {
            self.retry(now);
        }
    }

    /// A nickname is taken from its bearer, or from anyone while none is known; ours never is.
    fn learn_nicknames(
        &mut self,
        bearers: [Option<PeerId>; 2],
        nicknames: BTreeMap<PeerId, String>,
    ) {
        for (peer, nickname) in nicknames {
            let is_known = self.nicknames.contains_key(&peer);
            let is_allowed = bearers.contains(&Some(peer)) || !is_known;
            let has_room = is_known || self.nicknames.len() < MAX_NICKNAMES;
            let is_short = nickname.len() <= MAX_NICKNAME;
            if peer != self.config.peer && is_allowed && has_room && is_short {
                self.nicknames.insert(peer, nickname);
            }
        }
    }

    pub(super) fn prune_nicknames(&mut self) {
        let owners = self.ring.peers();
        let us = self.config.peer;
        let reachable = &self.reachable;
        self.nicknames
            .retain(|peer, _| *peer == us || reachable.contains(peer) || owners.contains(peer));
    }
}
