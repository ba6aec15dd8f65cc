//! What goes out: one chunk at a time for each connection, encoded when it can be written.
//!
//! A connection has at most one chunk on its way. What else there is to say waits as state in its
//! outbox and merges there, so a slow connection costs no memory and nobody else's time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{ConnectionId, Node, Reason, RouteTable, Timer, Transmit, WRITE_TIMEOUT};
use crate::gossip::outbox::Next;

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
        let table = self.routing.poll_table(&self.topology);
        self.counters.route_calculations = self.routing.calculations();
        table
    }

    /// `count` bytes of the current chunk of a connection were written.
    pub fn handle_written(&mut self, now: Duration, id: ConnectionId, count: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return self.finish(id, count);
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
                Some(Next::Sync(queue)) => self.put_exchange(id, &mut chunk, queue),
            }
        }
        chunk.freeze()
    }

    pub(super) fn put_frame(&mut self, id: ConnectionId, chunk: &mut BytesMut, message: &[u8]) {
        let session = self.links.get_mut(&id).and_then(|link| link.session_mut());
        let written = session.map(|session| session.outgoing.put(message, chunk));
        if let Some(Err(_)) = written {
            self.counters.message_too_large += 1;
        }
    }
}

/// Bytes after which a chunk is complete. Between two chunks control messages get their turn.
const CHUNK: usize = 64 << 10;
