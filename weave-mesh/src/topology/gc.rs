//! Forgetting peers that nobody reachable is connected to.

use std::collections::BTreeSet;

use super::routes::{Graph, Relation};
use super::{Effects, Topology};
use crate::peer::{PeerName, PeerRecord, ShortId};

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Collected {
    /// The peers that were forgotten, in the order of names.
    pub removed: Vec<PeerRecord>,
    /// We moved to a short id that became free; our record has to be announced.
    pub local_changed: bool,
    /// Short ids that stand for another peer than before.
    pub short_id_changes: BTreeSet<ShortId>,
}

impl Topology {
    /// Forgets the peers that cannot be reached from us along listed connections and that nobody
    /// [retains](Topology::retain) (mesh protocol, "garbage collection").
    pub fn collect_garbage(&mut self) -> Collected {
        let graph = Graph::new(self, Relation::All);
        self.collect_garbage_by(&graph)
    }

    /// As [`Topology::collect_garbage`], with the graph of [`Relation::All`] that somebody keeps.
    /// Costs nothing if nothing has changed since the last time.
    ///
    /// # Panics
    /// If `graph` is not the graph of this topology at this moment under that relation.
    pub fn collect_garbage_by(&mut self, graph: &Graph) -> Collected {
        assert!(
            graph.is_of(self, Relation::All),
            "invariant: garbage is found in the graph of this moment"
        );
        if self.collected == Some(self.revision()) {
            return Collected::default();
        }
        let reachable = graph.reachable(self.us);
        let is_garbage = |name: &PeerName| !reachable.contains(name);
        let garbage: Vec<_> = self
            .peers
            .iter()
            .filter(|(name, known)| known.references == 0 && is_garbage(name))
            .map(|(name, _)| *name)
            .collect();
        let mut collected = Collected::default();
        let mut effects = Effects::default();
        for name in garbage {
            let Some(known) = self.peers.remove(&name) else {
                continue;
            };
            if let Some(id) = known.record.short_id {
                effects
                    .short_id_changes
                    .extend(self.short_ids.remove(id, name));
            }
            self.journal.push(name);
            collected.removed.push(known.record);
        }
        if !collected.removed.is_empty() {
            self.leave_contested_short_id(&mut effects);
        }
        self.collected = Some(self.revision());
        collected.local_changed = effects.local_changed;
        collected.short_id_changes = effects.short_id_changes;
        collected
    }
}
