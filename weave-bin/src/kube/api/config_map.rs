//! The ConfigMap that peers share, kept whole, since it is written back whole.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ApiError;
use crate::kube::record::Record;

/// A ConfigMap as it was read: the record, and all else for writing it back.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What it holds.
    pub record: Record,
    object: Value,
}

impl Stored {
    /// Reads a ConfigMap.
    ///
    /// # Errors
    /// Its parts are of other kinds than the API allows, or hold no record.
    pub fn read(object: Value) -> Result<Self, ApiError> {
        let texts = |value: &Value| -> Result<BTreeMap<String, String>, ApiError> {
            Option::deserialize(value)
                .map(Option::unwrap_or_default)
                .map_err(|error| ApiError::Refused(format!("an odd ConfigMap: {error}")))
        };
        let record = Record::read(
            texts(&object["metadata"]["annotations"])?,
            texts(&object["data"])?,
        )?;
        Ok(Self { record, object })
    }

    /// The UID of the ConfigMap, which old tools print as the cluster's.
    pub fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// The same ConfigMap with `record` in place of its own.
    pub(super) fn with(&self, record: Record) -> Value {
        let mut object = self.object.clone();
        fill(&mut object, record);
        object
    }
}

/// A ConfigMap of `record` that was never stored.
pub(super) fn fresh(record: Record) -> Value {
    let mut object = json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": { "name": super::NAME, "namespace": super::NAMESPACE },
    });
    fill(&mut object, record);
    object
}

/// Puts `record` into the ConfigMap `object`; parts that were absent and are empty stay absent.
fn fill(object: &mut Value, record: Record) {
    let (annotations, data) = record.into_parts();
    let put = |place: &mut Value, texts: BTreeMap<String, String>| {
        if !texts.is_empty() || !place.is_null() {
            *place = json!(texts);
        }
    };
    // Indexing makes a null of what is not there, and that would be sent.
    if object.get("data").is_some() || !data.is_empty() {
        put(&mut object["data"], data);
    }
    if object["metadata"].get("annotations").is_some() || !annotations.is_empty() {
        put(&mut object["metadata"]["annotations"], annotations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_is_written_back_whole() {
        let object = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "binaryData": {"x": "AA=="},
            "metadata": {"name": "weave-net", "labels": {"a": "b"}, "resourceVersion": "7"},
        });
        let mut read = Stored::read(object.clone()).unwrap();

        let same = read.with(read.record.clone());
        read.record.set_lock("p", "q");
        let locked = read.with(read.record.clone());

        assert_eq!(same, object);
        assert_eq!(locked["metadata"]["resourceVersion"], "7");
        assert_eq!(locked["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(locked["binaryData"], json!({"x": "AA=="}));
        let lock = json!({"kube-peers.weave.works/p": "q"});
        assert_eq!(locked["metadata"]["annotations"], lock);
        assert_eq!(locked.get("data"), None);
    }
}
