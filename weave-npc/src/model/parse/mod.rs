//! From objects as written to checked values.
//!
//! Invariant: what the API server refuses is refused here, with the path of the field; what it
//! defaults is defaulted here, because objects may come from files that no server has seen.

mod cluster;
mod labels;
mod place;
mod pod;
mod policy;
#[cfg(test)]
mod tests;

use std::fmt;

use super::raw;
use super::{
    ClusterNetworkPolicy, Mode, Namespace, NetworkPolicy, Node, ObjectError, ObjectRef, Pod,
};

/// Where in an object something stands. Cheap to make, written out only in an error.
#[derive(Clone, Copy)]
struct At<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// What is wrong at which path.
struct Problem {
    path: String,
    reason: String,
}

impl<'a> At<'a> {
    /// A field of the object itself.
    fn root(field: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Field(field),
        }
    }

    /// A field of what stands here.
    fn field(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// An element of the list that stands here.
    fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    /// What stands here is wrong.
    fn wrong(&self, reason: impl Into<String>) -> Problem {
        Problem {
            path: self.to_string(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl Problem {
    fn of(self, object: ObjectRef) -> ObjectError {
        ObjectError {
            object,
            path: self.path,
            reason: self.reason,
        }
    }
}

impl raw::Metadata {
    /// How errors name the object of `kind` with this metadata.
    fn reference(&self, kind: &str) -> ObjectRef {
        ObjectRef {
            kind: kind.to_owned(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone(),
        }
    }

    /// The namespace of a namespaced object.
    fn home(&self) -> &str {
        match self.namespace.as_deref() {
            None | Some("") => "default",
            Some(namespace) => namespace,
        }
    }

    /// The name, which every object has.
    fn checked_name(&self) -> Result<&str, Problem> {
        if self.name.is_empty() {
            return Err(At::root("metadata").field("name").wrong("is missing"));
        }
        Ok(&self.name)
    }

    /// What the mode annotation says; enforced if it is absent.
    fn mode(&self) -> Result<Mode, Problem> {
        let value = self
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(super::MODE_ANNOTATION));
        match value.map(String::as_str) {
            None | Some("enforce") => Ok(Mode::Enforce),
            Some("audit") => Ok(Mode::Audit),
            Some(other) => Err(At::root("metadata")
                .field("annotations")
                .field(super::MODE_ANNOTATION)
                .wrong(format!("is {other:?}: write audit or enforce"))),
        }
    }
}

/// Implements `TryFrom` for a value by a function that reports a [`Problem`].
macro_rules! parsed_by {
    ($kind:literal, $raw:ty => $value:ty, $parse:path) => {
        impl TryFrom<$raw> for $value {
            type Error = ObjectError;

            fn try_from(raw: $raw) -> Result<Self, Self::Error> {
                $parse(&raw).map_err(|problem| problem.of(raw.metadata.reference($kind)))
            }
        }
    };
}

parsed_by!("Namespace", raw::Namespace => Namespace, place::namespace);
parsed_by!("Node", raw::Node => Node, place::node);
parsed_by!("Pod", raw::Pod => Pod, pod::pod);
parsed_by!("NetworkPolicy", raw::NetworkPolicy => NetworkPolicy, policy::policy);
parsed_by!("ClusterNetworkPolicy", raw::ClusterNetworkPolicy => ClusterNetworkPolicy, cluster::policy);
