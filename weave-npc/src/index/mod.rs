//! Which pods a selector holds, kept while objects come and go.
//!
//! The index answers two questions fast: which pods does a peer hold ([`Index::members`]), and what
//! did a pod look like before a change ([`Index::update`]), so that sets of members can follow by
//! the difference. It keeps no copy of objects; pods are shared with the [`World`].
//!
//! Invariant I1: after `update` with everything that was touched, the index equals one built from
//! the world at once.

mod postings;
mod queries;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Pod, PodPeer, Scope, Touched, Uid, World};
use crate::{Labels, Selector};

use postings::Postings;
pub(crate) use queries::Queries;

/// A pod at one moment, with the addresses it owned then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The pod.
    pub(crate) pod: Arc<Pod>,
    /// The addresses it owned.
    pub(crate) addresses: Vec<IpAddr>,
}

/// What became of one pod. Neither is an endpoint without addresses.
#[derive(Clone, Debug)]
pub(crate) struct PodChange {
    /// Before; `None` if it was not there.
    pub(crate) before: Option<View>,
    /// After; `None` if it is gone.
    pub(crate) after: Option<View>,
}

/// What became of the labels of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceChange {
    /// The name.
    pub(crate) name: Arc<str>,
    /// The labels before.
    pub(crate) before: Labels,
    /// The labels after.
    pub(crate) after: Labels,
}

/// What an update changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Pods, by identity.
    pub(crate) pods: Vec<PodChange>,
    /// Namespaces with endpoints, or known ones, whose labels changed.
    pub(crate) namespaces: Vec<NamespaceChange>,
}

/// Endpoints by label and namespace.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pods: Vec<Option<View>>,
    free: Vec<u32>,
    slots: HashMap<Uid, u32>,
    pod_labels: Postings,
    namespaces: Vec<Place>,
    places: HashMap<Arc<str>, u32>,
    namespace_labels: Postings,
}

/// A namespace with its endpoints. It is kept once it has been seen.
#[derive(Debug)]
struct Place {
    name: Arc<str>,
    labels: Labels,
    pods: BTreeSet<u32>,
}

impl Index {
    /// Takes over what was touched in `world`, and says what that changed.
    pub(crate) fn update(&mut self, world: &World, touched: &Touched) -> Changes {
        let mut changes = Changes::default();
        for name in &touched.namespaces {
            let after = world.namespace_labels(name);
            let id = self.place(world, name);
            let place = &mut self.namespaces[id as usize];
            if place.labels != after {
                let before = std::mem::replace(&mut place.labels, after.clone());
                self.namespace_labels.remove(id, &before);
                self.namespace_labels.insert(id, &after);
                let name = name.clone();
                changes.namespaces.push(NamespaceChange {
                    name,
                    before,
                    after,
                });
            }
        }
        for uid in &touched.pods {
            let after = view(world, uid);
            let before = self.take(uid, after.is_none());
            if before != after {
                if let Some(view) = &after {
                    self.put(world, uid, view.clone());
                }
                changes.pods.push(PodChange { before, after });
            } else if let Some(view) = after {
                self.put(world, uid, view);
            }
        }
        changes
    }

    /// The endpoint with the identity `uid`.
    pub(crate) fn view(&self, uid: &Uid) -> Option<&View> {
        self.pods[*self.slots.get(uid)? as usize].as_ref()
    }

    /// The labels of a namespace that was seen.
    pub(crate) fn labels_of(&self, namespace: &str) -> Option<&Labels> {
        let id = self.places.get(namespace)?;
        Some(&self.namespaces[*id as usize].labels)
    }

