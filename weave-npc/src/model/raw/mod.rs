//! Objects as Kubernetes writes them: the fields policy needs, everything else ignored.
//!
//! These types only mirror the JSON form (they implement `Deserialize`); `TryFrom` turns them into
//! the checked values of [`model`](crate::model). A watcher that has typed objects of its own can
//! fill them by hand.

mod cluster;
mod policy;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use cluster::{
    ClusterNetworkPolicy, ClusterNetworkPolicySpec, ClusterPeer, ClusterPort, ClusterPortRange,
    ClusterProtocol, ClusterRule, NamespacedPod, PortField, Subject,
};
pub use policy::{
    IntOrString, IpBlock, LabelSelector, LabelSelectorRequirement, NetworkPolicy,
    NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule, NetworkPolicySpec,
};

/// `metadata` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; empty or absent means `default` for namespaced kinds.
    pub namespace: Option<String>,
    /// Identity over the object's life.
    pub uid: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<String>,
}

/// A `Namespace`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Metadata,
}

/// A `Node`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Metadata,
    /// Status.
    pub status: Option<NodeStatus>,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Addresses of all types.
    pub addresses: Option<Vec<NodeAddress>>,
}

/// One entry of `status.addresses` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname` and others.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address or name.
    pub address: String,
}

/// A `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Metadata,
    /// Specification.
    pub spec: Option<PodSpec>,
    /// Status.
    pub status: Option<PodStatus>,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node it is bound to.
    pub node_name: Option<String>,
    /// True if it uses the node's network.
    pub host_network: Option<bool>,
    /// Containers.
    pub containers: Option<Vec<Container>>,
    /// Init containers; those that keep running serve ports too.
    pub init_containers: Option<Vec<Container>>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Declared ports.
    pub ports: Option<Vec<ContainerPort>>,
}

/// A declared port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: Option<String>,
    /// Number.
    pub container_port: i64,
    /// Protocol; TCP if absent.
    pub protocol: Option<String>,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: Option<String>,
    /// First address. `podIPs` goes before it.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// All addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Vec<PodIp>>,
}

/// One entry of `status.podIPs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}
