//! Broadcast trees of all sources at once.
//!
//! On a symmetric graph the neighbour `n` of ours is our child in the tree of source `S` exactly if
//! it is one step farther from `S` than we are and none of its neighbours with a lower name than
//! ours is as near to `S` as we are: parents are the lowest names of the level before. So what is
//! needed are sets of sources within `k` steps of a peer, for `k` = 0, 1, 2 … They are kept as
//! words of bits, for [`BLOCK`] sources at a time, and one pass over all connections takes all of
//! them one step further (`ALGORITHM.md`, law R5).

use std::collections::BTreeMap;

use super::graph::Graph;
use super::routes::Relation;
use crate::peer::PeerName;

impl Graph {
    /// For every source whose broadcasts reach `us` the neighbours to which `us` passes them on,
    /// in order. Equals [`Graph::broadcast_hops`] of each.
    ///
    /// # Panics
    /// Unless the graph is one of [`Relation::Established`], whose connections go both ways.
    #[must_use]
    pub fn broadcast_table(&self, us: PeerName) -> BTreeMap<PeerName, Vec<PeerName>> {
        assert!(
            self.relation() == Relation::Established,
            "invariant: broadcast tables are made of symmetric graphs"
        );
        let Some(us) = self.number(us) else {
            return BTreeMap::new();
        };
        let farthest = self.eccentricity(us);
        let mut hops = vec![None; self.names().len()];
        for (index, block) in hops.chunks_mut(BLOCK).enumerate() {
            self.fill(us, farthest, index * BLOCK, block);
        }
        let rows = self.names().iter().zip(hops);
        rows.filter_map(|(source, hops)| Some((*source, hops?)))
            .collect()
    }

    /// Fills in the hops for the sources from number `first` on.
    fn fill(&self, us: usize, farthest: usize, first: usize, hops: &mut [Option<Vec<PeerName>>]) {
        let mut reached = vec![Sources::default(); self.names().len()];
        for offset in 0..hops.len() {
            reached[first + offset].insert(offset);
        }
        let mut nearer = Sources::default();
        for distance in 0..=farthest {
            let here = reached[us].without(&nearer);
            nearer = reached[us];
            here.for_each(|source| hops[source] = Some(Vec::new()));
            for neighbour in self.neighbours(us) {
                let mut children = here.without(&reached[neighbour]);
                if children.is_empty() {
                    continue;
                }
                let rivals = self.neighbours(neighbour);
                for rival in rivals.take_while(|rival| *rival < us) {
                    children = children.without(&reached[rival]);
                }
                let name = self.names()[neighbour];
                children.for_each(|source| hops[source].get_or_insert_default().push(name));
            }
            if distance < farthest {
                reached = self.one_step_further(&reached);
            }
        }
    }

    fn one_step_further(&self, reached: &[Sources]) -> Vec<Sources> {
        let further = reached.iter().enumerate().map(|(peer, own)| {
            let mut sources = *own;
            for neighbour in self.neighbours(peer) {
                sources.join(&reached[neighbour]);
            }
            sources
        });
        further.collect()
    }
}

/// A set of up to [`BLOCK`] sources.
#[derive(Debug, Clone, Copy, Default)]
struct Sources([u64; WORDS]);

impl Sources {
    fn insert(&mut self, source: usize) {
        self.0[source / 64] |= 1 << (source % 64);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn join(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    fn without(mut self, other: &Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= !other;
        }
        self
    }

    fn for_each(&self, mut visit: impl FnMut(usize)) {
        for (index, word) in self.0.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                visit(index * 64 + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
    }
}

const WORDS: usize = 8;
/// Sources that are followed at a time: the sets of a thousand peers then stay in the second-level
/// cache, and those of the largest topology take one megabyte.
const BLOCK: usize = 64 * WORDS;
