//! What an old peer gossips, and how it takes in what others do.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::link::Slot;
use super::{COLLECT_DELAY, Due, HEARTBEAT, OldPeer, ROUTES_DELAY};
use crate::node::{ConnectionId, Transmit};
use crate::peer::PeerName;
use crate::topology::routes;
use crate::wire::frame;
use crate::wire::message::Message;
use crate::wire::update;

impl OldPeer {
    /// Handles one message; false if the connection has to end.
    pub(super) fn handle_message(
        &mut self,
        now: Duration,
        id: ConnectionId,
        from: PeerName,
        message: &Bytes,
    ) -> bool {
        match Message::parse(message) {
            Ok(Message::Gossip {
                channel, payload, ..
            }) if channel == TOPOLOGY => self.handle_gossip(now, id, from, payload),
            Ok(Message::Unicast { channel, .. }) => channel != TOPOLOGY,
            // Other channels and overlay control are no part of the simulation.
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn handle_gossip(
        &mut self,
        now: Duration,
        id: ConnectionId,
        from: PeerName,
        payload: &[u8],
    ) -> bool {
        self.work.bytes_in += u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let Ok(merged) = self.topology.merge_update(payload) else {
            return false;
        };
        if merged.local_changed {
            self.changed(now);
        }
        self.deadlines.request(Due::Collect, now + COLLECT_DELAY);
        if merged.news.is_empty() {
            return true;
        }
        self.complete = None;
        self.deadlines.request(Due::Targets, now);
        self.deadlines.request(Due::Routes, now + ROUTES_DELAY);
        self.relays.push((from, merged.news));
        if let Some(link) = self.links.get_mut(&id) {
            link.is_paused = true;
        }
        true
    }

    pub(super) fn gossip_everything(&mut self, now: Duration) {
        self.deadlines
            .set(Due::Gossip, now + self.config.gossip_interval);
        self.wait_for_routes(now);
        self.spread(self.config.name, None);
    }

    pub(super) fn announce_changes(&mut self, now: Duration) {
        self.wait_for_routes(now);
        let mut names = std::mem::take(&mut self.announce);
        names.insert(self.config.name);
        self.spread(self.config.name, Some(&names));
    }

    /// Queues the records of these peers, or of all, to random neighbours.
    pub(super) fn spread(&mut self, except: PeerName, names: Option<&BTreeSet<PeerName>>) {
        for target in routes::gossip_targets(&self.all, except, &mut self.random) {
            let id = self.registered.get(&target);
            if let Some((id, link)) = id.and_then(|id| Some((*id, self.links.get_mut(id)?))) {
                link.queue(names);
                self.ready.push_back(id);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, now: Duration, id: ConnectionId) {
        self.deadlines.set(Due::Heartbeat(id), now + HEARTBEAT);
        if let Some(link) = self.links.get_mut(&id) {
            link.heartbeats += 1;
            self.ready.push_back(id);
        }
    }

    pub(in super::super) fn handle_written(&mut self, id: ConnectionId, count: usize) {
        if let Some(link) = self.links.get_mut(&id) {
            link.in_flight = link.in_flight.saturating_sub(count);
            if link.in_flight == 0 {
                self.ready.push_back(id);
            }
        }
    }

    pub(in super::super) fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        loop {
            if let Some(transmit) = self.transmits.pop_front() {
                return Some(transmit);
            }
            let connection = self.ready.pop_front()?;
            let bytes = self.chunk(now, connection);
            if let Some(link) = self.links.get_mut(&connection)
                && !bytes.is_empty()
            {
                link.in_flight = bytes.len();
                return Some(Transmit::Data { connection, bytes });
            }
        }
    }

    /// What is to be written next: introduction, a heartbeat, or one gossip message.
    fn chunk(&mut self, now: Duration, id: ConnectionId) -> Bytes {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.in_flight == 0) else {
            return Bytes::new();
        };
        if !link.output.is_empty() {
            return link.output.split().freeze();
        }
        if link.heartbeats > 0 {
            link.heartbeats -= 1;
            return frame::encode(&Message::Heartbeat.emit()).unwrap_or_default();
        }
        let Some(slot) = link.slot.take() else {
            return Bytes::new();
        };
        let encoded = match slot {
            Slot::All => self.complete_state(),
            Slot::Names(names) => {
                let records = names.iter().filter_map(|name| self.topology.get(*name));
                let payload = update::encode(records);
                self.frame(&payload)
            }
        };
        let Some(bytes) = encoded else {
            // More than a message holds: the attempt closes the connection.
            self.end(now, id);
            return Bytes::new();
        };
        self.work.bytes_out += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        bytes
    }

    fn complete_state(&mut self) -> Option<Bytes> {
        if self.complete.is_none() {
            let payload = update::encode(self.topology.records());
            self.complete = self.frame(&payload);
        }
        self.complete.clone()
    }

    fn frame(&self, payload: &[u8]) -> Option<Bytes> {
        let message = Message::Gossip {
            channel: TOPOLOGY,
            sender: self.config.name,
            payload,
        };
        frame::encode(&message.emit()).ok()
    }

    /// Gossip targets are chosen from routes of this moment.
    fn wait_for_routes(&mut self, now: Duration) {
        if self.deadlines.is_pending(Due::Routes) {
            self.recalculate(now);
        }
    }
}

/// The built-in channel.
const TOPOLOGY: &str = "topology";
