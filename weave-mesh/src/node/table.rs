//! The routes as the data plane needs them: one immutable snapshot, swapped whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::peer::{PeerName, ShortId};
use crate::topology::Topology;
use crate::topology::routes::{Relation, Router};

/// Routes over connections that both ends list as established, and who is who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// This peer.
    pub us: PeerName,
    /// Short ids of every known peer that owns the id it claims, this peer included.
    pub short_ids: BTreeMap<PeerName, ShortId>,
    /// Nicknames of every known peer.
    pub nicknames: BTreeMap<PeerName, String>,
    /// Destination to the neighbour on the way there; this peer is not listed.
    pub unicast: BTreeMap<PeerName, PeerName>,
    /// Originator of a broadcast to the neighbours that we pass it on to; this peer included.
    pub broadcast: BTreeMap<PeerName, Vec<PeerName>>,
    /// Every peer in the topology.
    pub known: BTreeSet<PeerName>,
}

impl RouteTable {
    /// The table of a peer that knows nobody.
    #[must_use]
    pub fn empty(us: PeerName) -> Self {
        Self {
            us,
            short_ids: BTreeMap::new(),
            nicknames: BTreeMap::new(),
            unicast: BTreeMap::new(),
            broadcast: BTreeMap::new(),
            known: BTreeSet::from([us]),
        }
    }

    /// The table of a topology, without routes.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let records = || topology.records();
        let owned = records().filter_map(|record| {
            let id = record.short_id?;
            (topology.by_short_id(id) == Some(record.name)).then_some((record.name, id))
        });
        Self {
            us: topology.local().name,
            short_ids: owned.collect(),
            nicknames: records()
                .map(|record| (record.name, record.nickname.clone()))
                .collect(),
            unicast: BTreeMap::new(),
            broadcast: BTreeMap::new(),
            known: records().map(|record| record.name).collect(),
        }
    }

    /// Takes the routes of this moment from `router`.
    pub fn set_routes(&mut self, router: &mut Router) {
        let unicast = router.unicast(Relation::Established).iter();
        let others = unicast.filter(|(destination, _)| **destination != self.us);
        self.unicast = others.map(|(to, hop)| (*to, *hop)).collect();
        self.broadcast.clone_from(router.broadcast_table());
    }
}
