//! A TCP connection between two hosts: two directions with their buffers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::HostId;
use super::meter::Meter;
use crate::node::ConnectionId;

/// A connection, never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireId(pub(super) u64);

/// An end of a connection: 0 dialled, 1 accepted.
pub(super) type Side = usize;

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) ends: [End; 2],
    /// Since when it is part of the topology of each end; nothing once it has begun to end.
    pub(super) added: [Option<Duration>; 2],
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) host: HostId,
    pub(super) address: SocketAddr,
    /// The connection's id on its host, once it has one.
    pub(super) id: Option<ConnectionId>,
    /// The host closed its end, or was told that the other is closed.
    pub(super) is_closed: bool,
    /// What arrived here and is not read yet.
    pub(super) arrived: VecDeque<Bytes>,
    pub(super) outgoing: Outgoing,
}

/// The direction away from an end.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) meter: Meter,
    /// Bytes written and not yet read at the other end.
    pub(super) unread: usize,
    /// What did not fit the buffers.
    pub(super) blocked: Bytes,
    /// When the last of the bytes on the way arrive.
    pub(super) last_arrival: Duration,
    pub(super) on_the_way: VecDeque<Bytes>,
    /// What was sent into a cut, and when the first of it was.
    pub(super) stalled: VecDeque<Bytes>,
    pub(super) stalled_since: Option<Duration>,
    /// A reset was sent into a cut.
    pub(super) is_reset_stalled: bool,
}

impl Wire {
    pub(super) fn new(ends: [(HostId, SocketAddr); 2]) -> Self {
        Self {
            ends: ends.map(|(host, address)| End {
                host,
                address,
                id: None,
                is_closed: false,
                arrived: VecDeque::new(),
                outgoing: Outgoing::default(),
            }),
            added: [None; 2],
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.is_closed)
    }
}
