//! Nodes as the API server gives them, read as far as they are used.

use serde::Deserialize;

use super::list::Versioned;
use crate::kube::condition;
use crate::kube::nodes::{self, Node};

/// A Node of the API.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeObject {
    #[serde(default)]
    metadata: NodeMeta,
    #[serde(default)]
    status: Option<NodeStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct NodeMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(rename = "resourceVersion", default)]
    version: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    addresses: Option<Vec<NodeAddress>>,
    #[serde(default)]
    conditions: Option<Vec<NodeCondition>>,
}

#[derive(Debug, Clone, Deserialize)]
struct NodeAddress {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    address: String,
}

#[derive(Debug, Clone, Deserialize)]
struct NodeCondition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: Option<String>,
}

impl NodeObject {
    /// What the Node is called.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }
}

impl Versioned for NodeObject {
    fn version(&self) -> &str {
        &self.metadata.version
    }
}

impl From<NodeObject> for Node {
    fn from(object: NodeObject) -> Self {
        let status = object.status.unwrap_or_default();
        let addresses = status.addresses.unwrap_or_default();
        let pairs = addresses.iter().map(|one| (&*one.kind, &*one.address));
        let conditions = status.conditions.unwrap_or_default();
        let available = conditions
            .into_iter()
            .find(|one| one.kind == condition::KIND && one.status == "False")
            .map(|one| one.reason.unwrap_or_default());
        Self {
            name: object.metadata.name,
            uid: object.metadata.uid,
            address: nodes::address(pairs),
            available,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_is_read_with_as_little_as_there_is() {
        let read = |value: Value| Node::from(serde_json::from_value::<NodeObject>(value).unwrap());

        let bare = read(json!({"metadata": {"name": "n"}}));
        let full = read(json!({
            "metadata": {"name": "n", "uid": "u", "resourceVersion": "3"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "conditions": [{"type": "NetworkUnavailable", "status": "False", "reason": "WeaveIsUp"}],
            },
        }));
        let taken = read(json!({"status": {"addresses": null, "conditions": [
            {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"},
        ]}}));

        assert_eq!((bare.address, bare.available), (None, None));
        assert_eq!(full.address, Some([10, 0, 0, 1].into()));
        assert!(full.is_up_by_weave());
        assert_eq!(taken.available, None);
    }
}
