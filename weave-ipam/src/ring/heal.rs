//! Two rings that were formed separately, and raising what is ours.

use std::cmp::Reverse;

use super::{Entry, MergeError, Ring};
use crate::peer::PeerId;

impl Ring {
    /// Whether this ring gives way to one that was formed among other seeds: the one with fewer
    /// owners does; of equally many, the one with fewer seeds; of equally many, the one whose list
    /// of seeds is greater. Of two rings with different seeds exactly one gives way.
    #[must_use]
    pub fn gives_way_to(&self, theirs: &Self) -> bool {
        let weight = |ring: &Self| {
            (
                ring.peers().len(),
                ring.seeds.len(),
                Reverse(ring.seeds.clone()),
            )
        };
        weight(self) < weight(theirs)
    }

    /// Becomes a copy of another ring over the same universe, held by ourselves as before.
    ///
    /// # Errors
    ///
    /// [`MergeError::Unsound`], [`MergeError::Universe`] or [`MergeError::TooLarge`]; this ring is
    /// unchanged then.
    pub fn adopt(&mut self, theirs: &Self) -> Result<(), MergeError> {
        let mut copy = Self::new(self.universe(), self.peer);
        // Nothing is ours in an empty ring, so nothing can conflict.
        let _ = copy.merge_confined(theirs, |_| false)?;
        *self = copy;
        Ok(())
    }

    /// Raises the versions of all our entries. Whether there are any that can rise.
    pub fn raise(&mut self, by: u32) -> bool {
        let us = self.peer;
        let mut changed = false;
        for entry in self.entries.iter_mut().filter(|entry| entry.peer == us) {
            let version = entry.version.saturating_add(by);
            changed |= version != entry.version;
            entry.version = version;
        }
        changed
    }

    /// The entry with this token.
    #[must_use]
    pub fn entry(&self, token: u128) -> Option<&Entry> {
        let index = { &self.entries }.binary_search_by_key(&token, |entry| entry.token);
        index.ok().map(|index| &self.entries[index])
    }

    /// The entries of a peer with their sizes.
    pub(crate) fn entries_of(&self, peer: PeerId) -> impl Iterator<Item = (&Entry, u128)> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(move |(_, entry)| entry.peer == peer)
            .map(|(index, entry)| (entry, self.size_at(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::AddressRange;

    fn formed(seeds: &[u64]) -> Ring {
        let universe = AddressRange::of("10.0.0.0/24".parse().unwrap());
        let mut ring = Ring::new(universe, PeerId(9));
        let seeds: Vec<PeerId> = seeds.iter().copied().map(PeerId).collect();
        ring.form(&seeds);
        ring
    }

    #[test]
    fn of_two_rings_exactly_one_gives_way() {
        let rings = [
            formed(&[1]),
            formed(&[2]),
            formed(&[1, 2]),
            formed(&[1, 3]),
            formed(&[4, 5, 6]),
        ];

        for (i, a) in rings.iter().enumerate() {
            for (j, b) in rings.iter().enumerate() {
                let is_one = a.gives_way_to(b) != b.gives_way_to(a);
                assert_eq!(is_one, i != j, "{i} {j}");
            }
        }
    }

    #[test]
    fn a_grown_ring_does_not_give_way_to_one_formed_by_more() {
        let mut grown = formed(&[9]);
        for peer in 10..13 {
            let start = grown.universe().span.start();
            let at = start + 16 * u128::from(peer - 9);
            let range = crate::span::Span::between(at, at + 16);
            grown.grant(range, PeerId(peer)).unwrap();
        }

        assert!(formed(&[1, 2]).gives_way_to(&grown));
        assert!(!grown.gives_way_to(&formed(&[1, 2, 3])));
    }

    #[test]
    fn adopting_keeps_the_holder_and_takes_the_rest() {
        let mut ring = formed(&[1, 2]);
        let theirs = formed(&[4, 5, 6]);

        ring.adopt(&theirs).unwrap();

        assert_eq!(
            (ring.entries(), ring.seeds()),
            (theirs.entries(), theirs.seeds())
        );
        assert_eq!(ring.peer(), PeerId(9));
    }
}
