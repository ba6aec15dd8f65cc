//! The vocabulary of policy: namespaces, pods, nodes, policies, and the [`World`] that holds them.
//!
//! Objects are plain values that are valid once they exist: defaults are applied, networks masked,
//! selectors in canonical form. The `raw` types read what Kubernetes writes; turning them into
//! values is where everything the API server would refuse is refused.

mod cluster;
mod error;
mod name;
mod parse;
mod pod;
mod policy;
mod protocol;
pub mod raw;
mod world;

pub use cluster::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPeers, ClusterPort, ClusterRule, Notice, Tier,
};
pub use error::{ObjectError, ObjectRef};
pub use name::{ObjectName, Uid};
pub use pod::{NamedPort, Namespace, Node, Phase, Pod};
pub use policy::{
    Block, Direction, MODE_ANNOTATION, Mode, NetworkPolicy, Peer, PodPeer, PortMatch, Ports, Rule,
    Scope,
};
pub use protocol::{ParseProtocolError, ParseTransportError, Protocol, Transport};
pub use world::{Host, Key, Object, Touched, World};
