//! Which of our own addresses are in use.
//!
//! A [`Space`] is what we own (disjoint intervals, of each how many addresses are free) and which of
//! it is taken (a tree of bitmaps that has branches only where a bit is set). Invariant: every set
//! bit lies in an interval we own. A peer that owns an IPv6 /64 with three addresses in use holds
//! one interval and at most three small bitmaps.
//!
//! *Cost*: taking, claiming and releasing an address looks at one interval and one branch of the
//! tree, however many intervals and holes there are. *Memory bound*: 160 bytes an interval; 280 bytes
//! for each address in use when they lie scattered, a fifth of a byte when dense.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::span::{Family, Span, difference};

mod bitmap;
mod block;
mod cooling;
mod donate;

use self::bitmap::Bitmap;
use self::cooling::Cooling;

/// The addresses a peer owns, free and taken.
#[derive(Clone, Debug)]
pub struct Space {
    family: Family,
    /// First address and end of what we own. Intervals that touch are one.
    owned: BTreeMap<u128, u128>,
    /// Those of the intervals, by first address, that have a free address, and `drained`.
    open: BTreeMap<u128, Open>,
    /// The interval whose last free address was taken last. It stays in `open` until another takes its
    /// place, so that taking and freeing one address in turn does not change the map each time.
    drained: Option<u128>,
    taken: Bitmap,
    /// Released addresses that still count as taken.
    cooling: Cooling,
}

/// Addresses we own, not all of them taken.
#[derive(Clone, Copy, Debug)]
struct Open {
    end: u128,
    free: u128,
}

impl Space {
    /// Owns nothing.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self {
            family,
            owned: BTreeMap::new(),
            open: BTreeMap::new(),
            drained: None,
            taken: Bitmap::default(),
            cooling: Cooling::default(),
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
            self.disown(from);
        }
        self.own(Span::between(start, end));
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
        for number in self.cooling.remove_span(span) {
            self.taken.clear(number);
        }
        let used = self.taken.clear_span(span);
        for owned in touched {
            self.disown(owned.start());
            for rest in difference(&[owned], &[span]) {
                self.own(rest);
            }
        }
        used
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
        let number = self.next_free(span)?;
        self.take(number);
        Some(number)
    }

    /// Takes the address of a span that has cooled down longest, before its time.
    pub fn allocate_cooling(&mut self, span: Span) -> Option<u128> {
        let number = self.cooling.first_in(span)?;
        self.cooling.remove(number);
        Some(number)
    }

    /// Whether the address was released and has not cooled down yet.
    #[must_use]
    pub fn is_cooling(&self, number: u128) -> bool {
        self.cooling.contains(number)
    }

    /// Takes one address.
    ///
    /// # Errors
    ///
    /// [`SpaceError::NotFree`] if it is not ours or is taken; an address that cools down is free
    /// for a claim.
    pub fn claim(&mut self, number: u128) -> Result<(), SpaceError> {
        if self.cooling.remove(number) {
            return Ok(());
        }
        if !self.owns(number) || self.taken.contains(number) {
            return Err(SpaceError::NotFree(self.family.address(number)));
        }
        self.take(number);
        Ok(())
    }

    /// Releases one address; it can be taken again at once.
    ///
    /// # Errors
    ///
    /// [`SpaceError::NotOurs`] if it is not ours or not in use.
    pub fn free(&mut self, number: u128) -> Result<(), SpaceError> {
        if self.cooling.contains(number) || !self.give_back(number) {
            return Err(SpaceError::NotOurs(self.family.address(number)));
        }
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
        let due = self.cooling.remove_due(now);
        for number in &due {
            self.give_back(*number);
        }
        due
    }

    /// When the next address has cooled down.
    #[must_use]
    pub fn next_thaw(&self) -> Option<Duration> {
        self.cooling.next_due()
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
        self.taken.contains(number) && !self.cooling.contains(number)
    }

    /// Whether any address of the span is ours and not free.
    #[must_use]
    pub fn uses(&self, span: Span) -> bool {
        self.taken.next_set(span.start(), span.end()) < span.end()
    }

    /// Free addresses in a span.
    #[must_use]
    pub fn count_free(&self, span: Span) -> u128 {
        let parts = touching(&self.open, span).map(|(start, open)| {
            let whole = Span::between(*start, open.end);
            match whole.intersection(span) {
                Some(part) if part != whole => part.size() - self.taken.count(part),
                Some(_) => open.free,
                None => 0,
            }
        });
        parts.sum()
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

    /// The lowest free address of a span.
    fn next_free(&self, span: Span) -> Option<u128> {
        let open = touching(&self.open, span).filter(|(_, open)| open.free > 0);
        { open }.find_map(|(start, open)| {
            let (from, end) = (span.start().max(*start), span.end().min(open.end));
            let number = self.taken.next_clear(from, end);
            (number < end).then_some(number)
        })
    }

    /// The intervals that touch a span, whole.
    fn owned_touching(&self, span: Span) -> impl Iterator<Item = Span> {
        touching(&self.owned, span)
            .map(|(start, end)| Span::between(*start, *end))
            .filter(move |owned| owned.intersection(span).is_some())
    }

    /// The parts of a span that are ours.
    fn owned_in(&self, span: Span) -> impl Iterator<Item = Span> {
        self.owned_touching(span)
            .filter_map(move |owned| owned.intersection(span))
    }

    // ===== keeping intervals and bits together =====

    /// Marks a free address of ours as taken.
    fn take(&mut self, number: u128) {
        self.taken.set(number);
        if let Some((&start, open)) = self.open.range_mut(..=number).next_back() {
            open.free -= 1;
            if open.free == 0 && self.drained != Some(start) {
                let before = self.drained.replace(start);
                self.close(before);
            }
        }
    }

    /// Marks an address as free; whether it was taken.
    fn give_back(&mut self, number: u128) -> bool {
        if !self.taken.clear(number) {
            return false;
        }
        let open = self.open.range_mut(..=number).next_back();
        if let Some((_, open)) = open.filter(|(_, open)| number < open.end) {
            open.free += 1;
        } else if let Some((&start, &end)) = self.owned.range(..=number).next_back() {
            self.open.insert(start, Open { end, free: 1 });
        }
        true
    }

    /// Notes an interval that touches no other.
    fn own(&mut self, span: Span) {
        let (start, end) = (span.start(), span.end());
        self.owned.insert(start, end);
        let free = span.size() - self.taken.count(span);
        if free > 0 {
            self.open.insert(start, Open { end, free });
        }
    }

    /// Takes an interval out of `open`, if it has no free address.
    fn close(&mut self, start: Option<u128>) {
        let Some(start) = start else {
            return;
        };
        if self.open.get(&start).is_some_and(|open| open.free == 0) {
            self.open.remove(&start);
        }
    }

    fn disown(&mut self, start: u128) {
        self.owned.remove(&start);
        self.open.remove(&start);
    }
}

/// The intervals, by first address, that may touch a span: the last that begins in front of it or
/// with it, and those that begin inside.
fn touching<V>(intervals: &BTreeMap<u128, V>, span: Span) -> impl Iterator<Item = (&u128, &V)> {
    let first = intervals.range(..=span.start()).next_back();
    let (from, end) = (span.start().saturating_add(1), span.end());
    let rest = std::iter::once_with(move || (from < end).then(|| intervals.range(from..end)));
    first.into_iter().chain(rest.flatten().flatten())
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
