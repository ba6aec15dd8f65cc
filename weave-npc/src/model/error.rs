//! Why an object was refused. A refused object changes nothing; all others go on.

use std::fmt;

/// An object that cannot be used: which one, where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {path}: {reason}")]
#[non_exhaustive]
pub struct ObjectError {
    /// The object.
    pub object: ObjectRef,
    /// The field, for example `spec.ingress[0].ports[1].endPort`.
    pub path: String,
    /// What is wrong with the field.
    pub reason: String,
}

impl ObjectError {
    /// `object` is refused because of what stands at `path`.
    pub fn new(object: ObjectRef, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            object,
            path: path.into(),
            reason: reason.into(),
        }
    }
}

/// How an error names an object that may not even have a readable name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind, as written.
    pub kind: String,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
    /// The name; empty if it has none.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() {
            "object without kind"
        } else {
            &self.kind
        };
        write!(f, "{kind}")?;
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}
