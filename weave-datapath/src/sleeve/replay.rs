//! Replay protection of one stream of one direction.
//!
//! Sequence numbers are looked at in blocks of 2^20. Two blocks are kept, the newest seen and the
//! one before it. The invariant: no sequence number is accepted twice, and nothing older than the
//! block before the newest is accepted at all (Weave Net sleeve overlay, replay section). Only
//! numbers that were authenticated may be shown to the window.

/// Bits of a sequence number inside its block.
const BLOCK_BITS: u32 = 20;
/// Numbers in one page of a block; a page exists once a number in it was seen.
const PAGE: u64 = 1 << 15;
const WORDS: usize = 512;

/// The window of one stream. Takes memory for what was seen lately: 4 KiB for a stream that starts,
/// at most 256 KiB for one that runs at full rate.
#[derive(Debug, Clone, Default)]
pub struct Window {
    block: u64,
    current: Block,
    previous: Option<Block>,
}

impl Window {
    /// An empty window at number 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes an authenticated number. `false`: it was seen before or is too old, drop the packet.
    #[must_use]
    pub fn accept(&mut self, sequence: u64) -> bool {
        let (block, offset) = (sequence >> BLOCK_BITS, sequence & ((1 << BLOCK_BITS) - 1));
        if block + 1 == self.block {
            return self
                .previous
                .as_mut()
                .is_some_and(|previous| previous.insert(offset));
        }
        if block < self.block {
            return false;
        }
        if block == self.block + 1 {
            self.previous = Some(std::mem::take(&mut self.current));
        } else if block > self.block {
            self.previous = Some(Block::default());
            self.current = Block::default();
        }
        self.block = block;
        self.current.insert(offset)
    }
}

/// A set of numbers below 2^20, in pages that are made when they are needed.
#[derive(Debug, Clone, Default)]
struct Block {
    pages: Vec<Option<Box<[u64; WORDS]>>>,
}

impl Block {
    /// Puts a number in; `false` if it is there.
    fn insert(&mut self, offset: u64) -> bool {
        let index = |number: u64| usize::try_from(number).expect("a number below 2^20");
        let (page, bit) = (index(offset / PAGE), offset % PAGE);
        if self.pages.len() <= page {
            self.pages.resize(page + 1, None);
        }
        let words = self.pages[page].get_or_insert_with(|| Box::new([0; WORDS]));
        let (word, mask) = (&mut words[index(bit / 64)], 1_u64 << (bit % 64));
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }
}
