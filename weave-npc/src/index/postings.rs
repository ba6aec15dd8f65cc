//! For each label, who carries it.
//!
//! Invariant: an id is in the list of exactly the labels it was inserted with.

use std::collections::{BTreeSet, HashMap};

use crate::{Labels, Requirement, Selector};

/// Ids by label.
#[derive(Debug, Default)]
pub(super) struct Postings {
    keys: HashMap<Box<str>, HashMap<Box<str>, BTreeSet<u32>>>,
}

/// The lists in which everything that meets one requirement is found.
pub(super) struct Narrow<'p> {
    lists: Vec<&'p BTreeSet<u32>>,
}

impl Postings {
    /// Adds `id` to the lists of its labels.
    pub(super) fn insert(&mut self, id: u32, labels: &Labels) {
        for (key, value) in labels.iter() {
            if !self.keys.contains_key(key) {
                self.keys.insert(key.into(), HashMap::new());
            }
            let Some(values) = self.keys.get_mut(key) else {
                continue;
            };
            match values.get_mut(value) {
                Some(list) => {
                    list.insert(id);
                }
                None => {
                    values.insert(value.into(), BTreeSet::from([id]));
                }
            }
        }
    }

    /// Removes `id` from the lists of its labels.
    pub(super) fn remove(&mut self, id: u32, labels: &Labels) {
        for (key, value) in labels.iter() {
            let Some(values) = self.keys.get_mut(key) else {
                continue;
            };
            if let Some(list) = values.get_mut(value) {
                list.remove(&id);
                if list.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// The shortest lists that hold all that `selector` can match; `None` if it asks for no label
    /// to be present.
    pub(super) fn narrow(&self, selector: &Selector) -> Option<Narrow<'_>> {
        selector
            .requirements()
            .filter_map(|requirement| self.lists(requirement))
            .min_by_key(Narrow::estimate)
    }

    fn lists(&self, requirement: &Requirement) -> Option<Narrow<'_>> {
        let lists = match requirement {
            Requirement::In(key, wanted) => self.keys.get(key.as_str()).map(|values| {
                let found = wanted.iter().filter_map(|value| values.get(value.as_str()));
                found.collect()
            }),
            Requirement::Exists(key) => self
                .keys
                .get(key.as_str())
                .map(|values| values.values().collect()),
            Requirement::NotIn(..) | Requirement::DoesNotExist(_) => return None,
        };
        let lists = lists.unwrap_or_default();
        Some(Narrow { lists })
    }
}

impl<'p> Narrow<'p> {
    /// How many ids there are.
    pub(super) fn estimate(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum()
    }

    /// The ids. One key has one value, so no id comes twice.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + use<'p> {
        let lists = self.lists.clone();
        lists.into_iter().flatten().copied()
    }
}
