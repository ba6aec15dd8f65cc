//! `ClusterNetworkPolicy` of `policy.networking.k8s.io/v1alpha2` as written.

use serde::Deserialize;

use super::{LabelSelector, Metadata};

/// A `ClusterNetworkPolicy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterNetworkPolicy {
    /// Metadata.
    pub metadata: Metadata,
    /// Specification.
    pub spec: Option<ClusterNetworkPolicySpec>,
}

/// `spec` of a cluster policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterNetworkPolicySpec {
    /// `Admin` or `Baseline`.
    pub tier: String,
    /// 0 to 1000.
    pub priority: Option<i64>,
    /// The pods it is about.
    pub subject: Option<Subject>,
    /// Rules for traffic to the pods.
    pub ingress: Option<Vec<ClusterRule>>,
    /// Rules for traffic from the pods.
    pub egress: Option<Vec<ClusterRule>>,
}

/// The pods a policy is about. Exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// All pods of some namespaces.
    pub namespaces: Option<LabelSelector>,
    /// Some pods of some namespaces.
    pub pods: Option<NamespacedPod>,
}

/// Some pods of some namespaces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedPod {
    /// The namespaces; all if absent.
    pub namespace_selector: Option<LabelSelector>,
    /// The pods in them; all if absent.
    pub pod_selector: Option<LabelSelector>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterRule {
    /// Name.
    pub name: Option<String>,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// Sources, in an ingress rule.
    pub from: Option<Vec<ClusterPeer>>,
    /// Destinations, in an egress rule.
    pub to: Option<Vec<ClusterPeer>>,
    /// Protocols and ports.
    pub protocols: Option<Vec<ClusterProtocol>>,
}

/// One peer. Exactly one field is set; none means that the object has a field of a later version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPeer {
    /// All pods of some namespaces.
    pub namespaces: Option<LabelSelector>,
    /// Some pods of some namespaces.
    pub pods: Option<NamespacedPod>,
    /// Nodes by label.
    pub nodes: Option<LabelSelector>,
    /// Networks.
    pub networks: Option<Vec<String>>,
    /// Domain names.
    pub domain_names: Option<Vec<String>>,
}

/// One protocol. Exactly one field is set; none means a field of a later version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterProtocol {
    /// TCP.
    pub tcp: Option<PortField>,
    /// UDP.
    pub udp: Option<PortField>,
    /// SCTP.
    pub sctp: Option<PortField>,
    /// A named port of the destination pod.
    pub destination_named_port: Option<String>,
}

/// What of a protocol is matched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortField {
    /// The destination port; every port if absent.
    pub destination_port: Option<ClusterPort>,
}

/// A port or a range. Exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterPort {
    /// One port.
    pub number: Option<i64>,
    /// A range.
    pub range: Option<ClusterPortRange>,
}

/// A range of ports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterPortRange {
    /// First port.
    pub start: i64,
    /// Last port.
    pub end: i64,
}
