//! The invariants of a ring.

use super::{Ring, hint};
use crate::span::Family;

impl Ring {
    /// Whether tokens ascend, are unique and lie in the universe, and no entry reports more free
    /// addresses than its range has. Looked at in this order, each over the whole ring.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Violation> {
        if self.is_sound() {
            return Ok(());
        }
        self.first_violation()
    }

    /// All the rules in one pass.
    fn is_sound(&self) -> bool {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return true;
        };
        let pairs = self.entries.iter().zip(&self.entries[1..]);
        self.contains(first.token)
            && self.contains(last.token)
            && u128::from(last.free) <= self.distance(last.token, first.token)
            && { pairs }.all(|(entry, next)| {
                entry.token < next.token && u128::from(entry.free) <= next.token - entry.token
            })
    }

    fn first_violation(&self) -> Result<(), Violation> {
        let pairs = || self.entries.iter().zip(self.entries.iter().skip(1));
        if pairs().any(|(entry, next)| entry.token > next.token) {
            return Err(Violation::NotSorted);
        }
        if pairs().any(|(entry, next)| entry.token == next.token) {
            return Err(Violation::Duplicate);
        }
        if self.entries.iter().any(|entry| !self.contains(entry.token)) {
            return Err(Violation::OutOfRange);
        }
        for (index, entry) in self.entries.iter().enumerate() {
            let distance = self.size_at(index);
            if u128::from(entry.free) > distance {
                let next = self.entries[(index + 1) % self.entries.len()].token;
                let (family, token) = (self.family, entry.token);
                return Err(Violation::TooMuchFree {
                    family,
                    token,
                    next,
                    free: entry.free,
                    distance,
                });
            }
        }
        Ok(())
    }

    /// Lowers every hint that exceeds its range.
    pub(super) fn clip(&mut self) {
        let mut after = self.entries.first().map(|entry| entry.token);
        for index in (0..self.entries.len()).rev() {
            let entry = self.entries[index];
            let distance = after.map_or(0, |next| self.distance(entry.token, next));
            self.entries[index].free = entry.free.min(hint(distance));
            after = Some(entry.token);
        }
    }

    /// Lowers the hint at `index` if it exceeds its range.
    pub(super) fn clip_at(&mut self, index: usize) {
        let limit = hint(self.size_at(index));
        let entry = &mut self.entries[index];
        entry.free = entry.free.min(limit);
    }
}

/// A rule that a ring breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A token is followed by a smaller one.
    #[error("Ring not sorted")]
    NotSorted,
    /// Two entries have one token.
    #[error("Token appears twice in ring")]
    Duplicate,
    /// A token is not in the universe.
    #[error("Token is out of range")]
    OutOfRange,
    /// An entry claims more free addresses than it has.
    #[error(
        "Entry {}-{} reporting too much free space: {free} > {distance}",
        .family.address(*.token), .family.address(*.next)
    )]
    TooMuchFree {
        /// What the tokens are.
        family: Family,
        /// The entry.
        token: u128,
        /// The token after it.
        next: u128,
        /// What it reports.
        free: u32,
        /// What it has.
        distance: u128,
    },
}
