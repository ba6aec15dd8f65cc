//! A sparse bitmap over address numbers: chunks that exist only while they hold a set bit.

use std::collections::BTreeMap;

use bitvec::array::BitArray;
use bitvec::order::Lsb0;

use crate::span::Span;

/// Addresses in one chunk.
pub const CHUNK: usize = 1024;
const WIDTH: u128 = 1024;

#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    chunks: BTreeMap<u128, Chunk>,
    len: u128,
}

#[derive(Clone, Debug)]
struct Chunk {
    bits: BitArray<[u64; CHUNK / 64], Lsb0>,
    ones: usize,
}

impl Bitmap {
    pub(super) fn set(&mut self, number: u128) {
        let (key, index) = place(number);
        let chunk = self.chunks.entry(key).or_insert_with(Chunk::empty);
        if !chunk.bits.replace(index, true) {
            chunk.ones += 1;
            self.len += 1;
        }
    }

    pub(super) fn clear(&mut self, number: u128) {
        let (key, index) = place(number);
        let Some(chunk) = self.chunks.get_mut(&key) else {
            return;
        };
        if chunk.bits.replace(index, false) {
            chunk.ones -= 1;
            self.len -= 1;
            if chunk.ones == 0 {
                self.chunks.remove(&key);
            }
        }
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
        let (key, index) = place(number);
        self.chunks.get(&key).is_some_and(|chunk| chunk.bits[index])
    }

    /// The first set bit in `[from, end)`, else `end`.
    pub(super) fn next_set(&self, from: u128, end: u128) -> u128 {
        if from >= end {
            return end;
        }
        let (first, index) = place(from);
        let (last, _) = place(end - 1);
        for (key, chunk) in self.chunks.range(first..=last) {
            let skip = if *key == first { index } else { 0 };
            if let Some(offset) = chunk.bits[skip..].first_one() {
                return (key * WIDTH + offset_of(skip + offset)).min(end);
            }
        }
        end
    }

    /// The first clear bit in `[from, end)`, else `end`.
    pub(super) fn next_clear(&self, from: u128, end: u128) -> u128 {
        if from >= end {
            return end;
        }
        let (first, index) = place(from);
        let mut expected = first;
        for (key, chunk) in self.chunks.range(first..) {
            if *key != expected || expected * WIDTH >= end {
                break;
            }
            let skip = if *key == first { index } else { 0 };
            if chunk.ones < CHUNK
                && let Some(offset) = chunk.bits[skip..].first_zero()
            {
                return (key * WIDTH + offset_of(skip + offset)).min(end);
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
        let ones = self.chunks.range(first..=last).map(|(key, chunk)| {
            if *key != first && *key != last {
                return chunk.ones;
            }
            let from = if *key == first { low } else { 0 };
            let to = if *key == last { high } else { CHUNK - 1 };
            chunk.bits[from..=to].count_ones()
        });
        ones.map(offset_of).sum()
    }

    /// Set bits in all.
    pub(super) const fn len(&self) -> u128 {
        self.len
    }
}

impl Chunk {
    fn empty() -> Self {
        Self {
            bits: BitArray::ZERO,
            ones: 0,
        }
    }
}

fn place(number: u128) -> (u128, usize) {
    let index = usize::try_from(number % WIDTH).expect("invariant: a remainder of 1024 fits usize");
    (number / WIDTH, index)
}

fn offset_of(index: usize) -> u128 {
    u128::try_from(index).expect("invariant: usize has at most 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_and_go_with_their_bits() {
        let mut bitmap = Bitmap::default();

        bitmap.set(1 << 100);
        bitmap.set(5);
        bitmap.clear(5);

        assert_eq!((bitmap.chunks.len(), bitmap.len()), (1, 1));
    }

    #[test]
    fn the_search_crosses_full_chunks() {
        let mut bitmap = Bitmap::default();
        (0..3000).for_each(|number| bitmap.set(number));

        assert_eq!(bitmap.next_clear(10, 10_000), 3000);
        assert_eq!(bitmap.next_clear(10, 2000), 2000);
        assert_eq!(bitmap.next_set(3000, 10_000), 10_000);
        assert_eq!(bitmap.count(Span::between(1000, 9000)), 2000);
    }
}
