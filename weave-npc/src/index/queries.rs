//! Which of many peers can hold a pod: the way back from a pod to the sets that follow it.
//!
//! Invariant: each registered peer is listed under its scope and under labels without which it
//! holds nothing, so `candidates` of a pod misses no peer that holds it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::model::{Pod, PodPeer, Scope};
use crate::{Requirement, Selector};

/// Registered peers, each with a token of the caller.
#[derive(Debug)]
pub(crate) struct Queries<T> {
    own: HashMap<Arc<str>, Pivots<T>>,
    matching: Pivots<T>,
}

#[derive(Debug)]
struct Pivots<T> {
    keys: HashMap<Box<str>, KeyPivots<T>>,
    rest: Vec<T>,
}

#[derive(Debug)]
struct KeyPivots<T> {
    values: HashMap<Box<str>, Vec<T>>,
    any: Vec<T>,
}

impl<T> Default for Queries<T> {
    fn default() -> Self {
        Self {
            own: HashMap::new(),
            matching: Pivots::default(),
        }
    }
}

impl<T> Default for Pivots<T> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            rest: Vec::new(),
        }
    }
}

impl<T> Default for KeyPivots<T> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            any: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Queries<T> {
    /// Registers `peer` as `token`; `None` stands for all pods.
    pub(crate) fn insert(&mut self, peer: Option<&PodPeer>, token: &T) {
        let token = token.clone();
        let Some(peer) = peer else {
            self.matching.rest.push(token);
            return;
        };
        let pivots = match &peer.namespaces {
            Scope::Only(name) => self.own.entry(name.clone()).or_default(),
            Scope::Matching(_) => &mut self.matching,
        };
        pivots.edit(&peer.pods, |list| list.push(token.clone()));
    }

    /// Forgets `token`, which was registered with `peer`.
    pub(crate) fn remove(&mut self, peer: Option<&PodPeer>, token: &T) {
        let forget = |list: &mut Vec<T>| list.retain(|other| other != token);
        let Some(peer) = peer else {
            forget(&mut self.matching.rest);
            return;
        };
        match &peer.namespaces {
            Scope::Only(name) => {
                if let Some(pivots) = self.own.get_mut(name) {
                    pivots.edit(&peer.pods, forget);
                    if pivots.keys.is_empty() && pivots.rest.is_empty() {
                        self.own.remove(name);
                    }
                }
            }
            Scope::Matching(_) => self.matching.edit(&peer.pods, forget),
        }
    }

    /// The tokens of all peers that may hold `pod`, and of some that do not.
    pub(crate) fn candidates<'q>(&'q self, pod: &'q Pod) -> impl Iterator<Item = &'q T> + 'q {
        let own = self.own.get(pod.name.namespace());
        own.into_iter()
            .chain([&self.matching])
            .flat_map(move |pivots| pivots.candidates(pod))
    }
}

#[cfg(test)]
impl<T> Queries<T> {
    /// True if nothing is registered and nothing is left of what was.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.matching.keys.is_empty() && self.matching.rest.is_empty()
    }
}

impl<T> Pivots<T> {
    /// Edits the lists under which `selector` stands; drops those that become empty.
    fn edit(&mut self, selector: &Selector, mut edit: impl FnMut(&mut Vec<T>)) {
        let is_positive = |r: &&Requirement| matches!(r, Requirement::In(..));
        let exists = |r: &&Requirement| matches!(r, Requirement::Exists(_));
        let pivot = selector
            .requirements()
            .find(is_positive)
            .or_else(|| selector.requirements().find(exists));
        let Some(pivot) = pivot else {
            edit(&mut self.rest);
            return;
        };
        let key = self.keys.entry(pivot.key().into()).or_default();
        match pivot {
            Requirement::In(_, values) => {
                for value in values {
                    let list = key.values.entry(value.as_str().into()).or_default();
                    edit(list);
                    if list.is_empty() {
                        key.values.remove(value.as_str());
                    }
                }
            }
            _ => edit(&mut key.any),
        }
        if key.values.is_empty() && key.any.is_empty() {
            self.keys.remove(pivot.key());
        }
    }

    fn candidates<'q>(&'q self, pod: &'q Pod) -> impl Iterator<Item = &'q T> + 'q {
        pod.labels
            .iter()
            .filter_map(|(key, value)| {
                let key = self.keys.get(key)?;
                let listed = key.values.get(value).into_iter().flatten();
                Some(listed.chain(&key.any))
            })
            .flatten()
            .chain(&self.rest)
    }
}
