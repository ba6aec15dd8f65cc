//! Which of our own addresses are in use.
//!
//! A [`Space`] is what we own (disjoint intervals) and which of it is taken (bits, in chunks of
//! [`CHUNK`] addresses that exist only while a bit in them is set). Invariant: every set bit lies
//! in an interval we own. A peer that owns an IPv6 /64 with three addresses in use holds one
//! interval and at most three chunks.
//!
//! *Memory bound*: 32 bytes and tree overhead an interval; 160 bytes and tree overhead (about 200
//! in all) a chunk with a bit set. So at most about 200 bytes for each address in use when they lie
//! scattered, and a quarter of a byte for each when dense: 256 kB for a full 10.32.0.0/12.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::span::{Family, Span, difference};

mod bitmap;
mod donate;

use self::bitmap::Bitmap;
pub use self::bitmap::CHUNK;

/// The addresses a peer owns, free and taken.
#[derive(Clone, Debug)]
pub struct Space {
    family: Family,
    owned: BTreeMap<u128, u128>,
    taken: Bitmap,
    /// Released addresses that still count as taken, and until when.
    cooling: BTreeMap<u128, Duration>,
    /// No address of this interval is free: where a search may skip ahead.
    exhausted: Span,
}

impl Space {
    /// Owns nothing.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self {
            family,
            owned: BTreeMap::new(),
            taken: Bitmap::default(),
            cooling: BTreeMap::new(),
            exhausted: Span::between(0, 0),
        }
    }

    /// Adds a span; what of it was not owned yet is free. Whether anything was added.
    pub fn add(&mut self, span: Span) -> bool {
        if span.is_empty() || self.owned_in(span).any(|owned| owned == span) {
            return false;
        }
        let (mut start, mut end) = (span.start(), span.end());
        while let Some((&from, &to)) = self
            .owned
            .range(..=end)
            .next_back()
            .filter(|(_, to)| **to >= start)
        {
            start = start.min(from);
            end = end.max(to);
            self.owned.remove(&from);
        }
        self.owned.insert(start, end);
        if self.exhausted.intersection(span).is_some() {
            self.forget_exhausted(span.start().max(self.exhausted.start()));
        }
        true
    }

    /// Adds every span of a list. Whether anything was added.
    pub fn add_all(&mut self, spans: impl IntoIterator<Item = Span>) -> bool {
        spans
            .into_iter()
            .fold(false, |added, span| self.add(span) | added)
    }

    /// Gives up a span, with the addresses in use there. Returns those.
    pub fn remove(&mut self, span: Span) -> Vec<u128> {
        let touched: Vec<Span> = self.owned_touching(span).collect();
        for owned in touched {
            self.owned.remove(&owned.start());
            for rest in difference(&[owned], &[span]) {
                self.owned.insert(rest.start(), rest.end());
            }
        }
        let cooled: Vec<u128> = self
            .cooling
            .range(span.start()..span.end())
            .map(|(number, _)| *number)
            .collect();
        for number in cooled {
            self.cooling.remove(&number);
            self.taken.clear(number);
        }
        self.taken.clear_span(span)
    }

    /// Makes the space own exactly `ranges` (ascending). What is added is free; returns whether
    /// anything was, and the addresses in use that were lost.
    pub fn resize(&mut self, ranges: &[Span]) -> (bool, Vec<u128>) {
        let owned: Vec<Span> = self.owned().collect();
        let mut lost = Vec::new();
        for span in difference(&owned, ranges) {
            lost.append(&mut self.remove(span));
        }
        (self.add_all(difference(ranges, &owned)), lost)
    }

    /// Takes the lowest free address of a span.
    pub fn allocate(&mut self, span: Span) -> Option<u128> {
        let known = self.exhausted;
        let is_known = known.start() <= span.start() && span.start() <= known.end();
        let start = if is_known { known.end() } else { span.start() };
        let number = self.next_free(Span::between(start, span.end()));
        let from = if is_known {
            known.start()
        } else {
            span.start()
        };
        let to = number.map_or_else(|| span.end().max(start), |number| number + 1);
        self.exhausted = Span::between(from, to);
        self.taken.set(number?);
        number
    }

    /// Takes one address.
    ///
    /// # Errors
    ///
    /// [`SpaceError::NotFree`] if it is not ours or is taken; an address that cools down is free
    /// for a claim.
    pub fn claim(&mut self, number: u128) -> Result<(), SpaceError> {
        let is_cooling = self.cooling.remove(&number).is_some();
        if !is_cooling && (!self.owns(number) || self.taken.contains(number)) {
            return Err(SpaceError::NotFree(self.family.address(number)));
        }
        self.taken.set(number);
        Ok(())
    }

    /// Releases one address; it can be taken again at once.
    ///
    /// # Errors
    ///
    /// [`SpaceError::NotOurs`] if it is not ours or not in use.
    pub fn free(&mut self, number: u128) -> Result<(), SpaceError> {
        if !self.is_in_use(number) {
            return Err(SpaceError::NotOurs(self.family.address(number)));
        }
        self.taken.clear(number);
        self.forget_exhausted(number);
        Ok(())
    }

    /// Releases one address that [`Space::allocate`] shall not hand out, nor [`Space::donate`] give
    /// away, before `until`.
    ///
    /// # Errors
    ///
    /// [`SpaceError::NotOurs`] if it is not ours or not in use.
    pub fn free_after(&mut self, number: u128, until: Duration) -> Result<(), SpaceError> {
        if !self.is_in_use(number) {
            return Err(SpaceError::NotOurs(self.family.address(number)));
        }
        self.cooling.insert(number, until);
        Ok(())
    }

    /// Ends the cool-down of addresses whose time has come; returns them.
    pub fn thaw(&mut self, now: Duration) -> Vec<u128> {
        let due: Vec<u128> = self
            .cooling
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(n, _)| *n)
            .collect();
        for number in &due {
            self.cooling.remove(number);
            self.taken.clear(*number);
            self.forget_exhausted(*number);
        }
        due
    }

    /// When the next address has cooled down.
    #[must_use]
    pub fn next_thaw(&self) -> Option<Duration> {
        self.cooling.values().min().copied()
    }

    /// Owns nothing any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.family);
    }

    /// What we own, ascending and joined.
    pub fn owned(&self) -> impl Iterator<Item = Span> {
        self.owned
            .iter()
            .map(|(start, end)| Span::between(*start, *end))
    }

    /// Whether the address is ours.
    #[must_use]
    pub fn owns(&self, number: u128) -> bool {
        self.owned
            .range(..=number)
            .next_back()
            .is_some_and(|(_, end)| number < *end)
    }

    /// Whether the address is ours and in use.
    #[must_use]
    pub fn is_in_use(&self, number: u128) -> bool {
        self.taken.contains(number) && !self.cooling.contains_key(&number)
    }

    /// Whether any address of the span is ours and not free.
    #[must_use]
    pub fn uses(&self, span: Span) -> bool {
        self.taken.next_set(span.start(), span.end()) < span.end()
    }

    /// Free addresses in a span.
    #[must_use]
    pub fn count_free(&self, span: Span) -> u128 {
        let owned: u128 = self.owned_in(span).map(Span::size).sum();
        owned - self.taken.count(span)
    }

    /// All addresses in use.
    #[must_use]
    pub fn count_in_use(&self) -> u128 {
        self.taken.len() - u128::try_from(self.cooling.len()).unwrap_or(0)
    }

    /// The free intervals inside a span, ascending.
    pub fn free_spans(&self, span: Span) -> impl Iterator<Item = Span> {
        let mut start = span.start();
        std::iter::from_fn(move || {
            let first = self.next_free(Span::between(start, span.end()))?;
            let owned_end = self
                .owned
                .range(..=first)
                .next_back()
                .map_or(first, |(_, end)| *end);
            start = self.taken.next_set(first, owned_end.min(span.end()));
            Some(Span::between(first, start))
        })
    }

    fn next_free(&self, span: Span) -> Option<u128> {
        self.owned_in(span).find_map(|owned| {
            let number = self.taken.next_clear(owned.start(), owned.end());
            (number < owned.end()).then_some(number)
        })
    }

    /// The intervals that touch a span, whole.
    fn owned_touching(&self, span: Span) -> impl Iterator<Item = Span> {
        let before = self.owned.range(..span.start()).next_back();
        let inside = self.owned.range(span.start()..span.end());
        before
            .into_iter()
            .chain(inside)
            .map(|(start, end)| Span::between(*start, *end))
            .filter(move |owned| owned.intersection(span).is_some())
    }

    /// The parts of a span that are ours.
    fn owned_in(&self, span: Span) -> impl Iterator<Item = Span> {
        self.owned_touching(span)
            .filter_map(move |owned| owned.intersection(span))
    }

    fn forget_exhausted(&mut self, number: u128) {
        let known = self.exhausted;
        if known.contains(number) {
            self.exhausted = Span::between(known.start(), number);
        }
    }
}

/// An address is not in the state the operation needs. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// Not owned, or taken already.
    #[error("Address {0} is not free to claim")]
    NotFree(IpAddr),
    /// Not owned, or not in use.
    #[error("Address {0} is not ours")]
    NotOurs(IpAddr),
}
