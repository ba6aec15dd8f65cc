//! What the engine tells its driver.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Notice;
use crate::connector::Target;
use crate::crypto::SessionKey;
use crate::peer::{PeerName, ShortId};

/// One TCP connection, from its begin to its end; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl From<u64> for ConnectionId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl From<ConnectionId> for u64 {
    fn from(id: ConnectionId) -> Self {
        id.0
    }
}

/// One attempt to reach a target; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub(crate) u64);

/// Work for whoever owns the sockets.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Transmit {
    /// Open a TCP connection to `target` and report the outcome with this id.
    Dial {
        /// To be handed back.
        dial: DialId,
        /// Where to.
        target: Target,
    },
    /// Write `bytes`. The next chunk for this connection comes after all of it was reported
    /// written.
    Data {
        /// Which connection.
        connection: ConnectionId,
        /// Whole frames.
        bytes: Bytes,
    },
    /// Close the connection at once, discarding what is not written.
    Close {
        /// Which connection.
        connection: ConnectionId,
    },
}

/// Something that happened.
#[derive(Debug)]
#[must_use]
pub enum Event {
    /// For the data plane.
    Overlay(OverlayEvent),
    /// For the log.
    Notice(Notice),
}

/// What the data plane has to know about connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayEvent {
    /// The connection is the one to use with this peer; heartbeats may start.
    Confirmed(OverlayConnection),
    /// The remote data plane sent a control message. The index is within the common list and the
    /// body at least two bytes long.
    Control {
        /// On which connection.
        id: ConnectionId,
        /// Index in the common list, inner tag, payload.
        body: Bytes,
    },
    /// A confirmed connection ended.
    Closed {
        /// Which one.
        id: ConnectionId,
    },
}

/// A connection as a data overlay sees it (Weave Net datapath, section 1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverlayConnection {
    /// Handle for answers.
    pub id: ConnectionId,
    /// The peer at the other end.
    pub remote: PeerName,
    /// Its short id at the handshake, if it has one.
    pub remote_short_id: Option<ShortId>,
    /// Our end of the TCP connection.
    pub local: SocketAddr,
    /// The remote end of the TCP connection.
    pub peer: SocketAddr,
    /// Whether we dialled.
    pub outbound: bool,
    /// The same number on both sides, random for each connection.
    pub connection_uid: u64,
    /// Overlays that both sides offer, in our order. Control messages name them by index.
    pub overlays: Vec<String>,
    /// Whether data has to be sealed: there is a password, and not both sides trust the network
    /// between them. An overlay that sends in clear must not carry this connection's data.
    pub encrypted: bool,
    /// The key to seal data with, exactly if [`OverlayConnection::encrypted`]. Its nonces have bit
    /// 6 of their first byte clear; those with the bit set belong to the TCP connection.
    pub session_key: Option<SessionKey>,
    /// Whether the remote announced no overlays: `sleeve` in compatibility mode, whose control
    /// messages have no index on the wire. [`OverlayEvent::Control`] and the sending side use
    /// index 0 all the same.
    pub compatibility: bool,
}
