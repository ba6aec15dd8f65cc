//! The table while it changes: what is new, and what it was before.
//!
//! Invariant: `table` is always what the rules should be after the change; the transaction of
//! [`Draft::finish`] leads there from what was before, and costs as much as changed, not as much as
//! there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ruleset::{Chain, Change, Entry, Key, Name, Ruleset, Set, Table, TableId, Transaction};

/// A table being changed.
#[derive(Debug)]
pub(super) struct Draft {
    id: TableId,
    ruleset: Ruleset,
    old_chains: BTreeMap<Name, Option<Arc<Chain>>>,
    old_sets: BTreeMap<Name, Option<Arc<Set>>>,
    /// Elements of sets that stay, with what was before.
    old_elements: BTreeMap<Name, BTreeMap<Key, Option<Entry>>>,
}

impl Draft {
    /// An empty table.
    pub(super) fn new(id: TableId) -> Self {
        let ruleset = Ruleset::new().with(id.clone(), Table::new());
        Self {
            id,
            ruleset,
            old_chains: BTreeMap::new(),
            old_sets: BTreeMap::new(),
            old_elements: BTreeMap::new(),
        }
    }

    /// The ruleset with the table in it.
    pub(super) fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// What the table is called.
    pub(super) fn id(&self) -> &TableId {
        &self.id
    }

    /// The set `name`.
    pub(super) fn set(&self, name: &Name) -> Option<&Arc<Set>> {
        self.ruleset.tables.get(&self.id)?.sets.get(name)
    }

    /// The chain `name`.
    pub(super) fn chain(&mut self, name: &Name) -> Option<&Arc<Chain>> {
        self.table().chains.get(name)
    }

    /// Adds a chain, in place of one with its name.
    pub(super) fn add_chain(&mut self, name: &Name, chain: Chain) {
        if self.chain(name).is_some_and(|there| **there == chain) {
            return;
        }
        let old = self.table().chains.insert(name.clone(), Arc::new(chain));
        self.old_chains.entry(name.clone()).or_insert(old);
    }

    /// Removes a chain.
    pub(super) fn remove_chain(&mut self, name: &Name) {
        let old = self.table().chains.remove(name);
        self.old_chains.entry(name.clone()).or_insert(old);
    }

    /// Adds a set, in place of one with its name.
    pub(super) fn add_set(&mut self, name: &Name, set: Set) {
        let old = self.table().sets.insert(name.clone(), Arc::new(set));
        self.remember_set(name, old);
    }

    /// Removes a set.
    pub(super) fn remove_set(&mut self, name: &Name) {
        let old = self.table().sets.remove(name);
        self.remember_set(name, old);
    }

    /// Puts what differs in `set` into the set `name`.
    pub(super) fn replace_set(&mut self, name: &Name, set: Set) {
        let table = self.table();
        let Some(there) = table.sets.get(name) else {
            return;
        };
        let gone: Vec<Key> = there
            .elements
            .keys()
            .filter(|key| !set.elements.contains_key(*key))
            .cloned()
            .collect();
        self.drop_elements(name, gone);
        for (key, entry) in set.elements {
            self.put(name, key, entry);
        }
    }

