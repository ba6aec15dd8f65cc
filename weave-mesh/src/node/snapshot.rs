//! The report of one moment, put together from all parts of the node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::session::{Link, Session};
use super::{
    ChannelTraffic, ConnectionId, ConnectionReport, ConnectionState, Counters, LinkReport, Node,
    PasswordReport, PeerReport, Report,
};
use crate::connector::TargetReport;
use crate::peer::{PeerName, PeerRecord};

impl Node {
    /// What was dropped, refused or computed since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Gossip since the start, by channel.
    #[must_use]
    pub fn traffic(&self) -> BTreeMap<String, ChannelTraffic> {
        self.traffic.by_channel()
    }

    /// The connection that is part of the topology as the one with `peer`.
    #[must_use]
    pub fn connection_with(&self, peer: PeerName) -> Option<ConnectionId> {
        self.registered.get(&peer).copied()
    }

    /// The state of this peer, its connections and what it knows of others.
    pub fn report(&mut self, now: Duration) -> Report {
        let local = self.topology.local();
        let (us, nickname) = (local.name, local.nickname.clone());
        let peers: Vec<_> = self
            .topology
            .records()
            .map(|record| self.peer(record))
            .collect();
        // Who asks gets the routes of this moment.
        self.routing.neighbours_changed();
        let hops = self
            .routing
            .data_hops(&self.topology, us)
            .iter()
            .copied()
            .collect();
        let mut unicast_routes = vec![(us, PeerName::UNKNOWN)];
        let table = self.routing.established(&self.topology);
        unicast_routes.extend(
            table
                .iter()
                .filter(|(to, _)| **to != us)
                .map(|(to, via)| (*to, *via)),
        );
        unicast_routes.sort_unstable();
        Report {
            protocol_min_version: self.versions().min,
            protocol_max_version: self.versions().max,
            encryption: !self.config.keyring.is_empty(),
            discovery: self.config.discovery,
            name: us,
            nickname,
            port: self.config.listen.port(),
            peers,
            unicast_routes,
            broadcast_routes: vec![(us, hops)],
            connections: self.connections(now),
            termination_count: self.termination_count,
            targets: self.connector.direct_peers().map(str::to_owned).collect(),
            trusted_subnets: self
                .config
                .trusted_subnets
                .iter()
                .map(ToString::to_string)
                .collect(),
            passwords: self.passwords(),
            refusals: self.refusals(now),
            surrogate_channels: self.surrogates.names().map(str::to_owned).collect(),
            counters: *self.counters(),
            traffic: self.traffic.by_channel(),
        }
    }

    fn peer(&self, record: &PeerRecord) -> PeerReport {
        let nickname = |name| {
            self.topology
                .get(name)
                .map(|peer| peer.nickname.clone())
                .unwrap_or_default()
        };
        let links = record.connections.iter().map(|(name, link)| LinkReport {
            name: *name,
            nickname: nickname(*name),
            address: link.address.to_string(),
            outbound: link.outbound,
            established: link.established,
        });
        PeerReport {
            name: record.name,
            nickname: record.nickname.clone(),
            uid: record.uid,
            short_id: record.short_id,
            version: record.version,
            connections: links.collect(),
        }
    }

    /// Live connections, then targets that are not connected: a part of [`Node::report`] that
    /// takes time in proportion to the connections of this peer alone.
    #[must_use]
    pub fn connections(&self, now: Duration) -> Vec<ConnectionReport> {
        let live = self.registered.values().filter_map(|id| {
            let link = self.links.get(id)?;
            Some(connection(link, link.session()?))
        });
        live.chain(self.connector.report(now).map(target)).collect()
    }
}

impl Node {
    fn passwords(&self) -> Option<PasswordReport> {
        let accepted = self.config.keyring.passwords();
        let current = self.config.keyring.current()?;
        let mut report = PasswordReport {
            accepted: accepted.len(),
            ..PasswordReport::default()
        };
        let links = self.registered.values().filter_map(|id| self.links.get(id));
        let used = links.filter_map(|link| link.session()?.password.as_ref());
        for password in used {
            let count = match password {
                password if password == current => &mut report.with_current,
                password if accepted.contains(password) => &mut report.with_other,
                _ => &mut report.with_dropped,
            };
            *count += 1;
        }
        Some(report)
    }
}

fn connection(link: &Link, session: &Session) -> ConnectionReport {
    let state = match session.is_established {
        true => ConnectionState::Established,
        false => ConnectionState::Pending,
    };
    let is_encrypted = session.data_key.is_some();
    let mut attributes = session.overlay.as_ref().map(|(name, attributes)| {
        let mut attributes = attributes.clone();
        attributes.insert("name".to_owned(), name.clone());
        attributes
    });
    if is_encrypted {
        let attributes = attributes.get_or_insert_default();
        attributes.insert("encrypted".to_owned(), true.to_string());
    }
    ConnectionReport {
        address: link.remote.to_string(),
        outbound: link.is_outbound(),
        state,
        remote: Some((session.name, session.nickname.clone())),
        encrypted: session.password.as_ref().map(|_| is_encrypted),
        overlay: session.overlay.as_ref().map(|(name, _)| name.clone()),
        attributes,
        error: None,
        retry: None,
    }
}

fn target(target: TargetReport) -> ConnectionReport {
    ConnectionReport {
        address: target.address,
        outbound: true,
        state: target.state,
        remote: None,
        encrypted: None,
        overlay: None,
        attributes: None,
        error: target.error,
        retry: target.retry,
    }
}
