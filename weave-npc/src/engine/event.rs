//! What a source of objects says.
//!
//! Invariant: a [`Listing`] says everything about its kinds; what it does not name is gone.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Key, Object, ObjectError, ObjectRef};

/// One kind of object that has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `Namespace`.
    Namespace,
    /// `Node`.
    Node,
    /// `Pod`.
    Pod,
    /// `NetworkPolicy`.
    Policy,
    /// `ClusterNetworkPolicy`.
    ClusterPolicy,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Policy,
        Self::ClusterPolicy,
    ];

    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Policy => "NetworkPolicy",
            Self::ClusterPolicy => "ClusterNetworkPolicy",
        }
    }

    /// The kind of what `key` identifies.
    pub fn of_key(key: &Key) -> Self {
        match key {
            Key::Namespace(_) => Self::Namespace,
            Key::Node(_) => Self::Node,
            Key::Pod(_) => Self::Pod,
            Key::Policy(_) => Self::Policy,
            Key::ClusterPolicy(_) => Self::ClusterPolicy,
        }
    }

    /// The kind of what `object` names; nothing if it names none that has a say.
    pub fn of_ref(object: &ObjectRef) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.as_str() == object.kind && !object.name.is_empty())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of the world.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An object appeared or changed.
    Applied(Object),
    /// An object is gone.
    Removed(Key),
    /// An object appeared or changed, and cannot be used.
    Refused(ObjectError),
    /// All objects of some kinds.
    Listed(Listing),
    /// A kind cannot be listed and is to keep nothing from being enforced. What is known of it stays.
    Unlisted(Kind),
}

/// All objects of some kinds at one moment.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The kinds it is about.
    pub kinds: BTreeSet<Kind>,
    /// The objects.
    pub objects: Vec<Object>,
    /// Objects that are there and cannot be used.
    pub refused: Vec<ObjectError>,
}

impl Listing {
    /// Every object of `kind`.
    pub fn of(kind: Kind, objects: Vec<Object>, refused: Vec<ObjectError>) -> Self {
        Self {
            kinds: [kind].into(),
            objects,
            refused,
        }
    }

    /// Every object of every kind.
    pub fn whole(objects: Vec<Object>, refused: Vec<ObjectError>) -> Self {
        Self {
            kinds: Kind::ALL.into(),
            objects,
            refused,
        }
    }

    /// True if it holds a document that might be any object.
    pub(super) fn is_torn(&self) -> bool {
        self.refused
            .iter()
            .any(|error| Kind::of_ref(&error.object).is_none())
    }
}
