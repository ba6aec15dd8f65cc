//! All objects at one moment, and who owns which address.
//!
//! Invariant: an address has at most one owner. Of the endpoints that claim it, one that is not
//! terminating goes before one that is, then the one that claimed it last; so it does not matter
//! whether the end of an old pod or the start of its successor is heard first.

mod owners;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{ClusterNetworkPolicy, Namespace, NetworkPolicy, Node, ObjectName, Pod, Uid};
use crate::Labels;

use owners::Owners;

/// Any object that has a say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A namespace.
    Namespace(Namespace),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Pod),
    /// A NetworkPolicy.
    Policy(NetworkPolicy),
    /// A ClusterNetworkPolicy.
    ClusterPolicy(ClusterNetworkPolicy),
}

/// What identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A namespace by name.
    Namespace(Arc<str>),
    /// A node by name.
    Node(Arc<str>),
    /// A pod by identity.
    Pod(Uid),
    /// A NetworkPolicy by name.
    Policy(ObjectName),
    /// A ClusterNetworkPolicy by name.
    ClusterPolicy(Arc<str>),
}

impl Object {
    /// What identifies this object.
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(namespace) => Key::Namespace(namespace.name.clone()),
            Self::Node(node) => Key::Node(node.name.clone()),
            Self::Pod(pod) => Key::Pod(pod.uid.clone()),
            Self::Policy(policy) => Key::Policy(policy.name.clone()),
            Self::ClusterPolicy(policy) => Key::ClusterPolicy(policy.name.clone()),
        }
    }
}

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'w> {
    /// A pod of the pod network.
    Pod(&'w Pod),
    /// A node, or a pod that uses its network; by the node's name.
    Node(&'w Arc<str>),
    /// Nobody that is known.
    Outside,
}

/// What a change touched, for those who derive something from the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Touched {
    /// Pods that appeared, changed, went, or won or lost an address.
    pub pods: BTreeSet<Uid>,
    /// Namespaces whose labels may have changed.
    pub namespaces: BTreeSet<Arc<str>>,
    /// Nodes that appeared, changed or went.
    pub nodes: BTreeSet<Arc<str>>,
    /// NetworkPolicies that appeared, changed or went.
    pub policies: BTreeSet<ObjectName>,
    /// ClusterNetworkPolicies that appeared, changed or went.
    pub cluster_policies: BTreeSet<Arc<str>>,
}

/// All objects at one moment.
///
/// ```
/// use weave_npc::model::{Host, Object, ObjectName, Pod, Uid, World};
///
/// let pod = Pod::new(ObjectName::new("shop", "web-0"), Uid::new("1"))
///     .with_addresses(["10.32.0.7".parse()?]);
/// let mut world = World::new();
/// let touched = world.apply(Object::Pod(pod));
///
/// assert_eq!(touched.pods.len(), 1);
/// assert!(matches!(world.host("10.32.0.7".parse()?), Host::Pod(_)));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct World {
    namespaces: BTreeMap<Arc<str>, Namespace>,
    nodes: BTreeMap<Arc<str>, Node>,
    pods: BTreeMap<Uid, Arc<Pod>>,
    policies: BTreeMap<ObjectName, NetworkPolicy>,
    cluster_policies: BTreeMap<Arc<str>, ClusterNetworkPolicy>,
    owners: Owners,
}

impl World {
    /// Nothing at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `object`, or replaces the one with its key.
    pub fn apply(&mut self, object: Object) -> Touched {
        let mut touched = Touched::of(object.key());
        match object {
            Object::Namespace(namespace) => {
                self.namespaces.insert(namespace.name.clone(), namespace);
            }
            Object::Node(node) => {
                self.owners.set_node(&node);
                self.nodes.insert(node.name.clone(), node);
            }
            Object::Pod(pod) => {
                self.owners.set_pod(&pod, &mut touched.pods);
                self.pods.insert(pod.uid.clone(), Arc::new(pod));
            }
            Object::Policy(policy) => {
                self.policies.insert(policy.name.clone(), policy);
            }
            Object::ClusterPolicy(policy) => {
                self.cluster_policies.insert(policy.name.clone(), policy);
            }
        }
        touched
    }

    /// Removes the object with `key`, or nothing if there is none.
    pub fn remove(&mut self, key: &Key) -> Touched {
        let mut touched = Touched::of(key.clone());
        match key {
            Key::Namespace(name) => {
                self.namespaces.remove(name);
            }
            Key::Node(name) => {
                self.owners.remove_node(name);
                self.nodes.remove(name);
            }
            Key::Pod(uid) => {
                self.owners.remove_pod(uid, &mut touched.pods);
                self.pods.remove(uid);
            }
            Key::Policy(name) => {
                self.policies.remove(name);
            }
            Key::ClusterPolicy(name) => {
                self.cluster_policies.remove(name);
            }
        }
        touched
    }

