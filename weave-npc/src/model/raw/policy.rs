//! `NetworkPolicy` of `networking.k8s.io/v1` as written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Metadata;

/// A `NetworkPolicy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetworkPolicy {
    /// Metadata.
    pub metadata: Metadata,
    /// Specification.
    pub spec: Option<NetworkPolicySpec>,
}

/// `spec` of a NetworkPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// The pods it selects; absent is read as empty.
    pub pod_selector: Option<LabelSelector>,
    /// Directions; absent or empty: defaulted from the rules.
    pub policy_types: Option<Vec<String>>,
    /// Rules for traffic to the pods.
    pub ingress: Option<Vec<NetworkPolicyRule>>,
    /// Rules for traffic from the pods.
    pub egress: Option<Vec<NetworkPolicyRule>>,
}

/// One ingress or egress rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetworkPolicyRule {
    /// Sources, in an ingress rule.
    pub from: Option<Vec<NetworkPolicyPeer>>,
    /// Destinations, in an egress rule.
    pub to: Option<Vec<NetworkPolicyPeer>>,
    /// Destination ports.
    pub ports: Option<Vec<NetworkPolicyPort>>,
}

/// One peer of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyPeer {
    /// Pods by label.
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces by label.
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    pub ip_block: Option<IpBlock>,
}

/// A network with holes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IpBlock {
    /// The network.
    pub cidr: String,
    /// The holes.
    pub except: Option<Vec<String>>,
}

/// One port of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyPort {
    /// Protocol; TCP if absent.
    pub protocol: Option<String>,
    /// Number or name; every port if absent.
    pub port: Option<IntOrString>,
    /// Last number of a range.
    pub end_port: Option<i64>,
}

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A text.
    String(String),
}

/// A label selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Keys with the value they must have.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Further conditions.
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// One condition of a label selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LabelSelectorRequirement {
    /// The key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values, for `In` and `NotIn`.
    pub values: Option<Vec<String>>,
}
