//! Leaving, and taking over what others left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::event::TakeoverRefusal;
use super::pending::Kind;
use super::{Allocator, Event, Ticket};
use crate::peer::PeerId;

impl Allocator {
    /// Takes over all space of a peer that is gone, named by nickname or name. Returns how many
    /// addresses are free in it after waiting requests have been served; 0 if the peer owns
    /// nothing, is not known, or is in the network ([`Event::TakeoverRefused`] says which).
    ///
    /// Everyone in the network is told that the peer is gone, so what it contested is settled, also
    /// if it owns nothing.
    ///
    /// A peer that is alive elsewhere, behind a partition, cannot be told from one that is gone.
    pub fn takeover(&mut self, now: Duration, peer: &str) -> u128 {
        self.try_takeover(now, peer).unwrap_or_else(|reason| {
            let peer = peer.to_owned();
            let event = Event::TakeoverRefused { peer, reason };
            self.events.push_back(event);
            0
        })
    }

    /// Like [`Allocator::takeover`], but says why it is not done. While other peers are in the
    /// network, what was gained is not given before they had their say ([`Config::hold`]).
    ///
    /// # Errors
    ///
    /// [`TakeoverRefusal`]; nothing has changed then.
    ///
    /// [`Config::hold`]: crate::Config::hold
    pub fn try_takeover(&mut self, now: Duration, peer: &str) -> Result<u128, TakeoverRefusal> {
        let victim = self.victim(peer)?;
        let gained = self.take_from(now, victim);
        self.commit(now);
        Ok(gained)
    }

    /// Leaves: cancels what waits, hands all space to an heir and refuses further requests. With
    /// nobody to inherit it, the space stays ours: it is lost to no one. Who
    /// holds our addresses stays recorded. Messages are still answered.
    pub fn shutdown(&mut self, now: Duration) {
        self.is_shut_down = true;
        self.is_awaiting = false;
        for ticket in self.pending.in_order() {
            self.cancel_with_error(ticket);
        }
        self.pending.drop_keeps();
        let us = self.config.peer;
        if !self.ring.ranges_of(us).is_empty()
            && let Some(heir) = self.heir()
        {
            Arc::make_mut(&mut self.ring).transfer(us, heir);
            self.is_dirty = true;
            self.is_broadcast_due = true;
        }
        self.space.clear();
        self.commit(now);
    }

    fn victim(&self, peer: &str) -> Result<PeerId, TakeoverRefusal> {
        let mut bearers = self
            .nicknames
            .iter()
            .filter(|(_, nickname)| *nickname == peer)
            .map(|(name, _)| *name);
        let victim = match (bearers.next(), bearers.next()) {
            (Some(_), Some(_)) => return Err(TakeoverRefusal::Ambiguous),
            (Some(name), None) => name,
            (None, _) => peer.parse().map_err(|_| TakeoverRefusal::Unknown)?,
        };
        if victim == self.config.peer {
            return Err(TakeoverRefusal::Ourselves);
        }
        if self.reachable.contains(&victim) {
            return Err(TakeoverRefusal::Alive);
        }
        Ok(victim)
    }

    fn take_from(&mut self, now: Duration, victim: PeerId) -> u128 {
        if self.is_shut_down {
            return 0;
        }
        let ranges = Arc::make_mut(&mut self.ring).transfer(victim, self.config.peer);
        tracing::debug!(%victim, ranges = ranges.len(), "taken over");
        let is_settled = self.contests.forget(victim);
        self.hold_taken(now, victim, &ranges);
        if !ranges.is_empty() {
            self.follow_ring();
            self.is_broadcast_due = true;
        }
        if is_settled || !ranges.is_empty() {
            self.retry(now);
        }
        ranges
            .into_iter()
            .map(|range| self.space.count_free(range))
            .sum()
    }

    /// First a peer in the network that owns something, in ring order; then any peer in the
    /// network; then any owner; then anyone we know by nickname.
    fn heir(&self) -> Option<PeerId> {
        let us = self.config.peer;
        let owners = || self.ring.entries().iter().map(|entry| entry.peer);
        let known = || self.nicknames.keys().copied();
        let is_reachable = |peer: &PeerId| self.reachable.contains(peer);
        let candidates: BTreeSet<PeerId> = self.reachable.iter().copied().collect();
        owners()
            .filter(is_reachable)
            .chain(known().filter(is_reachable))
            .chain(candidates)
            .chain(owners())
            .chain(known())
            .find(|peer| *peer != us && *peer != PeerId::NONE)
    }

    pub(super) fn cancel_with_error(&mut self, ticket: Ticket) {
        if let Some(request) = self.pending.take(ticket)
            && !matches!(request.kind, Kind::Keep(_))
        {
            let result = Err(super::Error::Cancelled(request.kind.describe()));
            self.events.push_back(Event::Settled { ticket, result });
        }
    }
}
