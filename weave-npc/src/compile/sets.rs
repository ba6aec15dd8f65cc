//! The shared sets that rules of this node use, counted by use.
//!
//! Invariant: a set is in the table while somebody uses it, and holds exactly what its query asks
//! for; names of different queries differ, whatever their hashes.

use std::collections::{BTreeMap, HashMap};

use super::canon;
use super::draft::Draft;
use super::family::Family;
use super::query::Query;
use crate::index::{Changes, Index, NamespaceChange, PodChange, Queries, View};
use crate::model::World;
use crate::ruleset::{Key, Name};

/// A shared set: whose elements, of which family.
pub(super) type Use = (Query, Family);

/// All shared sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    used: BTreeMap<Use, Shared>,
    names: HashMap<Name, Use>,
    pivots: Queries<Name>,
}

#[derive(Debug)]
struct Shared {
    name: Name,
    users: usize,
}

impl Sets {
    /// Takes one more use of a set and gives its name. A set nobody used is filled.
    pub(super) fn acquire(
        &mut self,
        what: &Use,
        index: &Index,
        world: &World,
        draft: &mut Draft,
    ) -> Name {
        if let Some(shared) = self.used.get_mut(what) {
            shared.users += 1;
            return shared.name.clone();
        }
        let (query, family) = what;
        let (prefix, id) = (query.prefix(*family), query.canon().id());
        let name = (0..)
            .map(|attempt| canon::name(&prefix, &id, attempt))
            .find(|name| !self.names.contains_key(name))
            .expect("invariant: there are more numbers than sets");
        draft.add_set(&name, query.fill(*family, index, world));
        if let Some(pivot) = query.pivot() {
            self.pivots.insert(pivot, &name);
        }
        self.names.insert(name.clone(), what.clone());
        let shared = Shared {
            name: name.clone(),
            users: 1,
        };
        self.used.insert(what.clone(), shared);
        name
    }

    /// Gives one use back. A set that nobody uses is removed.
    pub(super) fn release(&mut self, what: &Use, draft: &mut Draft) {
        let Some(shared) = self.used.get_mut(what) else {
            return;
        };
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        let name = shared.name.clone();
        if let Some(pivot) = what.0.pivot() {
            self.pivots.remove(pivot, &name);
        }
        self.names.remove(&name);
        self.used.remove(what);
        draft.remove_set(&name);
    }

    /// Follows what changed in the index, which has the state after it.
    pub(super) fn follow(&self, index: &Index, changes: &Changes, draft: &mut Draft) {
        let before = Past { changes };
        for PodChange { before: view, .. } in &changes.pods {
            if let Some(view) = view {
                self.each(view, |query, family, name| {
                    if before.held(index, query, view) {
                        draft.drop_elements(name, query.keys_of(family, view));
                    }
                });
            }
        }
        for change in &changes.namespaces {
            self.follow_namespace(index, change, changes, draft);
        }
        for PodChange { after: view, .. } in &changes.pods {
            if let Some(view) = view {
                self.each(view, |query, family, name| {
                    if query.holds(index, view) {
                        draft.put_elements(name, query.keys_of(family, view));
                    }
                });
            }
        }
    }

    /// Follows new labels of nodes, or new addresses.
    pub(super) fn follow_nodes(&self, index: &Index, world: &World, draft: &mut Draft) {
        for ((query, family), shared) in &self.used {
            if matches!(query, Query::Nodes(_)) {
                draft.replace_set(&shared.name, query.fill(*family, index, world));
            }
        }
    }

    /// Moves the pods of a namespace whose labels changed. Pods that changed as well are left to
    /// their own change.
    fn follow_namespace(
        &self,
        index: &Index,
        change: &NamespaceChange,
        changes: &Changes,
        draft: &mut Draft,
    ) {
        let is_settled = |view: &View| {
            let is_it = |other: &PodChange| {
                let other = other.after.as_ref();
                other.is_some_and(|other| other.pod.uid == view.pod.uid)
            };
            changes.pods.iter().any(is_it)
        };
        for ((query, family), shared) in &self.used {
            let Some(selector) = query.namespaces() else {
                continue;
            };
            let was = selector.matches(&change.before);
            let is = selector.matches(&change.after);
            if was == is {
                continue;
            }
            let Some(Some(peer)) = query.pivot() else {
                continue;
            };
            let moved = index
                .in_namespace(&change.name)
                .filter(|view| peer.pods.matches(&view.pod.labels) && !is_settled(view));
            for view in moved {
                let keys: Vec<Key> = query.keys_of(*family, view);
                if is {
                    draft.put_elements(&shared.name, keys);
                } else {
                    draft.drop_elements(&shared.name, keys);
                }
            }
        }
    }

    fn each(&self, view: &View, mut visit: impl FnMut(&Query, Family, &Name)) {
        for name in self.pivots.candidates(&view.pod) {
            if let Some((query, family)) = self.names.get(name) {
                visit(query, *family, name);
            }
        }
    }
}

/// The labels of namespaces as they were before some changes.
struct Past<'c> {
    changes: &'c Changes,
}

impl Past<'_> {
    /// True if `query` held `view` before the changes.
    fn held(&self, index: &Index, query: &Query, view: &View) -> bool {
        let namespace = view.pod.name.namespace();
        let old = self
            .changes
            .namespaces
            .iter()
            .find(|c| c.name == *namespace);
        let (Some(old), Some(selector)) = (old, query.namespaces()) else {
            return query.holds(index, view);
        };
        let pods = query.pivot().flatten().map(|peer| &peer.pods);
        selector.matches(&old.before) && pods.is_none_or(|pods| pods.matches(&view.pod.labels))
    }
}
