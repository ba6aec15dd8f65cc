//! Which endpoint owns an address, kept while pods and nodes come and go.
//!
//! Invariant: `claims` holds exactly the addresses of endpoints, `hosts` those of nodes and of pods
//! that use a node's network.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::{Node, Pod, Uid};

/// The owners of all known addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    claims: HashMap<IpAddr, Vec<Claim>>,
    hosts: HashMap<IpAddr, Vec<HostClaim>>,
    pods: HashMap<Uid, Held>,
    nodes: HashMap<Arc<str>, Vec<IpAddr>>,
    last: u64,
}

/// An endpoint says that an address is its own. Ordered by strength.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    is_staying: bool,
    number: u64,
    uid: Uid,
}

/// A node has an address, said by the node or by a pod that uses its network. Ordered by strength.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HostClaim {
    said_by: Option<Uid>,
    node: Arc<str>,
}

/// What one pod was last seen to have.
#[derive(Clone, Debug)]
struct Held {
    addresses: Vec<IpAddr>,
    host: Option<Arc<str>>,
}

impl Owners {
    /// The endpoint that owns `address`.
    pub(super) fn pod(&self, address: IpAddr) -> Option<&Uid> {
        let strongest = self.claims.get(&address)?.iter().max()?;
        Some(&strongest.uid)
    }

    /// The node that has `address`; what a node says goes before what its pods show.
    pub(super) fn node(&self, address: IpAddr) -> Option<&Arc<str>> {
        let strongest = self.hosts.get(&address)?.iter().min()?;
        Some(&strongest.node)
    }

    /// Notes what `pod` has now; adds the pods that won or lost an address to `touched`.
    pub(super) fn set_pod(&mut self, pod: &Pod, touched: &mut BTreeSet<Uid>) {
        let is_host = pod.host_network && !pod.node.is_empty();
        let keeps = if pod.is_endpoint() || is_host {
            pod.addresses.as_slice()
        } else {
            &[]
        };
        let host = is_host.then(|| pod.node.clone());
        let old = self.pods.remove(&pod.uid);
        let same_kind = old.as_ref().is_some_and(|old| old.host == host);
        if let Some(old) = old {
            for address in old.addresses {
                if !same_kind || !keeps.contains(&address) {
                    self.release(address, &pod.uid, touched);
                }
            }
        }
        if keeps.is_empty() {
            return;
        }
        for &address in keeps {
            match &host {
                Some(node) => self.note_host(address, Some(&pod.uid), node),
                None => self.claim(address, pod, touched),
            }
        }
        let addresses = keeps.to_vec();
        self.pods.insert(pod.uid.clone(), Held { addresses, host });
    }

    /// Forgets the pod `uid`.
    pub(super) fn remove_pod(&mut self, uid: &Uid, touched: &mut BTreeSet<Uid>) {
        if let Some(held) = self.pods.remove(uid) {
            for address in held.addresses {
                self.release(address, uid, touched);
            }
        }
    }

    /// Notes the addresses `node` has now.
    pub(super) fn set_node(&mut self, node: &Node) {
        self.remove_node(&node.name);
        for &address in &node.addresses {
            self.note_host(address, None, &node.name);
        }
        self.nodes.insert(node.name.clone(), node.addresses.clone());
    }

    /// Forgets the node `name`.
    pub(super) fn remove_node(&mut self, name: &Arc<str>) {
        for address in self.nodes.remove(name).unwrap_or_default() {
            self.unnote_host(address, |claim| {
                claim.said_by.is_none() && claim.node == *name
            });
        }
    }

    fn claim(&mut self, address: IpAddr, pod: &Pod, touched: &mut BTreeSet<Uid>) {
        let before = self.pod(address).cloned();
        let claims = self.claims.entry(address).or_default();
        let is_staying = !pod.is_terminating;
        if let Some(claim) = claims.iter_mut().find(|claim| claim.uid == pod.uid) {
            claim.is_staying = is_staying;
        } else {
            self.last += 1;
            claims.push(Claim {
                is_staying,
                number: self.last,
                uid: pod.uid.clone(),
            });
        }
        self.note_move(address, before, touched);
    }

    fn release(&mut self, address: IpAddr, uid: &Uid, touched: &mut BTreeSet<Uid>) {
        let before = self.pod(address).cloned();
        if let Some(claims) = self.claims.get_mut(&address) {
            claims.retain(|claim| claim.uid != *uid);
            if claims.is_empty() {
                self.claims.remove(&address);
            }
        }
        self.note_move(address, before, touched);
        self.unnote_host(address, |claim| claim.said_by.as_ref() == Some(uid));
    }

    fn note_move(&self, address: IpAddr, before: Option<Uid>, touched: &mut BTreeSet<Uid>) {
        let after = self.pod(address);
        if before.as_ref() != after {
            touched.extend(before);
            touched.extend(after.cloned());
        }
    }

    fn note_host(&mut self, address: IpAddr, said_by: Option<&Uid>, node: &Arc<str>) {
        let claim = HostClaim {
            said_by: said_by.cloned(),
            node: node.clone(),
        };
        let claims = self.hosts.entry(address).or_default();
        if !claims.contains(&claim) {
            claims.push(claim);
        }
    }

    fn unnote_host(&mut self, address: IpAddr, is_gone: impl Fn(&HostClaim) -> bool) {
        if let Some(claims) = self.hosts.get_mut(&address) {
            claims.retain(|claim| !is_gone(claim));
            if claims.is_empty() {
                self.hosts.remove(&address);
            }
        }
    }
}
