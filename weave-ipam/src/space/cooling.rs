//! Released addresses that still count as taken, and until when.
//!
//! Invariant: both maps hold the same pairs, so that neither finding an address nor finding the
//! next that is due takes a look at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::span::Span;

#[derive(Clone, Debug, Default)]
pub(super) struct Cooling {
    until: BTreeMap<u128, Duration>,
    order: BTreeSet<(Duration, u128)>,
}

impl Cooling {
    pub(super) fn insert(&mut self, number: u128, until: Duration) {
        self.remove(number);
        self.until.insert(number, until);
        self.order.insert((until, number));
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, number: u128) -> bool {
        let until = self.until.remove(&number);
        until.is_some_and(|until| self.order.remove(&(until, number)))
    }

    /// Takes out those of a span, in ascending order.
    pub(super) fn remove_span(&mut self, span: Span) -> Vec<u128> {
        let range = self.until.range(span.start()..span.end());
        let numbers: Vec<u128> = range.map(|(number, _)| *number).collect();
        for number in &numbers {
            self.remove(*number);
        }
        numbers
    }

    /// Takes out those whose time has come, in ascending order.
    pub(super) fn remove_due(&mut self, now: Duration) -> Vec<u128> {
        let mut due = Vec::new();
        while let Some((_, number)) = self.order.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(number);
            due.push(number);
        }
        due.sort_unstable();
        due
    }

    /// The one of a span that has been here longest.
    pub(super) fn first_in(&self, span: Span) -> Option<u128> {
        let numbers = self.order.iter().map(|(_, number)| *number);
        { numbers }.find(|number| span.contains(*number))
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.order.first().map(|(until, _)| *until)
    }

    pub(super) fn contains(&self, number: u128) -> bool {
        self.until.contains_key(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}