    /// Adds elements without data to a set.
    pub(super) fn put_elements(&mut self, name: &Name, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.put(name, key, Entry::default());
        }
    }

    /// Adds an element to a set or map, in place of one with its key.
    pub(super) fn put(&mut self, name: &Name, key: Key, entry: Entry) {
        let Some(set) = self.table().set_mut(name.as_str()) else {
            return;
        };
        let old = set.elements.insert(key.clone(), entry);
        self.remember_element(name, key, old);
    }

    /// Removes elements from a set or map.
    pub(super) fn drop_elements(&mut self, name: &Name, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            let Some(set) = self.table().set_mut(name.as_str()) else {
                return;
            };
            if let Some(old) = set.elements.remove(&key) {
                self.remember_element(name, key, Some(old));
            }
        }
    }

    /// The changes since the last call, in an order that the kernel takes.
    pub(super) fn finish(&mut self) -> Transaction {
        let old_chains = std::mem::take(&mut self.old_chains);
        let old_sets = std::mem::take(&mut self.old_sets);
        let old_elements = std::mem::take(&mut self.old_elements);
        let (mut before, mut after) = (Table::new(), Table::new());
        let table = self.table();
        for (name, old) in old_chains {
            if let Some(chain) = table.chains.get(&name) {
                after.chains.insert(name.clone(), chain.clone());
            }
            before.chains.extend(old.map(|old| (name, old)));
        }
        for (name, old) in old_sets {
            if let Some(set) = table.sets.get(&name) {
                after.sets.insert(name.clone(), set.clone());
            }
            before.sets.extend(old.map(|old| (name, old)));
        }
        let mut elements = Vec::new();
        for (name, olds) in old_elements {
            let is_new = before.sets.contains_key(&name) || after.sets.contains_key(&name);
            let Some(set) = table.sets.get(&name).filter(|_| !is_new) else {
                continue;
            };
            elements.push(Delta::new(name, set, olds));
        }
        let id = self.id.clone();
        let before = Ruleset::new().with(id.clone(), before);
        let after = Ruleset::new().with(id.clone(), after);
        let structure = Ruleset::diff(&before, &after);
        assemble(&id, elements, structure)
    }

    fn table(&mut self) -> &mut Table {
        self.ruleset.tables.entry(self.id.clone()).or_default()
    }

    /// Notes what a set was. If elements were noted already, they are part of what it was.
    fn remember_set(&mut self, name: &Name, old: Option<Arc<Set>>) {
        let elements = self.old_elements.remove(name);
        if self.old_sets.contains_key(name) {
            return;
        }
        let old = old.map(|mut old| {
            if let Some(elements) = elements {
                let set = Arc::make_mut(&mut old);
                for (key, entry) in elements {
                    match entry {
                        Some(entry) => {
                            set.elements.insert(key, entry);
                        }
                        None => {
                            set.elements.remove(&key);
                        }
                    }
                }
            }
            old
        });
        self.old_sets.insert(name.clone(), old);
    }

    fn remember_element(&mut self, name: &Name, key: Key, old: Option<Entry>) {
        if !self.old_sets.contains_key(name) {
            let olds = self.old_elements.entry(name.clone()).or_default();
            olds.entry(key).or_insert(old);
        }
    }
}

/// What changes in one set that stays.
struct Delta {
    set: Name,
    is_interval: bool,
    gone: Vec<Key>,
    come: Vec<(Key, Entry)>,
}

impl Delta {
    fn new(name: Name, set: &Set, olds: BTreeMap<Key, Option<Entry>>) -> Self {
        let mut delta = Self {
            set: name,
            is_interval: set.is_interval,
            gone: Vec::new(),
            come: Vec::new(),
        };
        for (key, old) in olds {
            let new = set.elements.get(&key);
            if new == old.as_ref() {
                continue;
            }
            if let Some(new) = new {
                delta.come.push((key.clone(), new.clone()));
            }
            if old.is_some() {
                delta.gone.push(key);
            }
        }
        delta
    }
}

/// Elements go before chains they lead to go, and come after chains they lead to came.
fn assemble(id: &TableId, deltas: Vec<Delta>, structure: Transaction) -> Transaction {
    let mut changes = Vec::new();
    let mut arrivals = Vec::new();
    for delta in deltas {
        let (set, is_interval) = (delta.set, delta.is_interval);
        if !delta.gone.is_empty() {
            changes.push(Change::DeleteElements {
                table: id.clone(),
                set: set.clone(),
                is_interval,
                keys: delta.gone,
            });
        }
        if !delta.come.is_empty() {
            arrivals.push(Change::AddElements {
                table: id.clone(),
                set,
                is_interval,
                elements: delta.come,
            });
        }
    }
    changes.extend(structure.changes);
    changes.append(&mut arrivals);
    Transaction { changes }
}
