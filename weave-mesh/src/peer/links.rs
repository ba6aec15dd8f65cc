//! The connections of one record, by remote name.
//!
//! A sorted list in one piece of memory: a topology of a thousand peers holds hundreds of thousands
//! of connections, and what follows from it reads them in order. Copies share the list until one of
//! them is changed. Invariant: names ascend strictly.

use std::ops::Index;
use std::sync::Arc;

use super::{Link, PeerName};

/// Connections by the name of the remote peer, in the order of names.
///
/// # Example
///
/// ```
/// use weave_mesh::peer::{Link, Links, PeerName};
///
/// let link = Link { address: "10.0.0.2:6783".into(), outbound: true, established: false };
/// let remote = PeerName::from_bytes([10, 0, 0, 0, 0, 2]);
/// let links = Links::from([(remote, link.clone())]);
/// assert_eq!(links.get(&remote), Some(&link));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Links(Arc<Vec<(PeerName, Link)>>);

impl Links {
    /// No connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connection; returns the one it replaces.
    pub fn insert(&mut self, remote: PeerName, link: Link) -> Option<Link> {
        match self.place(&remote) {
            Ok(place) => Some(std::mem::replace(&mut self.own()[place].1, link)),
            Err(place) => {
                self.own().insert(place, (remote, link));
                None
            }
        }
    }

    /// Removes a connection; returns it if there was one.
    pub fn remove(&mut self, remote: &PeerName) -> Option<Link> {
        let place = self.place(remote).ok()?;
        Some(self.own().remove(place).1)
    }

    /// Removes the connection to the lowest name.
    pub fn pop_first(&mut self) -> Option<(PeerName, Link)> {
        (!self.0.is_empty()).then(|| self.own().remove(0))
    }

    /// Takes out the connections to `removed` and puts in those that are `changed`, all in one
    /// pass. Of several to one name the last counts.
    pub fn update(
        &mut self,
        removed: &[PeerName],
        changed: impl IntoIterator<Item = (PeerName, Link)>,
    ) {
        let changed: Self = changed.into_iter().collect();
        let mut removed = removed.to_vec();
        removed.sort_unstable();
        let mut old = std::mem::take(self).into_iter().peekable();
        let mut new = changed.into_iter().peekable();
        let mut links = Vec::with_capacity(old.len() + new.len());
        loop {
            let is_old_next = match (old.peek(), new.peek()) {
                (Some((old, _)), Some((new, _))) => old < new,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if is_old_next {
                let kept = old.next();
                links.extend(kept.filter(|(name, _)| removed.binary_search(name).is_err()));
            } else {
                let replaced = new.peek().map(|(name, _)| *name);
                let _ = old.next_if(|(name, _)| Some(*name) == replaced);
                links.extend(new.next());
            }
        }
        links.shrink_to_fit();
        *self = Self(Arc::new(links));
    }

    /// The connection to a peer.
    #[must_use]
    pub fn get(&self, remote: &PeerName) -> Option<&Link> {
        Some(&self.0[self.place(remote).ok()?].1)
    }

    /// The connection to a peer, to change it.
    pub fn get_mut(&mut self, remote: &PeerName) -> Option<&mut Link> {
        let place = self.place(remote).ok()?;
        Some(&mut self.own()[place].1)
    }

    /// Whether there is a connection to a peer.
    #[must_use]
    pub fn contains_key(&self, remote: &PeerName) -> bool {
        self.place(remote).is_ok()
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All connections, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&PeerName, &Link)> {
        self.0.iter().map(|(remote, link)| (remote, link))
    }

    /// The names of the remote peers, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &PeerName> {
        self.0.iter().map(|(remote, _)| remote)
    }

