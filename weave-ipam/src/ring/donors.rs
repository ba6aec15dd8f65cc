//! Whom to ask for space.

use std::collections::BTreeMap;

use super::Ring;
use crate::peer::PeerId;
use crate::random::Random;
use crate::span::Span;

impl Ring {
    /// The other peers with free addresses in ranges that touch `query`, each with the sum of its
    /// hints over those ranges (whole ranges, not only the part in the query). The part of a range
    /// that lies before the first token is not found.
    #[must_use]
    pub fn donors(&self, query: Span) -> BTreeMap<PeerId, u64> {
        let mut weights = BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.token >= query.end() {
                break;
            }
            let ends_before = self
                .entries
                .get(index + 1)
                .is_some_and(|next| next.token <= query.start());
            if ends_before || entry.free == 0 || entry.peer == self.peer {
                continue;
            }
            *weights.entry(entry.peer).or_insert(0) += u64::from(entry.free);
        }
        weights
    }

    /// The donors in the order in which to ask them: each weight times a number drawn uniformly,
    /// descending. `seed` fixes the draw.
    #[must_use]
    pub fn choose_donors(&self, query: Span, seed: u64) -> Vec<PeerId> {
        let mut random = Random::new(seed);
        let mut order: Vec<(f64, PeerId)> = self
            .donors(query)
            .into_iter()
            .map(|(peer, weight)| (weight_of(weight) * random.unit(), peer))
            .collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        order.into_iter().map(|(_, peer)| peer).collect()
    }
}

/// The weight as a float. Precision beyond 32 bits does not matter to the draw.
fn weight_of(weight: u64) -> f64 {
    let high = u32::try_from(weight >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(weight & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high).mul_add(4_294_967_296.0, f64::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Entry;
    use crate::span::{AddressRange, Family};

    #[test]
    fn a_donor_with_twice_the_space_is_asked_first_three_times_in_four() {
        let span = Span::new(0, 256).unwrap();
        let universe = AddressRange {
            family: Family::V4,
            span,
        };
        let entry = |token, peer, free| Entry {
            token,
            peer: PeerId(peer),
            version: 0,
            free,
        };
        let entries = vec![entry(0, 2, 100), entry(128, 3, 50)];
        let ring = Ring::from_parts(universe, PeerId(1), entries, Vec::new());

        let first = (0..20_000).filter(|seed| ring.choose_donors(span, *seed)[0] == PeerId(2));

        let share = first.count();
        assert!((14_600..15_400).contains(&share), "{share} of 20000");
    }
}
