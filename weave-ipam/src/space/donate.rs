//! Which part of our free addresses to give to a peer that asks.
//!
//! Weave Net IPAM description, section "donation": the largest aligned block, halved if it is more
//! than half of what we have free in the range, so that peers never take turns owning one block.

use super::Space;
use crate::span::Span;

impl Space {
    /// The largest aligned block of free addresses inside `span`; of equal ones the highest.
    #[must_use]
    pub fn biggest_free_range(&self, span: Span) -> Option<Span> {
        let mut best: Option<Span> = None;
        for free in self.free_spans(span) {
            let best_size = best.map_or(0, Span::size);
            if free.size() < best_size {
                continue;
            }
            let block = free.largest_block();
            if block.size() >= best_size {
                best = Some(block);
            }
        }
        best
    }

    /// What [`Space::donate`] would give.
    #[must_use]
    pub fn donation(&self, span: Span) -> Option<Span> {
        let block = self.biggest_free_range(span)?;
        if block.size() <= self.count_free(span) / 2 {
            return Some(block);
        }
        Some(Span::between(block.start() + block.size() / 2, block.end()))
    }

    /// Chooses a free range to give away and gives it up.
    pub fn donate(&mut self, span: Span) -> Option<Span> {
        let range = self.donation(span)?;
        self.remove(range);
        Some(range)
    }
}