    /// Every object counts as touched, for those who start from nothing.
    pub fn everything(&self) -> Touched {
        Touched {
            pods: self.pods.keys().cloned().collect(),
            namespaces: self.namespaces.keys().cloned().collect(),
            nodes: self.nodes.keys().cloned().collect(),
            policies: self.policies.keys().cloned().collect(),
            cluster_policies: self.cluster_policies.keys().cloned().collect(),
        }
    }

    /// Who has `address`. A pod goes before a node.
    pub fn host(&self, address: IpAddr) -> Host<'_> {
        if let Some(pod) = self.owners.pod(address).and_then(|uid| self.pods.get(uid)) {
            return Host::Pod(pod);
        }
        self.owners.node(address).map_or(Host::Outside, Host::Node)
    }

    /// The addresses `pod` owns now: those of its addresses that no other endpoint has won.
    pub fn owned_addresses<'w>(&'w self, pod: &'w Pod) -> impl Iterator<Item = IpAddr> + 'w {
        pod.addresses
            .iter()
            .copied()
            .filter(|&address| self.owners.pod(address) == Some(&pod.uid))
    }

    /// The labels of the namespace `name`. One that is not known carries its name only.
    pub fn namespace_labels(&self, name: &Arc<str>) -> Labels {
        self.namespaces.get(name).map_or_else(
            || Namespace::new(name.clone(), Labels::new()).labels,
            |namespace| namespace.labels.clone(),
        )
    }

    /// The namespace `name`.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// The node `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The pod with the identity `uid`.
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<Pod>> {
        self.pods.get(uid)
    }

    /// The pods with this name, oldest identity first in text order. While one pod replaces
    /// another there are two.
    pub fn pods_named<'w>(&'w self, name: &'w ObjectName) -> impl Iterator<Item = &'w Pod> + 'w {
        self.pods().filter(move |pod| pod.name == *name)
    }

    /// The NetworkPolicy `name`.
    pub fn policy(&self, name: &ObjectName) -> Option<&NetworkPolicy> {
        self.policies.get(name)
    }

    /// The ClusterNetworkPolicy `name`.
    pub fn cluster_policy(&self, name: &str) -> Option<&ClusterNetworkPolicy> {
        self.cluster_policies.get(name)
    }

    /// All namespaces by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// All nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// All pods by identity, also those that are no endpoints.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(Arc::as_ref)
    }

    /// All NetworkPolicies by name.
    pub fn policies(&self) -> impl Iterator<Item = &NetworkPolicy> {
        self.policies.values()
    }

    /// The NetworkPolicies of one namespace by name.
    pub fn policies_in<'w>(
        &'w self,
        namespace: &'w Arc<str>,
    ) -> impl Iterator<Item = &'w NetworkPolicy> + 'w {
        let first = ObjectName::new(namespace.clone(), "");
        self.policies
            .range(first..)
            .take_while(move |(name, _)| name.namespace() == namespace)
            .map(|(_, policy)| policy)
    }

    /// All ClusterNetworkPolicies by name.
    pub fn cluster_policies(&self) -> impl Iterator<Item = &ClusterNetworkPolicy> {
        self.cluster_policies.values()
    }
}

impl FromIterator<Object> for World {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut world = Self::new();
        for object in objects {
            let _ = world.apply(object);
        }
        world
    }
}

impl Touched {
    /// The object with `key` was touched, nothing else.
    pub fn of(key: Key) -> Self {
        let mut touched = Self::default();
        match key {
            Key::Namespace(name) => {
                touched.namespaces.insert(name);
            }
            Key::Node(name) => {
                touched.nodes.insert(name);
            }
            Key::Pod(uid) => {
                touched.pods.insert(uid);
            }
            Key::Policy(name) => {
                touched.policies.insert(name);
            }
            Key::ClusterPolicy(name) => {
                touched.cluster_policies.insert(name);
            }
        }
        touched
    }

    /// Adds what `other` touched.
    pub fn merge(&mut self, other: Self) {
        self.pods.extend(other.pods);
        self.namespaces.extend(other.namespaces);
        self.nodes.extend(other.nodes);
        self.policies.extend(other.policies);
        self.cluster_policies.extend(other.cluster_policies);
    }

    /// True if nothing was touched.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
