//! What goes out: one chunk at a time for each connection, encoded when it can be written.
//!
//! A connection has at most one chunk on its way. What else there is to say waits as state in its
//! outbox and merges there, so a slow connection costs no memory and nobody else's time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{ConnectionId, Node, Reason, RouteTable, TOPOLOGY, Timer, Transmit, WRITE_TIMEOUT};
use crate::gossip::outbox::{Next, Slot, SlotKey};
use crate::peer::PeerName;
use crate::wire::message::Message;
use crate::wire::update::{self, EncodedRecord};

impl Node {
    /// The next work for whoever owns the sockets. `now` starts the write deadline of what is
    /// handed out.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        if let Some(transmit) = self.transmits.pop_front() {
            return Some(transmit);
        }
        while let Some(connection) = self.ready.pop_front() {
            let bytes = self.chunk(connection);
            if bytes.is_empty() {
                continue;
            }
            if let Some(link) = self.links.get_mut(&connection) {
                link.in_flight = bytes.len();
            }
            self.timers
                .set(Timer::Write(connection), now + WRITE_TIMEOUT);
            return Some(Transmit::Data { connection, bytes });
        }
        None
    }

    /// The routes for the data plane, if they changed since the last call.
    pub fn poll_routes(&mut self) -> Option<std::sync::Arc<RouteTable>> {
        self.routing.poll_table(&self.topology)
    }

    /// `count` bytes of the current chunk of a connection were written.
    pub fn handle_written(&mut self, now: Duration, id: ConnectionId, count: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.in_flight = link.in_flight.saturating_sub(count);
        if link.in_flight > 0 {
            self.timers.set(Timer::Write(id), now + WRITE_TIMEOUT);
            return;
        }
        self.timers.clear(Timer::Write(id));
        self.ready.push_back(id);
    }

    pub(super) fn handle_write_timeout(&mut self, now: Duration, id: ConnectionId) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let reason = Reason::WriteTimeout {
            local: link.local,
            remote: link.remote,
        };
        self.counters.write_timeout += 1;
        self.end(now, id, reason);
    }

    /// Whole frames of up to about [`CHUNK`] bytes; empty if nothing is to be sent now.
    fn chunk(&mut self, id: ConnectionId) -> Bytes {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK {
            let Some(link) = self.links.get_mut(&id) else {
                break;
            };
            if link.in_flight > 0 {
                break;
            }
            if !link.greeting.is_empty() {
                chunk.unsplit(link.greeting.split());
            }
            match link.outbox.pop() {
                None => break,
                Some(Next::Message(message)) => self.put_frame(id, &mut chunk, &message),
                Some(Next::Slot(key, slot)) => self.put_slot(id, &mut chunk, &key, &slot),
            }
        }
        chunk.freeze()
    }

    fn put_slot(&mut self, id: ConnectionId, chunk: &mut BytesMut, key: &SlotKey, slot: &Slot) {
        if &*key.channel == TOPOLOGY {
            for payload in self.updates(slot) {
                self.put_payload(id, chunk, key, &payload);
            }
        } else if slot.state
            && let Some(channel) = self.channels.get_mut(&key.channel)
            && let Some(state) = channel.state()
        {
            self.put_payload(id, chunk, key, &state);
        }
        for payload in &slot.payloads {
            self.put_payload(id, chunk, key, payload);
        }
    }

    fn put_payload(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        key: &SlotKey,
        payload: &[u8],
    ) {
        let channel = &*key.channel;
        let message = match key.source {
            Some(source) => Message::Broadcast {
                channel,
                source,
                payload,
            },
            None => Message::Gossip {
                channel,
                sender: self.topology.local().name,
                payload,
            },
        };
        let message = message.emit();
        self.put_frame(id, chunk, &message);
    }

    fn put_frame(&mut self, id: ConnectionId, chunk: &mut BytesMut, message: &[u8]) {
        let session = self.links.get_mut(&id).and_then(|link| link.session_mut());
        let written = session.map(|session| session.outgoing.put(message, chunk));
        if let Some(Err(_)) = written {
            self.counters.message_too_large += 1;
        }
    }

    /// The updates that carry what a topology slot asks for.
    ///
    /// A large state goes as several, nearest peers first: each is then connected to what the
    /// receiver has, which collects what is not.
    fn updates(&self, slot: &Slot) -> Vec<Vec<u8>> {
        let names: Vec<PeerName> = if slot.state {
            self.by_distance()
        } else {
            slot.names.iter().copied().collect()
        };
        let records = names.iter().filter_map(|name| self.topology.get(*name));
        let mut updates = Vec::new();
        let mut batch: Vec<EncodedRecord> = Vec::new();
        let mut size = 0;
        for record in records.map(update::encode_record) {
            if size > 0 && size + record.size() > MAX_UPDATE {
                updates.push(update::join(&batch));
                batch.clear();
                size = 0;
            }
            size += record.size();
            batch.push(record);
        }
        if !batch.is_empty() {
            updates.push(update::join(&batch));
        }
        updates
    }

    /// All known peers, by the number of connections between them and us.
    fn by_distance(&self) -> Vec<PeerName> {
        let mut order = vec![self.topology.local().name];
        let mut seen: std::collections::BTreeSet<_> = order.iter().copied().collect();
        let mut next = 0;
        while let Some(name) = order.get(next) {
            next += 1;
            let Some(record) = self.topology.get(*name) else {
                continue;
            };
            let new: Vec<_> = record
                .connections
                .keys()
                .filter(|name| seen.insert(**name))
                .copied()
                .collect();
            order.extend(new);
        }
        let rest = self.topology.records().map(|record| record.name);
        order.extend(rest.filter(|name| !seen.contains(name)));
        order
    }
}

/// Bytes after which a chunk is complete. Between two chunks control messages get their turn.
const CHUNK: usize = 64 << 10;
/// Bytes of records in one topology update, unless a single record is larger.
const MAX_UPDATE: usize = 256 << 10;
