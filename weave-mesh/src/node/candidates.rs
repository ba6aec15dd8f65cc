//! Whom we could dial: addresses of peers we are not connected to, from the connections of others.
//!
//! Looked for at most every 100 ms, and not at all while there is no room for another connection;
//! in between the last result stands, from which the targets take what is connected meanwhile. The
//! cost follows the number of peers that are not connected, not that of all connections; in a full
//! mesh there is nothing to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{MAX_CANDIDATES, Node, TARGETS_DELAY, Timer};
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
        let others = self.topology.records();
        let full = others.filter(|record| self.is_full(record) && record.version > 0);
        around.full = full.map(|record| record.name).collect();
        if self.config.discovery {
            self.find_candidates(now);
            around.candidates = std::mem::take(&mut self.candidates.found);
        }
        self.connector.evaluate(now, &around);
        self.candidates.found = around.candidates;
    }

    /// Looks for addresses if that is due and can bring something.
    fn find_candidates(&mut self, now: Duration) {
        let limit = self.config.connection_limit;
        if limit != 0 && self.registered.len() >= limit {
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
            next: now + TARGETS_DELAY,
            revision,
        };
    }

    /// Whether a peer has as many connections as we allow. It is taken to refuse us; if its limit
    /// is higher than ours, it dials us.
    fn is_full(&self, record: &PeerRecord) -> bool {
        let limit = self.config.connection_limit;
        limit != 0 && record.connections.len() >= limit
    }

    fn addresses_of_missing(&self) -> BTreeMap<SocketAddr, PeerName> {
        let us = self.topology.local().name;
        let missing: Vec<_> = self
            .topology
            .records()
            .filter(|record| !self.is_full(record))
            .map(|record| record.name)
            .filter(|name| *name != us && !self.registered.contains_key(name))
            .collect();
        let mut found = Found {
            candidates: BTreeMap::new(),
            seen: vec![Vec::new(); missing.len()],
        };
        let others = self.topology.records().filter(|record| record.name != us);
        for record in others {
            if missing.is_empty() || found.candidates.len() >= MAX_CANDIDATES {
                break;
            }
            if missing.len() < record.connections.len() / 4 {
                for (place, name) in missing.iter().enumerate() {
                    if let Some(link) = record.connections.get(name) {
                        self.consider(place, *name, link, &mut found);
                    }
                }
            } else {
                for (name, link) in &record.connections {
                    if let Ok(place) = missing.binary_search(name) {
                        self.consider(place, *name, link, &mut found);
                    }
                }
            }
        }
        found.candidates
    }

    fn consider(&self, place: usize, name: PeerName, link: &Link, found: &mut Found) {
        let Some(mut address) = link.address.socket() else {
            return;
        };
        if !link.outbound {
            address.set_port(self.config.listen.port());
        }
        let seen = &mut found.seen[place];
        if seen.len() >= MAX_ADDRESSES || seen.contains(&address) {
            return;
        }
        seen.push(address);
        let is_ours = address == self.config.listen;
        if !is_ours && address.port() != 0 && !address.ip().is_unspecified() {
            found.candidates.insert(address, name);
        }
    }
}

struct Found {
    candidates: BTreeMap<SocketAddr, PeerName>,
    /// For each missing peer what was looked at already: its address is in as many records as it
    /// has connections.
    seen: Vec<Vec<SocketAddr>>,
}

/// Addresses of one peer that are looked at.
const MAX_ADDRESSES: usize = 16;
