//! Records of many topologies in one piece of memory (feature `sim`).
//!
//! In a mesh of a thousand peers everybody holds the same thousand records. In one process a
//! [`Pool`] keeps one copy of the lists of connections in them, which is nearly all of their size.
//! Invariant: sharing changes no value.

use std::collections::{HashMap, VecDeque};

use super::Topology;
use crate::peer::{Links, PeerName};

/// The connections of the latest versions of every record.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    latest: HashMap<PeerName, VecDeque<(u64, Links)>>,
}

impl Topology {
    /// Lets the records that changed after `revision` share what others have of the same version;
    /// returns the revision up to which that is done.
    pub(crate) fn share(&mut self, revision: u64, pool: &mut Pool) -> u64 {
        let now = self.revision();
        if now == revision {
            return now;
        }
        let changed = self.changes_since(revision);
        let changed = changed.unwrap_or_else(|| self.peers.keys().copied().collect());
        for name in changed {
            if let Some(known) = self.peers.get_mut(&name) {
                pool.share(name, known.record.version, &mut known.record.connections);
            }
        }
        now
    }
}

impl Pool {
    fn share(&mut self, name: PeerName, version: u64, links: &mut Links) {
        let latest = self.latest.entry(name).or_default();
        let same = latest.iter().find(|(of, _)| *of == version);
        if let Some((_, pooled)) = same {
            links.share(pooled);
            return;
        }
        if latest.len() >= MAX_VERSIONS {
            latest.pop_front();
        }
        latest.push_back((version, links.clone()));
    }
}

/// Versions of a record that are kept; while a mesh forms its peers hold several.
const MAX_VERSIONS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Link, PeerRecord, Uid};

    #[test]
    fn topologies_with_a_pool_stay_what_they_are() {
        let name = |n: u64| PeerName::try_from(n).unwrap();
        let link = |n: u64| Link {
            address: format!("10.0.0.{n}:6783").into(),
            outbound: false,
            established: true,
        };
        let record = |version| PeerRecord {
            version,
            connections: [(name(1), link(1)), (name(3), link(version))].into(),
            ..PeerRecord::new(name(2), "b", Uid(2))
        };
        let mut pool = Pool::default();
        let mut topologies = [4, 5, 5].map(|version| {
            let mut topology = Topology::new(PeerRecord::new(name(1), "a", Uid(1)), 1);
            let _ = topology.merge(vec![record(version)]);
            topology
        });

        for topology in &mut topologies {
            assert_eq!(topology.share(0, &mut pool), topology.revision());
        }

        for (topology, version) in topologies.iter().zip([4, 5, 5]) {
            assert_eq!(topology.get(name(2)), Some(&record(version)));
        }
        topologies[1].add_connection(name(2), link(9));
        let _ = topologies[1].merge(vec![record(6)]);
        assert_eq!(topologies[2].get(name(2)), Some(&record(5)));
    }
}
