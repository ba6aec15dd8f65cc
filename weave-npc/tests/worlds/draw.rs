//! A generator of numbers that gives the same sequence for the same seed everywhere.

/// A sequence of numbers: of a seed without end, or of bytes and then zeros.
#[derive(Clone, Debug)]
pub(crate) enum Draw {
    /// The state of a `SplitMix64`.
    Seed(u64),
    /// The bytes that are left.
    Bytes(std::collections::VecDeque<u8>),
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self::Seed(seed)
    }

    /// Draws from `bytes`, so that a fuzzer decides.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.iter().copied().collect())
    }

    pub(crate) fn next(&mut self) -> u64 {
        let state = match self {
            Self::Bytes(left) => return left.pop_front().unwrap_or(0).into(),
            Self::Seed(state) => state,
        };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("less than a usize")
    }

    /// True in `percent` of cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`.
    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// A list of up to `most` items.
    pub(crate) fn list<T>(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| item(self)).collect()
    }
}
