//! Who claims which short id.

use std::collections::{BTreeMap, BTreeSet};

use crate::peer::{PeerName, ShortId};
use crate::random::Random;

/// All claims. The lowest name among the claimants of an id owns it.
///
/// An id whose last claimant left stays in the map with no claimant: taking it again then counts
/// as a change of owner, because others may still hold what they derived from the previous one.
#[derive(Debug, Clone, Default)]
pub(super) struct ShortIds {
    claims: BTreeMap<ShortId, BTreeSet<PeerName>>,
}

impl ShortIds {
    /// Adds a claim. Returns the id if it stands for another peer than before; the first use of
    /// an id is not a change.
    pub(super) fn add(&mut self, id: ShortId, name: PeerName) -> Option<ShortId> {
        let is_first_use = !self.claims.contains_key(&id);
        let claimants = self.claims.entry(id).or_default();
        let old = claimants.first().copied();
        claimants.insert(name);
        (claimants.first().copied() != old && !is_first_use).then_some(id)
    }

    /// Takes a claim back. Returns the id if it stands for another peer than before; an id
    /// without owner is not a change until it is taken again.
    pub(super) fn remove(&mut self, id: ShortId, name: PeerName) -> Option<ShortId> {
        let claimants = self.claims.get_mut(&id)?;
        let old = claimants.first().copied();
        claimants.remove(&name);
        let new = claimants.first().copied();
        (new.is_some() && new != old).then_some(id)
    }

    pub(super) fn owner(&self, id: ShortId) -> Option<PeerName> {
        self.claims.get(&id)?.first().copied()
    }

    /// An id without owner: a few random tries, then one of all that are free.
    pub(super) fn choose(&self, random: &mut Random) -> Option<ShortId> {
        let is_free = |id: &ShortId| self.owner(*id).is_none();
        let drawn = (0..RANDOM_TRIES).find_map(|_| {
            let id = random.below(ShortId::COUNT.into());
            u16::try_from(id)
                .ok()
                .and_then(|id| ShortId::try_from(id).ok())
                .filter(is_free)
        });
        drawn.or_else(|| {
            let ids = (0..ShortId::COUNT).filter_map(|id| ShortId::try_from(id).ok());
            let free: Vec<_> = ids.filter(is_free).collect();
            let index = usize::try_from(random.below(free.len() as u64)).ok()?;
            free.get(index).copied()
        })
    }
}

/// Random tries before all ids are looked at (mesh protocol, "short ids").
const RANDOM_TRIES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u16) -> ShortId {
        ShortId::try_from(id).unwrap()
    }

    fn peer(last: u8) -> PeerName {
        PeerName::from_bytes([10, 0, 0, 0, 0, last])
    }

    #[test]
    fn the_lowest_name_owns_a_contested_id() {
        let mut ids = ShortIds::default();

        assert_eq!(ids.add(id(1), peer(5)), None, "first use");
        assert_eq!(ids.add(id(1), peer(9)), None, "a secondary claim");
        assert_eq!(
            ids.add(id(1), peer(3)),
            Some(id(1)),
            "the owner is displaced"
        );
        assert_eq!(ids.owner(id(1)), Some(peer(3)));
    }

    #[test]
    fn a_secondary_takes_over_and_reuse_is_a_change() {
        let mut ids = ShortIds::default();
        let _ = (ids.add(id(1), peer(5)), ids.add(id(1), peer(9)));

        assert_eq!(ids.remove(id(1), peer(5)), Some(id(1)));
        assert_eq!(ids.owner(id(1)), Some(peer(9)));
        assert_eq!(ids.remove(id(1), peer(9)), None);
        assert_eq!(ids.add(id(1), peer(2)), Some(id(1)));
    }

    #[test]
    fn the_last_free_id_is_found() {
        let mut ids = ShortIds::default();
        for number in (0..ShortId::COUNT).filter(|number| *number != 77) {
            let _ = ids.add(id(number), peer(1));
        }

        assert_eq!(ids.choose(&mut Random::new(3)), Some(id(77)));
        let _ = ids.add(id(77), peer(1));
        assert_eq!(ids.choose(&mut Random::new(3)), None);
    }
}
