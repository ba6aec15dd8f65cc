//! Sets of small numbers as a tree of bitmaps that has a branch only where a bit is set.
//!
//! A [`Chunk`] is a bitmap of 256. A [`Node`] is 64 blocks of a smaller kind, of which it keeps
//! those with a bit set. Invariant: `present` and `full` say of each block whether it is kept and
//! whether all its bits are set, `ones` is the sum over the blocks. So every search looks at no
//! more than two blocks of each kind, whatever is set.

use bitvec::array::BitArray;
use bitvec::order::Lsb0;

/// A set of numbers below [`Block::SIZE`].
pub(super) trait Block {
    /// How many numbers there are.
    const SIZE: usize;

    /// No number is in it.
    fn empty() -> Self;

    /// How many numbers are in it.
    fn ones(&self) -> usize;

    /// Whether the number is in it.
    fn contains(&self, at: usize) -> bool;

    /// Adds a number; whether it was not in.
    fn set(&mut self, at: usize) -> bool;

    /// Takes a number out; whether it was in. The block that held it stays, even if empty.
    fn clear(&mut self, at: usize) -> bool;

    /// Drops the block that holds this number, if nothing is in it.
    fn prune(&mut self, at: usize);

    /// The first number from `from` on that is in it.
    fn next_one(&self, from: usize) -> Option<usize>;

    /// The first number from `from` on that is not in it.
    fn next_zero(&self, from: usize) -> Option<usize>;

    /// How many numbers in `[from, to)` are in it.
    fn count(&self, from: usize, to: usize) -> usize;
}

/// A bitmap. Its words have 32 bits because wider ones cannot be had on every target.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    bits: BitArray<[u32; 8], Lsb0>,
    ones: usize,
}

impl Chunk {
    /// The first bit from `from` on that is set after `flip` is applied to its word.
    fn search(&self, from: usize, flip: u32) -> Option<usize> {
        let words = self.bits.as_raw_slice();
        let mut index = from / 32;
        let mut word = (words.get(index)? ^ flip) & (u32::MAX << (from % 32));
        while word == 0 {
            index += 1;
            word = words.get(index)? ^ flip;
        }
        Some(index * 32 + word.trailing_zeros() as usize)
    }
}

impl Block for Chunk {
    const SIZE: usize = 256;

    fn empty() -> Self {
        Self {
            bits: BitArray::ZERO,
            ones: 0,
        }
    }

    fn ones(&self) -> usize {
        self.ones
    }

    fn contains(&self, at: usize) -> bool {
        self.bits[at]
    }

    fn set(&mut self, at: usize) -> bool {
        let is_new = !self.bits.replace(at, true);
        self.ones += usize::from(is_new);
        is_new
    }

    fn clear(&mut self, at: usize) -> bool {
        let was_set = self.bits.replace(at, false);
        self.ones -= usize::from(was_set);
        was_set
    }

    fn prune(&mut self, _at: usize) {}

    fn next_one(&self, from: usize) -> Option<usize> {
        self.search(from, 0)
    }

    fn next_zero(&self, from: usize) -> Option<usize> {
        self.search(from, u32::MAX)
    }

    fn count(&self, from: usize, to: usize) -> usize {
        self.bits[from..to].count_ones()
    }
}

/// 64 blocks.
#[derive(Clone, Debug)]
pub(super) struct Node<B> {
    /// Which blocks are kept.
    present: u64,
    /// Which blocks have no clear bit.
    full: u64,
    ones: usize,
    /// The kept blocks, in order.
    blocks: Vec<B>,
}

impl<B: Block> Node<B> {
    /// The kept block with this index.
    fn block(&self, index: usize) -> Option<&B> {
        self.blocks.get(self.rank(index)?)
    }

    /// Where in `blocks` a kept block is.
    fn rank(&self, index: usize) -> Option<usize> {
        let bit = 1 << index;
        (self.present & bit != 0).then(|| count_ones(self.present & (bit - 1)))
    }

    /// The block with this index, made if it is not kept.
    fn make(&mut self, index: usize) -> &mut B {
        let bit = 1 << index;
        let rank = count_ones(self.present & (bit - 1));
        if self.present & bit == 0 {
            self.present |= bit;
            if self.blocks.len() == self.blocks.capacity() {
                let len = self.blocks.len();
                self.blocks.reserve_exact((len / 2 + 1).min(BLOCKS - len));
            }
            self.blocks.insert(rank, B::empty());
        }
        &mut self.blocks[rank]
    }
}

impl<B: Block> Block for Node<B> {
    const SIZE: usize = BLOCKS * B::SIZE;

    fn empty() -> Self {
        Self {
            present: 0,
            full: 0,
            ones: 0,
            blocks: Vec::new(),
        }
    }

    fn ones(&self) -> usize {
        self.ones
    }

    fn contains(&self, at: usize) -> bool {
        self.block(at / B::SIZE)
            .is_some_and(|block| block.contains(at % B::SIZE))
    }