    /// The endpoints of one namespace.
    pub(crate) fn in_namespace<'i>(
        &'i self,
        namespace: &str,
    ) -> impl Iterator<Item = &'i View> + 'i {
        self.places
            .get(namespace)
            .into_iter()
            .flat_map(|&id| &self.namespaces[id as usize].pods)
            .filter_map(|&slot| self.pods[slot as usize].as_ref())
    }

    /// All endpoints.
    pub(crate) fn views(&self) -> impl Iterator<Item = &View> {
        self.pods.iter().flatten()
    }

    /// True if `view` is one of `peer`.
    pub(crate) fn is_member(&self, peer: &PodPeer, view: &View) -> bool {
        let namespace = view.pod.name.namespace();
        let is_there = match &peer.namespaces {
            Scope::Only(name) => name == namespace,
            Scope::Matching(selector) => self
                .labels_of(namespace)
                .is_some_and(|labels| selector.matches(labels)),
        };
        is_there && peer.pods.matches(&view.pod.labels)
    }

    /// The endpoints that `peer` holds, each once, in no order.
    pub(crate) fn members(&self, peer: &PodPeer) -> Vec<&View> {
        let mut found = Vec::new();
        match &peer.namespaces {
            Scope::Only(name) => {
                let there = self.in_namespace(name);
                found.extend(there.filter(|view| peer.pods.matches(&view.pod.labels)));
            }
            Scope::Matching(namespaces) => {
                let places = self.matching_places(namespaces);
                let crowd: usize = places.iter().map(|place| place.pods.len()).sum();
                match self.pod_labels.narrow(&peer.pods) {
                    Some(narrow) if narrow.estimate() < crowd => {
                        let names: BTreeSet<&Arc<str>> =
                            places.iter().map(|place| &place.name).collect();
                        found.extend(narrow.ids().filter_map(|slot| self.at(slot)).filter(
                            |view| {
                                peer.pods.matches(&view.pod.labels)
                                    && names.contains(view.pod.name.namespace())
                            },
                        ));
                    }
                    _ => {
                        let slots = places.iter().flat_map(|place| &place.pods);
                        let views = slots.filter_map(|&slot| self.at(slot));
                        found.extend(views.filter(|view| peer.pods.matches(&view.pod.labels)));
                    }
                }
            }
        }
        found
    }

    fn matching_places(&self, selector: &Selector) -> Vec<&Place> {
        let is_in = |place: &&Place| !place.pods.is_empty() && selector.matches(&place.labels);
        match self.namespace_labels.narrow(selector) {
            Some(narrow) => narrow
                .ids()
                .map(|id| &self.namespaces[id as usize])
                .filter(is_in)
                .collect(),
            None => self.namespaces.iter().filter(is_in).collect(),
        }
    }

    fn at(&self, slot: u32) -> Option<&View> {
        self.pods[slot as usize].as_ref()
    }

    /// Takes a pod out; its slot stays its own unless it `is_gone`.
    fn take(&mut self, uid: &Uid, is_gone: bool) -> Option<View> {
        let slot = *self.slots.get(uid)?;
        let view = self.pods[slot as usize].take()?;
        self.pod_labels.remove(slot, &view.pod.labels);
        if let Some(&id) = self.places.get(view.pod.name.namespace()) {
            self.namespaces[id as usize].pods.remove(&slot);
        }
        if is_gone {
            self.slots.remove(uid);
            self.free.push(slot);
        }
        Some(view)
    }

    fn put(&mut self, world: &World, uid: &Uid, view: View) {
        let id = self.place(world, view.pod.name.namespace());
        let slot = match self.slots.get(uid) {
            Some(slot) => *slot,
            None => self.new_slot(uid),
        };
        self.pod_labels.insert(slot, &view.pod.labels);
        self.namespaces[id as usize].pods.insert(slot);
        self.pods[slot as usize] = Some(view);
    }

    fn new_slot(&mut self, uid: &Uid) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pods.push(None);
            number(self.pods.len() - 1)
        });
        self.slots.insert(uid.clone(), slot);
        slot
    }

    /// The number of the namespace `name`, which is added if it was not seen.
    fn place(&mut self, world: &World, name: &Arc<str>) -> u32 {
        if let Some(&id) = self.places.get(name) {
            return id;
        }
        let id = number(self.namespaces.len());
        let labels = world.namespace_labels(name);
        self.namespace_labels.insert(id, &labels);
        self.namespaces.push(Place {
            name: name.clone(),
            labels,
            pods: BTreeSet::new(),
        });
        self.places.insert(name.clone(), id);
        id
    }
}

/// The endpoint `uid` as the world has it.
fn view(world: &World, uid: &Uid) -> Option<View> {
    let pod = world.pod(uid).filter(|pod| pod.is_endpoint())?;
    let addresses: Vec<IpAddr> = world.owned_addresses(pod).collect();
    let pod = pod.clone();
    (!addresses.is_empty()).then_some(View { pod, addresses })
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("invariant: fewer than 2^32 pods and namespaces fit into memory")
}
