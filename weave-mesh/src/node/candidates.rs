//! Whom we could dial: addresses of peers we are not connected to, from the connections of others.
//!
//! Looked for at most every [`pace`], which is 100 ms and more in a large mesh, and not at all while
//! there is no room for another connection; in between the last result stands, from which the targets
//! take what is connected meanwhile. The
//! cost follows the number of peers that are not connected, not that of all connections; in a full
//! mesh there is nothing to do. Of a missing peer some of those are asked that it lists itself; only
//! if none of them has an address everybody is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::routing::pace;
use super::{MAX_CANDIDATES, Node, Timer};
use crate::connector::Surroundings;
use crate::peer::{Link, PeerName, PeerRecord};

/// The addresses that were found last.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    found: BTreeMap<SocketAddr, PeerName>,
    /// When they may be looked for again.
    next: Duration,
    /// The revision of the topology that they are of; `None`: they were not looked for.
    revision: Option<u64>,
}

impl Node {
    /// Brings the targets in line with what is connected and what is known.
    pub(super) fn evaluate_targets(&mut self, now: Duration) {
        let mut around = Surroundings::default();
        for (name, id) in &self.registered {
            around.connected.insert(*name);
            let Some(link) = self.links.get(id) else {
                continue;
            };
            around.addresses.insert(link.remote);
            if !link.is_outbound() {
                around.inbound.insert(link.remote.ip());
            }
        }
        let has_room = !self.is_at_limit();
        let asked_for = self.connector.direct_names();
        let asked_for = asked_for.filter_map(|name| self.topology.get(name));
        around.is_needy = self.needed() > 0;
        let is_of_no_use =
            |record: &&PeerRecord| !has_room || (self.is_full(record) && !around.is_needy);
        let full = asked_for.filter(|record| record.version > 0);
        around.full = full.filter(is_of_no_use).map(|r| r.name).collect();
        if self.config.discovery {
            self.find_candidates(now);
            around.candidates = std::mem::take(&mut self.candidates.found);
        }
        self.connector.evaluate(now, &around);
        self.candidates.found = around.candidates;
    }

    /// Looks for addresses if that is due and can bring something.
    fn find_candidates(&mut self, now: Duration) {
        if self.is_at_limit() {
            self.candidates = Candidates::default();
            return;
        }
        let revision = Some(self.topology.revision());
        if self.candidates.revision == revision {
            return;
        }
        if self.candidates.next > now {
            self.timers
                .set_earliest(Timer::Targets, self.candidates.next);
            return;
        }
        self.candidates = Candidates {
            found: self.addresses_of_missing(),
            next: now + pace(self.routing.peers()),
            revision,
        };
    }

    /// Whether we have as many connections as we allow.
    pub(super) fn is_at_limit(&self) -> bool {
        let limit = self.config.connection_limit;
        limit != 0 && self.registered.len() >= limit
    }

    /// Whether a peer has as many connections as we allow. It is taken to refuse us; if its limit
    /// is higher than ours, it dials us.
    fn is_full(&self, record: &PeerRecord) -> bool {
        let limit = self.config.connection_limit;
        limit != 0 && record.connections.len() >= limit
    }

    fn addresses_of_missing(&self) -> BTreeMap<SocketAddr, PeerName> {
        let us = self.topology.local().name;
        let missing = self.topology.records().filter(|record| {
            let name = record.name;
            name != us && !self.registered.contains_key(&name)
        });
        let (full, mut missing): (Vec<_>, Vec<_>) =
            missing.partition(|record| self.is_full(record));
        if missing.len() < self.needed() {
            missing.extend(full);
        }
        let asked = (MAX_LOOKUPS / missing.len().max(1)).clamp(MIN_ASKED, MAX_ASKED);
        let mut candidates = BTreeMap::new();
        let mut nowhere = Vec::new();
        for record in missing {
            if candidates.len() >= MAX_CANDIDATES {
                return candidates;
            }
            let found = self.addresses_at_neighbours(record, asked);
            if found.is_empty() {
                nowhere.push(record.name);
            }
            candidates.extend(found.into_iter().map(|address| (address, record.name)));
        }
        self.addresses_anywhere(&nowhere, &mut candidates);
        candidates
    }

    /// The addresses that `asked` of those have for a peer to whom it lists a connection, from all
    /// over its list.
    fn addresses_at_neighbours(&self, record: &PeerRecord, asked: usize) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        let step = record.connections.len().div_ceil(asked).max(1);
        for lister in record.connections.keys().step_by(step) {
            let lister = self.topology.get(*lister);
            if let Some(link) = lister.and_then(|lister| lister.connections.get(&record.name)) {
                self.consider(link, &mut found);
            }
        }
        found
    }

    /// Adds the addresses that anybody has for these peers, whose names ascend.
    fn addresses_anywhere(
        &self,
        names: &[PeerName],
        candidates: &mut BTreeMap<SocketAddr, PeerName>,
    ) {
        let us = self.topology.local().name;
        // Its address is in as many records as it has connections.
        let mut found = vec![Vec::new(); names.len()];
        for record in self.topology.records().filter(|record| record.name != us) {
            if names.is_empty() || candidates.len() >= MAX_CANDIDATES {
                return;
            }
            for (place, name) in names.iter().enumerate() {
                let Some(link) = record.connections.get(name) else {
                    continue;
                };
                self.consider(link, &mut found[place]);
                candidates.extend(found[place].iter().map(|address| (*address, *name)));
            }
        }
    }

    /// Adds the address of a connection's remote end, if it can be dialled and is another one.
    pub(super) fn consider(&self, link: &Link, found: &mut Vec<SocketAddr>) {
        let Some(mut address) = link.address.socket() else {
            return;
        };
        if !link.outbound {
            address.set_port(self.config.listen.port());
        }
        let is_ours = address == self.config.listen;
        let is_of_use = !is_ours && address.port() != 0 && !address.ip().is_unspecified();
        if is_of_use && found.len() < MAX_ADDRESSES && !found.contains(&address) {
            found.push(address);
        }
    }
}

/// Addresses of one peer that are looked at.
const MAX_ADDRESSES: usize = 16;
/// Neighbours of a missing peer that are asked for its address: more, the fewer peers are missing.
const MAX_ASKED: usize = 16;
const MIN_ASKED: usize = 4;
/// Neighbours that are asked for the addresses of all, above the least number.
const MAX_LOOKUPS: usize = 4096;