    fn set(&mut self, at: usize) -> bool {
        let index = at / B::SIZE;
        let block = self.make(index);
        let is_new = block.set(at % B::SIZE);
        let is_full = block.ones() == B::SIZE;
        self.full |= u64::from(is_full) << index;
        self.ones += usize::from(is_new);
        is_new
    }

    fn clear(&mut self, at: usize) -> bool {
        let index = at / B::SIZE;
        let Some(rank) = self.rank(index) else {
            return false;
        };
        let was_set = self.blocks[rank].clear(at % B::SIZE);
        self.full &= !(u64::from(was_set) << index);
        self.ones -= usize::from(was_set);
        was_set
    }

    fn prune(&mut self, at: usize) {
        let index = at / B::SIZE;
        let Some(rank) = self.rank(index) else {
            return;
        };
        if self.blocks[rank].ones() > 0 {
            self.blocks[rank].prune(at % B::SIZE);
            return;
        }
        self.blocks.remove(rank);
        self.present &= !(1 << index);
        if self.blocks.len() < self.blocks.capacity() / 2 {
            self.blocks.shrink_to_fit();
        }
    }

    fn next_one(&self, from: usize) -> Option<usize> {
        let mut index = from / B::SIZE;
        let mut offset = from % B::SIZE;
        loop {
            let rest = self.present.checked_shr(shift(index))?;
            if rest == 0 {
                return None;
            }
            let skipped = trailing_zeros(rest);
            offset = if skipped == 0 { offset } else { 0 };
            index += skipped;
            if let Some(found) = self.block(index)?.next_one(offset) {
                return Some(index * B::SIZE + found);
            }
            (index, offset) = (index + 1, 0);
        }
    }

    fn next_zero(&self, from: usize) -> Option<usize> {
        let mut index = from / B::SIZE;
        let mut offset = from % B::SIZE;
        loop {
            let rest = (!self.full).checked_shr(shift(index))?;
            let skipped = trailing_zeros(rest);
            offset = if skipped == 0 { offset } else { 0 };
            index += skipped;
            if index >= BLOCKS {
                return None;
            }
            let found = match self.block(index) {
                Some(block) => block.next_zero(offset),
                None => Some(offset),
            };
            if let Some(found) = found {
                return Some(index * B::SIZE + found);
            }
            (index, offset) = (index + 1, 0);
        }
    }

    fn count(&self, from: usize, to: usize) -> usize {
        if (from, to) == (0, Self::SIZE) {
            return self.ones;
        }
        let mut sum = 0;
        let mut index = from / B::SIZE;
        while index * B::SIZE < to {
            if let Some(block) = self.block(index) {
                let start = from.saturating_sub(index * B::SIZE);
                let end = (to - index * B::SIZE).min(B::SIZE);
                sum += if (start, end) == (0, B::SIZE) {
                    block.ones()
                } else {
                    block.count(start, end)
                };
            }
            index += 1;
        }
        sum
    }
}

/// Blocks in a node: bits in a word.
const BLOCKS: usize = 64;

fn count_ones(word: u64) -> usize {
    word.count_ones() as usize
}

fn trailing_zeros(word: u64) -> usize {
    word.trailing_zeros() as usize
}

/// An index as the width of a shift: 64 and more shift everything out.
fn shift(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Tree = Node<Node<Chunk>>;

    fn tree(numbers: impl IntoIterator<Item = usize>) -> Tree {
        let mut tree = Tree::empty();
        for number in numbers {
            assert!(tree.set(number));
        }
        tree
    }

    #[test]
    fn a_full_tree_has_no_zero_and_counts_every_part() {
        let mut full = tree(0..Tree::SIZE);

        assert_eq!((full.ones(), full.full), (Tree::SIZE, u64::MAX));
        assert_eq!(full.next_zero(0), None);
        assert_eq!(full.count(100, 700_001), 699_901);
        assert!(full.clear(700_000) && !full.clear(700_000));
        assert_eq!(full.next_zero(3), Some(700_000));
        assert_eq!(full.next_zero(700_001), None);
        assert_eq!(full.count(0, Tree::SIZE), Tree::SIZE - 1);
    }

    #[test]
    fn searches_skip_what_is_not_kept() {
        let sparse = tree([5, 300, 20_000, Tree::SIZE - 1]);

        assert_eq!(sparse.next_one(6), Some(300));
        assert_eq!(sparse.next_one(301), Some(20_000));
        assert_eq!(sparse.next_one(20_001), Some(Tree::SIZE - 1));
        assert_eq!(tree([5]).next_one(6), None);
        assert_eq!(sparse.next_zero(5), Some(6));
        assert_eq!(sparse.next_zero(Tree::SIZE - 1), None);
    }

    #[test]
    fn what_is_empty_goes_only_when_pruned() {
        let mut tree = tree([5, 20_000]);
        tree.clear(20_000);
        assert_eq!(tree.blocks.len(), 2);
        assert_eq!(tree.next_one(6), None);

        tree.prune(5);
        tree.prune(20_000);

        assert_eq!((tree.blocks.len(), tree.present), (1, 1));
        assert!(tree.contains(5));
    }
}
