//! What the threads look up to send a frame on: a snapshot that is replaced whole.
//!
//! The invariant: a frame is handled by one snapshot from beginning to end, so that it never sees
//! half of a change.

use std::collections::HashMap;

use crate::fastdp::{PeerName, ShortId};

/// How a neighbour is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// By the sleeve link with this id.
    Sleeve(u64),
    /// By the tunnel: the kernel programs know the way.
    Fastdp,
}

/// A neighbour on the way of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Its name.
    pub peer: PeerName,
    /// How it is reached.
    pub carrier: Carrier,
}

/// Everything that is known about ways, of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// Owners of the short ids, ours too.
    pub names: HashMap<ShortId, PeerName>,
    /// Short ids of the owners: the inverse of `names`.
    pub ids: HashMap<PeerName, ShortId>,
    /// The next hop towards each peer that can be reached.
    pub unicast: HashMap<PeerName, Hop>,
    /// Whom we pass broadcasts of each origin on to.
    pub trees: HashMap<PeerName, Vec<Hop>>,
}

impl Forwarding {
    /// The hops of an origin's tree; empty if we are a leaf of it.
    #[must_use]
    pub fn tree(&self, origin: PeerName) -> &[Hop] {
        self.trees.get(&origin).map_or(&[], Vec::as_slice)
    }

    /// Whether the peer is part of the network.
    #[must_use]
    pub fn knows(&self, peer: PeerName) -> bool {
        self.unicast.contains_key(&peer) || self.ids.contains_key(&peer)
    }
}
