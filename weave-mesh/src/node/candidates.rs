//! Whom we could dial: addresses of peers we are not connected to, from the connections of others.
//!
//! Runs after every change of the topology, so its cost follows the number of peers that are not
//! connected, not that of all connections; in a full mesh there is nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{MAX_CANDIDATES, Node};
use crate::connector::Surroundings;
use crate::peer::{Link, PeerName};

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
        if self.config.discovery {
            around.candidates = self.candidates();
        }
        self.connector.evaluate(now, &around);
    }

    fn candidates(&self) -> BTreeMap<SocketAddr, PeerName> {
        let us = self.topology.local().name;
        let names = self.topology.records().map(|record| record.name);
        let missing: BTreeSet<_> = names
            .filter(|name| *name != us && !self.registered.contains_key(name))
            .collect();
        let mut found = Found::default();
        let others = self.topology.records().filter(|record| record.name != us);
        for record in others {
            if missing.is_empty() || found.candidates.len() >= MAX_CANDIDATES {
                break;
            }
            if missing.len() < record.connections.len() {
                for name in &missing {
                    if let Some(link) = record.connections.get(name) {
                        self.consider(*name, link, &mut found);
                    }
                }
            } else {
                for (name, link) in &record.connections {
                    if missing.contains(name) {
                        self.consider(*name, link, &mut found);
                    }
                }
            }
        }
        found.candidates
    }

    fn consider<'a>(&self, name: PeerName, link: &'a Link, found: &mut Found<'a>) {
        let seen = found.seen.entry(name).or_default();
        let mark = (link.address.as_str(), link.outbound);
        if seen.len() >= MAX_ADDRESSES || seen.contains(&mark) {
            return;
        }
        seen.push(mark);
        let Ok(mut address) = link.address.parse::<SocketAddr>() else {
            return;
        };
        if !link.outbound {
            address.set_port(self.config.listen.port());
        }
        let is_ours = address == self.config.listen;
        if !is_ours && address.port() != 0 && !address.ip().is_unspecified() {
            found.candidates.insert(address, name);
        }
    }
}

#[derive(Default)]
struct Found<'a> {
    candidates: BTreeMap<SocketAddr, PeerName>,
    /// What was looked at already: a peer's address is in as many records as it has connections.
    seen: BTreeMap<PeerName, Vec<(&'a str, bool)>>,
}

/// Addresses of one peer that are looked at; those it was dialled from differ in every record.
const MAX_ADDRESSES: usize = 16;
