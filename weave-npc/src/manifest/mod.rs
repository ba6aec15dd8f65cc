//! Objects from the text of manifests: JSON or YAML, one or many documents, lists of objects.
//!
//! Invariant: each object is read on its own. One that cannot be read is an error that names it;
//! its neighbours are not affected. Kinds without a say in policy are passed over.

mod case;
mod split;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{Object, ObjectError, ObjectRef, raw};

pub use case::{Case, Expectation, Step, Suite};

/// What one manifest holds, in the order of the text.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Manifest {
    /// The objects that were read.
    pub objects: Vec<Object>,
    /// The objects that were refused.
    pub errors: Vec<ObjectError>,
    /// How many objects were passed over because their kind has no say in policy.
    pub passed_over: usize,
}

impl Manifest {
    /// Reads `text`.
    ///
    /// ```
    /// use weave_npc::manifest::Manifest;
    ///
    /// let manifest = Manifest::read(
    ///     "kind: Namespace\nmetadata: {name: shop}\n---\nkind: NetworkPolicy\nmetadata: {name: p}\n",
    /// );
    ///
    /// assert_eq!(manifest.objects.len(), 1);
    /// assert_eq!(manifest.errors[0].to_string(), "NetworkPolicy p: spec: is missing");
    /// ```
    pub fn read(text: &str) -> Self {
        let mut manifest = Self::default();
        for document in split::documents(text) {
            match document {
                Ok(value) => manifest.read_value(value, 0),
                Err((line, reason)) => manifest.errors.push(ObjectError::new(
                    ObjectRef::default(),
                    format!("document at line {line}"),
                    reason,
                )),
            }
        }
        manifest
    }

    /// Adds what `other` holds.
    pub fn append(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.errors.extend(other.errors);
        self.passed_over += other.passed_over;
    }

    fn read_value(&mut self, value: Value, depth: usize) {
        let mut items = Vec::new();
        flatten(value, depth, &mut items);
        for item in items {
            match object(&item) {
                Ok(Some(object)) => self.objects.push(object),
                Ok(None) => self.passed_over += 1,
                Err(error) => self.errors.push(error),
            }
        }
    }
}

/// The objects of `text` as they are written, of any kind; lists are taken apart.
///
/// # Errors
///
/// The first document that is neither JSON nor YAML.
pub fn values(text: &str) -> Result<Vec<Value>, ObjectError> {
    let mut values = Vec::new();
    for document in split::documents(text) {
        let value = document.map_err(|(line, reason)| {
            let place = format!("document at line {line}");
            ObjectError::new(ObjectRef::default(), place, reason)
        })?;
        flatten(value, 0, &mut values);
    }
    Ok(values)
}

/// Appends a value that is no list, or the items of one.
fn flatten(mut value: Value, depth: usize, values: &mut Vec<Value>) {
    if value.is_null() {
        return;
    }
    let is_list = text_of(&value, "kind").ends_with("List");
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list && depth < DEEPEST_LIST => {
            for item in items {
                flatten(item, depth + 1, values);
            }
        }
        Some(Value::Null) if is_list => {}
        _ => values.push(value),
    }
}

/// One object of any kind, or `None` if its kind has no say in policy.
///
/// # Errors
///
/// The object is of a kind that has a say, and cannot be used.
pub fn object(value: &Value) -> Result<Option<Object>, ObjectError> {
    let kind = text_of(value, "kind");
    let version = text_of(value, "apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match kind {
        "Namespace" if group.is_empty() => typed::<raw::Namespace, _>(value, Object::Namespace),
        "Node" if group.is_empty() => typed::<raw::Node, _>(value, Object::Node),
        "Pod" if group.is_empty() => typed::<raw::Pod, _>(value, Object::Pod),
        "NetworkPolicy" if matches!(version, "" | "networking.k8s.io/v1") => {
            typed::<raw::NetworkPolicy, _>(value, Object::Policy)
        }
        "ClusterNetworkPolicy" if matches!(version, "" | "policy.networking.k8s.io/v1alpha2") => {
            typed::<raw::ClusterNetworkPolicy, _>(value, Object::ClusterPolicy)
        }
        "NetworkPolicy" if matches!(group, "networking.k8s.io" | "extensions") => {
            Err(refused(value, "apiVersion", "write networking.k8s.io/v1"))
        }
        "ClusterNetworkPolicy" if group == "policy.networking.k8s.io" => {
            let reason = "write policy.networking.k8s.io/v1alpha2";
            Err(refused(value, "apiVersion", reason))
        }
        "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy" => {
            let reason = "is not supported: write a ClusterNetworkPolicy";
            Err(refused(value, "kind", reason))
        }
        "" => Err(refused(value, "kind", "is missing")),
        _ => Ok(None),
    }
}

fn typed<Raw, Checked>(
    value: &Value,
    wrap: impl Fn(Checked) -> Object,
) -> Result<Option<Object>, ObjectError>
where
    Raw: DeserializeOwned,
    Checked: TryFrom<Raw, Error = ObjectError>,
{
    let raw: Raw = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        refused(value, &path, &error.into_inner().to_string())
    })?;
    Checked::try_from(raw).map(|checked| Some(wrap(checked)))
}

fn refused(value: &Value, path: &str, reason: &str) -> ObjectError {
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let object = ObjectRef {
        kind: text_of(value, "kind").to_owned(),
        namespace: text_of(metadata, "namespace").to_owned(),
        name: text_of(metadata, "name").to_owned(),
    };
    ObjectError::new(object, path, reason)
}

fn text_of<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// How deep lists may hold lists. `kubectl get -o json` makes one level.
const DEEPEST_LIST: usize = 4;
