//! Whether a selector, a peer or a port matches one end of a flow.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Condition, Ends, Place};
use crate::model::{
    Block, ClusterPeer, ClusterPort, Direction, Host, Peer, Pod, PodPeer, PortMatch, Ports,
    Protocol, Scope, World,
};

/// What keeps `pod` out of `peer`; `None` if it is in.
pub(super) fn miss_of_pod(world: &World, peer: &PodPeer, pod: &Pod) -> Option<Condition> {
    match &peer.namespaces {
        Scope::Only(name) if name != pod.name.namespace() => {
            return Some(Condition::Namespace(name.clone()));
        }
        Scope::Only(_) => {}
        Scope::Matching(selector) => {
            let labels = world.namespace_labels(pod.name.namespace());
            if !selector.matches(&labels) {
                return Condition::label(Place::Namespace, selector.requirements(), &labels);
            }
        }
    }
    if peer.pods.matches(&pod.labels) {
        return None;
    }
    Condition::label(Place::Pod, peer.pods.requirements(), &pod.labels)
}

impl Ends<'_> {
    /// What keeps the other end out of `peer`; `None` if it is in.
    pub(super) fn miss_of_peer(&self, direction: Direction, peer: &Peer) -> Option<Condition> {
        match peer {
            Peer::Pods(pods) => match self.peer(direction) {
                Host::Pod(pod) => miss_of_pod(self.world, pods, pod),
                Host::Node(_) | Host::Outside => Some(Condition::PeerIsNoPod),
            },
            Peer::Block(block) => {
                let is_in = holds(block, self.peer_address(direction));
                (!is_in).then_some(Condition::Address)
            }
        }
    }

    /// True if the other end is in `peer`.
    pub(super) fn is_cluster_peer(&self, direction: Direction, peer: &ClusterPeer) -> bool {
        let address = self.peer_address(direction);
        match peer {
            ClusterPeer::Pods(pods) => match self.peer(direction) {
                Host::Pod(pod) => miss_of_pod(self.world, pods, pod).is_none(),
                Host::Node(_) | Host::Outside => false,
            },
            ClusterPeer::Networks(networks) => networks.iter().any(|net| net.contains(&address)),
            ClusterPeer::Nodes(selector) => self
                .world
                .nodes()
                .any(|node| selector.matches(&node.labels) && node.addresses.contains(&address)),
        }
    }

    /// True if the flow goes to one of the ports of a NetworkPolicy.
    pub(super) fn is_port(&self, port: &PortMatch) -> bool {
        let Some((protocol, number)) = self.flow.transport.port() else {
            return false;
        };
        protocol == port.protocol
            && match &port.ports {
                Ports::All => true,
                Ports::Range(first, last) => (*first..=*last).contains(&number),
                Ports::Named(name) => self.is_named(name, protocol, number),
            }
    }

    /// True if the flow goes to one of the ports of a ClusterNetworkPolicy.
    pub(super) fn is_cluster_port(&self, port: &ClusterPort) -> bool {
        let Some((protocol, number)) = self.flow.transport.port() else {
            return false;
        };
        match port {
            ClusterPort::All(wanted) => protocol == *wanted,
            ClusterPort::Range(wanted, first, last) => {
                protocol == *wanted && (*first..=*last).contains(&number)
            }
            ClusterPort::Named(name) => self.is_named(name, protocol, number),
        }
    }

    /// True if the destination is a pod that calls this port `name`.
    fn is_named(&self, name: &Arc<str>, protocol: Protocol, number: u16) -> bool {
        let Host::Pod(pod) = self.destination else {
            return false;
        };
        pod.ports
            .iter()
            .any(|port| port.name == *name && port.protocol == protocol && port.number == number)
    }
}

/// True if `address` is in the network and in none of its holes.
fn holds(block: &Block, address: IpAddr) -> bool {
    block.cidr.contains(&address) && !block.except.iter().any(|hole| hole.contains(&address))
}
