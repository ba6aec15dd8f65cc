//! Asking peers for space: one outstanding request for each range.
//!
//! A request is repeated after five seconds; a peer that has said no, or has not answered, is asked
//! again only after the others. Only peers in the network are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Allocator, TICK, Unicast};
use crate::peer::PeerId;
use crate::span::{AddressRange, Span};

#[derive(Clone, Debug, Default)]
pub(super) struct Asks(BTreeMap<Span, Ask>);

#[derive(Clone, Debug)]
struct Ask {
    /// Who has been asked and has not answered.
    to: Option<PeerId>,
    /// Who has been asked before, since everyone last was.
    tried: BTreeSet<PeerId>,
    /// When the answer is overdue.
    expires: Duration,
    /// Whether those in `tried` may be asked again.
    is_due: bool,
}

impl Asks {
    /// Gives up on answers that are overdue; whether there were any.
    pub(super) fn expire(&mut self, now: Duration) -> bool {
        let mut any = false;
        for ask in self.0.values_mut().filter(|ask| ask.expires <= now) {
            any = true;
            ask.move_on();
            ask.expires = now + TICK;
            ask.is_due = true;
        }
        any
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.0.values().map(|ask| ask.expires).min()
    }

    /// Space has come into these ranges.
    pub(super) fn satisfy(&mut self, gained: &[Span]) {
        self.0.retain(|range, _| {
            gained
                .iter()
                .all(|span| span.intersection(*range).is_none())
        });
    }

    /// A peer cannot give what it was asked for, whether it said so or is gone.
    pub(super) fn drop_peer(&mut self, peer: PeerId) -> bool {
        let mut any = false;
        for ask in self.0.values_mut().filter(|ask| ask.to == Some(peer)) {
            any = true;
            ask.move_on();
        }
        any
    }

    pub(super) fn refuse(&mut self, range: Span, peer: PeerId) -> bool {
        let ask = self.0.get_mut(&range).filter(|ask| ask.to == Some(peer));
        ask.map(Ask::move_on).is_some()
    }

    pub(super) fn retain(&mut self, wanted: &BTreeSet<Span>) {
        self.0.retain(|range, _| wanted.contains(range));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn asked(&self, range: Span) -> Option<PeerId> {
        self.0.get(&range).and_then(|ask| ask.to)
    }

    fn outstanding(&self) -> Vec<(Span, PeerId)> {
        self.0
            .iter()
            .filter_map(|(range, ask)| Some((*range, ask.to?)))
            .collect()
    }
}

impl Ask {
    fn move_on(&mut self) {
        self.tried.extend(self.to.take());
    }
}

impl Allocator {
    /// Asks a peer that may have free addresses in `range`, unless one has been asked. Whether one
    /// may still answer.
    pub(super) fn ask_for_space(&mut self, now: Duration, range: Span) -> bool {
        if self.asks.asked(range).is_some() {
            return true;
        }
        let seed = self.random.next_u64();
        let mut donors = self.ring.choose_donors(range, seed);
        donors.retain(|peer| self.reachable.contains(peer));
        let ask = self.asks.0.get(&range);
        let untried = donors
            .iter()
            .find(|peer| ask.is_none_or(|ask| !ask.tried.contains(peer)));
        let again = donors.first().filter(|_| ask.is_none_or(|ask| ask.is_due));
        let Some(to) = untried.or(again).copied() else {
            return false;
        };
        self.ask(now, range, to);
        true
    }

    /// Asks the owner for one address.
    pub(super) fn ask_for_address(&mut self, now: Duration, number: u128, owner: PeerId) {
        let range = Span::single(number);
        if self.asks.asked(range) != Some(owner) {
            self.ask(now, range, owner);
        }
    }

    /// After a merge: whoever no longer reports anything free will not give anything either.
    pub(super) fn review_asks(&mut self) {
        for (range, to) in self.asks.outstanding() {
            if range.size() > 1 && !self.ring.donors(range).contains_key(&to) {
                self.asks.refuse(range, to);
            }
        }
    }

    fn ask(&mut self, now: Duration, range: Span, to: PeerId) {
        let ask = self.asks.0.entry(range).or_insert_with(|| Ask {
            to: None,
            tried: BTreeSet::new(),
            expires: now,
            is_due: false,
        });
        if ask.tried.contains(&to) {
            ask.tried.clear();
        }
        ask.to = Some(to);
        ask.is_due = false;
        ask.expires = now + TICK;
        let family = self.universe.family;
        self.queue(Unicast::Request(
            to,
            AddressRange {
                family,
                span: range,
            },
        ));
    }
}
