//! A set of addresses of a small universe, as offsets from its start.

use crate::span::Span;

/// Universes of simulated networks have at most this many addresses.
pub(super) const LIMIT: usize = 256;

/// One bit an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; LIMIT / 64]);

impl Bits {
    pub(super) const EMPTY: Self = Self([0; LIMIT / 64]);

    /// The addresses of the spans that lie in the universe.
    pub(super) fn of(universe: Span, spans: impl IntoIterator<Item = Span>) -> Self {
        let mut bits = Self::default();
        for span in spans {
            for number in span.start().max(universe.start())..span.end().min(universe.end()) {
                bits.insert(offset(universe, number));
            }
        }
        bits
    }

    pub(super) const fn insert(&mut self, offset: usize) {
        self.0[offset / 64] |= 1 << (offset % 64);
    }

    pub(super) const fn contains(&self, offset: usize) -> bool {
        self.0[offset / 64] & 1 << (offset % 64) != 0
    }

    pub(super) fn both(&self, other: &Self) -> Self {
        let mut both = *self;
        for (word, other) in both.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        both
    }

    /// The first address in both sets.
    pub(super) fn common(&self, other: &Self) -> Option<usize> {
        (0..LIMIT).find(|offset| self.contains(*offset) && other.contains(*offset))
    }

    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| a & b == 0)
    }
}

/// Where an address of the universe stands.
pub(super) fn offset(universe: Span, number: u128) -> usize {
    usize::try_from(number - universe.start()).unwrap_or(usize::MAX)
}
