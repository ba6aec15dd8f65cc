//! Addresses of pods whose objects do not carry them yet.
//!
//! The container runtime knows a pod's address some seconds before its object shows it. A claim says
//! which pod it is for; the pod's object is then read as if it showed the address.
//!
//! Invariant: a claim ends when the object shows its addresses, when the pod is gone or has ended,
//! when it is taken back, or when its pod has not come in time; nothing else ends it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{ObjectName, Phase, Pod, Uid};

/// Addresses that a pod of this node has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The pod.
    pub pod: ObjectName,
    /// Its identity, if the runtime told it.
    pub uid: Option<Uid>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl Claim {
    /// `addresses` belong to `pod`.
    pub fn new(pod: ObjectName, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            pod,
            uid: None,
            addresses: addresses.into_iter().map(|a| a.to_canonical()).collect(),
        }
    }

    /// Sets the pod's identity.
    #[must_use]
    pub fn with_uid(mut self, uid: Uid) -> Self {
        self.uid = Some(uid);
        self
    }
}

/// All claims, by pod: the last one counts.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<ObjectName, Standing>);

#[derive(Debug)]
struct Standing {
    claim: Claim,
    /// The pod it is for, as its object has it.
    bound: Option<Pod>,
}

impl Claims {
    /// Notes a claim. Gives the pod that an earlier claim was bound to, as its object has it.
    pub(super) fn put(&mut self, claim: Claim) -> Option<Pod> {
        let standing = Standing { claim, bound: None };
        let old = self.0.insert(standing.claim.pod.clone(), standing);
        old.and_then(|old| old.bound)
    }

    /// Takes a claim back, if it is for these addresses. Gives the claim's pod as its object has it.
    pub(super) fn take(&mut self, pod: &ObjectName, addresses: &[IpAddr]) -> Option<Pod> {
        let is_it = |standing: &Standing| {
            let own = &standing.claim.addresses;
            own.iter().all(|address| addresses.contains(address))
        };
        if self.0.get(pod).is_some_and(is_it) {
            return self.0.remove(pod).and_then(|standing| standing.bound);
        }
        None
    }

    /// The pod with the addresses that were claimed for it.
    pub(super) fn complete(&mut self, pod: Pod) -> Pod {
        let Some(standing) = self.0.get_mut(&pod.name) else {
            return pod;
        };
        let is_it = match &standing.bound {
            Some(bound) => bound.uid == pod.uid,
            None => {
                let asked = standing.claim.uid.as_ref();
                !pod.is_terminating && asked.is_none_or(|uid| *uid == pod.uid)
            }
        };
        if !is_it {
            return pod;
        }
        let has_ended = matches!(pod.phase, Phase::Succeeded | Phase::Failed);
        let claimed = &standing.claim.addresses;
        let is_shown = claimed.iter().all(|a| pod.addresses.contains(a));
        if pod.host_network || has_ended || is_shown {
            self.0.remove(&pod.name);
            return pod;
        }
        let all: Vec<IpAddr> = pod.addresses.iter().chain(claimed).copied().collect();
        standing.bound = Some(pod.clone());
        pod.with_addresses(all)
    }

    /// Forgets the claim of a pod that is gone.
    pub(super) fn forget(&mut self, pod: &Pod) {
        let is_it = |standing: &Standing| {
            let bound = standing.bound.as_ref();
            bound.is_some_and(|bound| bound.uid == pod.uid)
        };
        if self.0.get(&pod.name).is_some_and(is_it) {
            self.0.remove(&pod.name);
        }
    }

    /// Forgets the claim for an address whose pod never came.
    pub(super) fn expire(&mut self, address: IpAddr) {
        self.0.retain(|_, standing| {
            standing.bound.is_some() || !standing.claim.addresses.contains(&address)
        });
    }

    /// The pods with claims.
    pub(super) fn pods(&self) -> impl Iterator<Item = &ObjectName> {
        self.0.keys()
    }
}