    /// The connections, in the order of names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Link> {
        self.0.iter().map(|(_, link)| link)
    }

    /// The connections, in the order of names, to change them.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Link> {
        self.own().iter_mut().map(|(_, link)| link)
    }

    /// Uses the list of `other` if it is the same one; returns whether it is.
    #[cfg(feature = "sim")]
    pub(crate) fn share(&mut self, other: &Self) -> bool {
        let is_same = self == other;
        if is_same {
            self.0 = Arc::clone(&other.0);
        }
        is_same
    }

    /// The list, to change it: a copy of our own if it is shared.
    fn own(&mut self) -> &mut Vec<(PeerName, Link)> {
        Arc::make_mut(&mut self.0)
    }

    fn place(&self, remote: &PeerName) -> Result<usize, usize> {
        self.0.binary_search_by(|(name, _)| name.cmp(remote))
    }
}

impl FromIterator<(PeerName, Link)> for Links {
    /// Of several connections to one name the last counts.
    fn from_iter<I: IntoIterator<Item = (PeerName, Link)>>(links: I) -> Self {
        let mut links: Vec<_> = links.into_iter().collect();
        if !links.is_sorted_by(|(a, _), (b, _)| a < b) {
            links.sort_by_key(|(name, _)| *name);
            links.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    std::mem::swap(later, earlier);
                }
                is_same
            });
        }
        links.shrink_to_fit();
        Self(Arc::new(links))
    }
}

impl<const N: usize> From<[(PeerName, Link); N]> for Links {
    fn from(links: [(PeerName, Link); N]) -> Self {
        links.into_iter().collect()
    }
}

impl IntoIterator for Links {
    type Item = (PeerName, Link);
    type IntoIter = std::vec::IntoIter<(PeerName, Link)>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Links {
    type Item = (&'a PeerName, &'a Link);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (PeerName, Link)>,
        fn(&'a (PeerName, Link)) -> (&'a PeerName, &'a Link),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(remote, link)| (remote, link))
    }
}

impl Index<&PeerName> for Links {
    type Output = Link;

    /// The connection to a peer.
    ///
    /// # Panics
    /// If there is none.
    fn index(&self, remote: &PeerName) -> &Link {
        self.get(remote)
            .expect("invariant: only connections that are there are indexed")
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Random;

    fn name(n: u64) -> PeerName {
        PeerName::try_from(n).unwrap()
    }

    fn link(n: u64) -> Link {
        Link {
            address: format!("10.0.0.{n}:6783").into(),
            outbound: n.is_multiple_of(2),
            established: true,
        }
    }

    /// Random pairs, names more than once.
    fn pairs(random: &mut Random, count: u64) -> Vec<(PeerName, Link)> {
        let pair = |_| (name(random.below(12)), link(random.below(99)));
        (0..count).map(pair).collect()
    }

    #[test]
    fn links_behave_as_an_ordered_map() {
        let mut random = Random::new(5);
        for _ in 0..300 {
            let start = pairs(&mut random, 8);
            let mut links: Links = start.clone().into_iter().collect();
            let mut map: BTreeMap<_, _> = start.into_iter().collect();
            for (name, link) in pairs(&mut random, 8) {
                if link.outbound {
                    assert_eq!(links.insert(name, link.clone()), map.insert(name, link));
                } else {
                    assert_eq!(links.remove(&name), map.remove(&name));
                }
            }
            let changed = pairs(&mut random, 5);
            let removed: Vec<_> = pairs(&mut random, 5).into_iter().map(|p| p.0).collect();
            links.update(&removed, changed.clone());
            map.retain(|name, _| !removed.contains(name));
            map.extend(changed);

            assert!(links.iter().eq(map.iter()), "{links:?} is {map:?}");
            assert!(links.keys().eq(map.keys()) && links.values().eq(map.values()));
            for n in 0..12 {
                assert_eq!(links.get(&name(n)), map.get(&name(n)));
            }
            let (copy, before) = (links.clone(), map.clone());
            links.insert(name(3), link(7));
            map.insert(name(3), link(7));
            assert!(copy.iter().eq(before.iter()), "a copy stays as it is");
            assert_eq!(links.pop_first(), map.pop_first());
            assert_eq!((links.len(), links.is_empty()), (map.len(), map.is_empty()));
        }
    }
}
