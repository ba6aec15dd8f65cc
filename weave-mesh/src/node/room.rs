//! Room for newcomers at the limit on connections.
//!
//! A full peer that refuses everybody shuts out whoever knows nobody else: with one seed, all
//! that come after the first ones (Weave Net mesh protocol, section 9.5, item 14). So a peer that
//! no path leads to is let in, and in its place goes a connection that the mesh can do without.
//! Invariant: the peer at its other end stays reachable, on a way that begins with another neighbour
//! of ours. (That the two are connected to each other would be too much to ask: in a mesh of many
//! peers with few connections each hardly any two neighbours are.)

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConnectionId, Node, Reason};
use crate::peer::PeerName;
use crate::topology::Topology;

impl Node {
    /// Ends a connection in favour of `newcomer`; false if it can be reached already, or if no
    /// connection can be spared. Peers that a user named are spared last.
    pub(super) fn make_room(&mut self, now: Duration, newcomer: PeerName) -> bool {
        if self.routing.reaches(&self.topology, newcomer) {
            return false;
        }
        let first_hops = self.routing.all(&self.topology);
        let spare: Vec<_> = self
            .registered
            .iter()
            .filter(|(name, _)| has_other_way(&self.topology, first_hops, **name))
            .map(|(_, id)| *id)
            .collect();
        let others: Vec<_> = spare
            .iter()
            .copied()
            .filter(|id| !self.is_asked_for(*id))
            .collect();
        let choice = if others.is_empty() { spare } else { others };
        let drawn = self
            .random
            .below(u64::try_from(choice.len()).unwrap_or(u64::MAX));
        let id = usize::try_from(drawn)
            .ok()
            .and_then(|drawn| choice.get(drawn));
        let Some(id) = id else {
            return false;
        };
        self.end(now, *id, Reason::Limit(self.config.connection_limit));
        true
    }

    /// Whether a connection is to a peer that a user named.
    fn is_asked_for(&self, id: ConnectionId) -> bool {
        self.links.get(&id).is_some_and(|link| {
            link.dial
                .is_some_and(|dial| self.connector.accepts_unknown(dial, link.remote))
        })
    }
}

/// Whether a neighbour is connected to a peer that we reach through another one. The shortest way
/// to that peer does not lead past the neighbour, so it stays when our connection to it goes.
fn has_other_way(
    topology: &Topology,
    first_hops: &BTreeMap<PeerName, PeerName>,
    neighbour: PeerName,
) -> bool {
    let us = topology.local().name;
    let lists = |peer: &PeerName| {
        let record = topology.get(*peer);
        record.is_some_and(|record| record.connections.contains_key(&neighbour))
    };
    topology.get(neighbour).is_some_and(|record| {
        let mut others = record.connections.keys();
        others.any(|other| {
            let hop = first_hops.get(other);
            *other != us && hop.is_some_and(|hop| *hop != neighbour) && lists(other)
        })
    })
}
