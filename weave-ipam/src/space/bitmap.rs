//! A sparse bitmap over address numbers: trees of a million addresses that exist only while they
//! hold a set bit.

use std::collections::BTreeMap;

use super::block::{Block, Chunk, Node};
use crate::span::Span;

/// A million addresses: 64 times 64 chunks of 256.
type Tree = Node<Node<Chunk>>;
const WIDTH: u128 = 1 << 20;

/// Invariant: all blocks hold a set bit, but for one at most, which holds `vacant`. It stays so
/// that taking and freeing a single address in turn does not make and drop it each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    trees: BTreeMap<u128, Tree>,
    len: u128,
    vacant: Option<u128>,
}

impl Bitmap {
    pub(super) fn set(&mut self, number: u128) {
        let (key, at) = place(number);
        let tree = self.trees.entry(key).or_insert_with(Tree::empty);
        self.len += u128::from(tree.set(at));
    }

    /// Clears a bit; whether it was set.
    pub(super) fn clear(&mut self, number: u128) -> bool {
        let (key, at) = place(number);
        let was_set = self.trees.get_mut(&key).is_some_and(|tree| tree.clear(at));
        if !was_set {
            return false;
        }
        self.len -= 1;
        match self.vacant {
            Some(vacant) if vacant / CHUNK == number / CHUNK => {}
            _ => {
                self.prune();
                self.vacant = Some(number);
            }
        }
        true
    }

    /// Clears every bit of a span and returns which were set.
    pub(super) fn clear_span(&mut self, span: Span) -> Vec<u128> {
        let mut numbers = Vec::new();
        let mut next = self.next_set(span.start(), span.end());
        while next < span.end() {
            numbers.push(next);
            self.clear(next);
            next = self.next_set(next, span.end());
        }
        numbers
    }

    pub(super) fn contains(&self, number: u128) -> bool {
        let (key, at) = place(number);
        self.trees.get(&key).is_some_and(|tree| tree.contains(at))
    }

    /// The first set bit in `[from, end)`, else `end`.
    pub(super) fn next_set(&self, from: u128, end: u128) -> u128 {
        if from >= end {
            return end;
        }
        let (first, at) = place(from);
        let (last, _) = place(end - 1);
        for (key, tree) in self.trees.range(first..=last) {
            let skip = if *key == first { at } else { 0 };
            if let Some(found) = tree.next_one(skip) {
                return (key * WIDTH + widen(found)).min(end);
            }
        }
        end
    }

    /// The first clear bit in `[from, end)`, else `end`.
    pub(super) fn next_clear(&self, from: u128, end: u128) -> u128 {
        if from >= end {
            return end;
        }
        let (first, at) = place(from);
        let mut expected = first;
        for (key, tree) in self.trees.range(first..) {
            if *key != expected || expected * WIDTH >= end {
                break;
            }
            let skip = if *key == first { at } else { 0 };
            if let Some(found) = tree.next_zero(skip) {
                return (key * WIDTH + widen(found)).min(end);
            }
            expected += 1;
        }
        (expected * WIDTH).clamp(from, end)
    }

    /// Set bits in a span.
    pub(super) fn count(&self, span: Span) -> u128 {
        if span.is_empty() {
            return 0;
        }
        let (first, low) = place(span.start());
        let (last, high) = place(span.end() - 1);
        let ones = self.trees.range(first..=last).map(|(key, tree)| {
            let from = if *key == first { low } else { 0 };
            let to = if *key == last { high + 1 } else { Tree::SIZE };
            tree.count(from, to)
        });
        ones.map(widen).sum()
    }

    /// Set bits in all.
    pub(super) const fn len(&self) -> u128 {
        self.len
    }

    /// Drops the block that became empty last, if it still is.
    fn prune(&mut self) {
        let Some((key, at)) = self.vacant.take().map(place) else {
            return;
        };
        let Some(tree) = self.trees.get_mut(&key) else {
            return;
        };
        if tree.ones() == 0 {
            self.trees.remove(&key);
        } else {
            tree.prune(at);
        }
    }
}

/// Addresses in the smallest block.
const CHUNK: u128 = 256;

/// The tree of a number, and the number's place in it.
fn place(number: u128) -> (u128, usize) {
    let at = usize::try_from(number % WIDTH).expect("invariant: a remainder of 2^20 fits usize");
    (number / WIDTH, at)
}

fn widen(at: usize) -> u128 {
    u128::try_from(at).expect("invariant: usize has at most 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widths_of_blocks_are_what_is_said() {
        assert_eq!((widen(Tree::SIZE), widen(Chunk::SIZE)), (WIDTH, CHUNK));
    }

    #[test]
    fn trees_come_and_go_with_their_bits_and_one_stays() {
        let mut bitmap = Bitmap::default();

        bitmap.set(1 << 100);
        bitmap.set(5);
        bitmap.clear(5);
        assert_eq!((bitmap.trees.len(), bitmap.len()), (2, 1));
        bitmap.set(1 << 90);
        bitmap.clear(1 << 90);

        assert_eq!((bitmap.trees.len(), bitmap.len()), (2, 1));
        assert_eq!(bitmap.next_set(0, u128::MAX), 1 << 100);
    }

    #[test]
    fn the_search_crosses_full_blocks_and_trees() {
        let base = WIDTH - 1500;
        let mut bitmap = Bitmap::default();
        (base..base + 3000).for_each(|number| bitmap.set(number));

        assert_eq!(bitmap.next_clear(base + 10, base + 10_000), base + 3000);
        assert_eq!(bitmap.next_clear(base + 10, base + 2000), base + 2000);
        assert_eq!(bitmap.next_set(base + 3000, base + 10_000), base + 10_000);
        let span = Span::between(base + 1000, base + 9000);
        assert_eq!(bitmap.count(span), 2000);
    }
}
