//! Room for newcomers at the limit on connections.
//!
//! A full peer that refuses everybody shuts out whoever knows nobody else: with one seed, all
//! that come after the first ones (Weave Net mesh protocol, section 9.5, item 14). So a peer that
//! no path leads to is let in, and one that says that it is needy, for it would hang on a thread; in
//! its place goes a connection that the mesh can do without, for choice one to a peer that has many.
//! Invariant: the peer at its other end stays reachable, on a way that begins with another neighbour
//! of ours. (That the two are connected to each other would be too much to ask: in a mesh of many
//! peers with few connections each hardly any two neighbours are.)

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConnectionId, Node, Reason};
use crate::peer::PeerName;
use crate::topology::Topology;
use crate::wire::intro::{MAX_OTHERS, Refused};

impl Node {
    /// Connections that we lack to be no longer needy: in a mesh of more peers than we may connect
    /// to, or that sent us on, a quarter of those. Who has them is neither shut out nor alone when one ends.
    pub(super) fn needed(&self) -> usize {
        let limit = self.config.connection_limit;
        let is_referred = self.connector.is_referred();
        if limit == 0 || (self.topology.len() <= limit + 1 && !is_referred) {
            return 0;
        }
        (limit / 4).max(1).saturating_sub(self.registered.len())
    }

    /// Ends a connection in favour of `newcomer`; false if that is not needy and can be reached
    /// already, or if no connection can be spared. Peers that a user named are spared last.
    pub(super) fn make_room(&mut self, now: Duration, newcomer: PeerName, is_needy: bool) -> bool {
        if !is_needy && self.routing.reaches(&self.topology, newcomer) {
            return false;
        }
        let first_hops = self.routing.all(&self.topology);
        let half = self.config.connection_limit / 2;
        let spare: Vec<_> = self
            .registered
            .iter()
            .filter(|(name, _)| has_other_way(&self.topology, first_hops, **name))
            .map(|(name, id)| (has_more_than(&self.topology, *name, half), *id))
            .collect();
        let mut choice: Vec<_> = spare.iter().filter(|(is_rich, _)| *is_rich).collect();
        if choice.is_empty() && !is_needy {
            choice = spare.iter().collect();
        }
        if choice.iter().any(|(_, id)| !self.is_asked_for(*id)) {
            choice.retain(|(_, id)| !self.is_asked_for(*id));
        }
        let drawn = self
            .random
            .below(u64::try_from(choice.len()).unwrap_or(u64::MAX));
        let id = usize::try_from(drawn)
            .ok()
            .and_then(|drawn| choice.get(drawn));
        let Some((_, id)) = id.copied() else {
            return false;
        };
        self.end(now, *id, Reason::Limit(self.config.connection_limit));
        true
    }

    /// What to say to a remote that has to go for want of room: who else there is, so that it need
    /// not come back to us.
    pub(super) fn refusal(&mut self, reason: Option<&Reason>) -> Option<Refused> {
        let reason = reason.filter(|reason| matches!(reason, Reason::Limit(_)))?;
        let mut others = Vec::new();
        for link in self.topology.local().connections.values() {
            let mut address = Vec::new();
            self.consider(link, &mut address);
            others.extend(address);
        }
        while others.len() > MAX_OTHERS {
            let drawn = self
                .random
                .below(u64::try_from(others.len()).unwrap_or(u64::MAX));
            others.swap_remove(usize::try_from(drawn).unwrap_or_default());
        }
        Some(Refused {
            reason: reason.to_string(),
            others,
        })
    }

    /// Whether a connection is to a peer that a user named.
    fn is_asked_for(&self, id: ConnectionId) -> bool {
        self.links.get(&id).is_some_and(|link| {
            link.dial
                .is_some_and(|dial| self.connector.accepts_unknown(dial, link.remote))
        })
    }
}

fn has_more_than(topology: &Topology, name: PeerName, connections: usize) -> bool {
    let record = topology.get(name);
    record.is_some_and(|record| record.connections.len() > connections)
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
