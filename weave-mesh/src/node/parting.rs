//! The last words of a connection that ends before it has said who we are.
//!
//! An acceptor with a password introduces itself last, so a refusal may come before its features
//! are written. The remote then could not tell a duplicate or a missing password from a wrong one.
//! So the introduction is written out before the socket is closed, unless that takes long.

use std::time::Duration;

use bytes::Bytes;

use super::session::Link;
use super::{ConnectionId, Node, Reason, Timer, Transmit};

/// What is left to write on a connection that has ended.
#[derive(Debug)]
pub(super) struct Parting {
    in_flight: usize,
    rest: Bytes,
}

impl Node {
    /// Closes the socket of a connection that has ended, behind what is left of its introduction.
    pub(super) fn part(&mut self, now: Duration, link: &mut Link, reason: &Reason) {
        let connection = link.id;
        let rest = link.greeting.split().freeze();
        let is_hopeless = matches!(
            reason,
            Reason::Busy
                | Reason::Closed(_)
                | Reason::ReadTimeout { .. }
                | Reason::WriteTimeout { .. }
        );
        if rest.is_empty() || is_hopeless || self.parting.len() >= MAX_PARTING {
            self.transmits.push_back(Transmit::Close { connection });
            return;
        }
        let in_flight = link.in_flight;
        self.parting.insert(connection, Parting { in_flight, rest });
        self.timers.set(Timer::Part(connection), now + PART_TIMEOUT);
        self.finish(connection, 0);
    }

    /// `count` more bytes of a parting connection were written.
    pub(super) fn finish(&mut self, connection: ConnectionId, count: usize) {
        let Some(parting) = self.parting.get_mut(&connection) else {
            return;
        };
        parting.in_flight = parting.in_flight.saturating_sub(count);
        if parting.in_flight > 0 {
            return;
        }
        let bytes = std::mem::take(&mut parting.rest);
        if bytes.is_empty() {
            return self.close_parted(connection);
        }
        parting.in_flight = bytes.len();
        self.transmits
            .push_back(Transmit::Data { connection, bytes });
    }

    /// Closes the socket of a parting connection at once.
    pub(super) fn close_parted(&mut self, connection: ConnectionId) {
        if self.parting.remove(&connection).is_some() {
            self.timers.clear(Timer::Part(connection));
            self.transmits.push_back(Transmit::Close { connection });
        }
    }
}

/// Connections that have ended and may still write.
const MAX_PARTING: usize = 64;
/// Time to write the rest of an introduction.
const PART_TIMEOUT: Duration = Duration::from_secs(1);
