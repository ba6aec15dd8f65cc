//! Why a connection ends, in the words of Weave Net where it has them.

use std::net::SocketAddr;

use super::{HandshakeError, IncomingError};
use crate::crypto::AgreementError;
use crate::gob;
use crate::gossip::ChannelError;
use crate::overlay::NoneInCommon;
use crate::peer::PeerName;
use crate::wire::message::MessageError;
use crate::wire::sync::SyncError;

/// Why a connection ends. Nothing but the connection is affected unless a variant says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The two sides could not introduce themselves.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A discovered address leads to a peer nobody has heard of.
    #[error("Found unknown remote name: {name} at {address}")]
    UnknownName {
        /// The name at the other end.
        name: PeerName,
        /// The address that was dialled.
        address: SocketAddr,
    },
    /// Another peer has our name. The target is not tried again; rename one of the two.
    #[error("local \"{local}\" and remote \"{remote}\" peer names collision")]
    Collision {
        /// Our name and nickname.
        local: String,
        /// The other's name and nickname.
        remote: String,
    },
    /// The address leads back to us. The target is not tried again.
    #[error("cannot connect to ourself")]
    Ourself,
    /// The two data planes do not fit.
    #[error(transparent)]
    Overlay(#[from] NoneInCommon),
    /// Another connection with the same peer is kept instead.
    #[error("Multiple connections to {remote} added to {local}")]
    Duplicate {
        /// Name and nickname of the peer.
        remote: String,
        /// Our name and nickname.
        local: String,
    },
    /// There are as many connections as the configuration allows.
    #[error("Connection limit reached ({0})")]
    Limit(usize),
    /// The remote has no room for this connection: its words.
    #[error("refused: {0}")]
    Refused(String),
    /// More inbound connections are being introduced than this peer takes on at a time.
    #[error("too many connections are being introduced")]
    Busy,
    /// The remote announced a message over the limit, or sent one that does not open.
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    /// The remote sent a message that cannot be decoded.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The remote sent a digest or delta that cannot be decoded. The topology is unchanged.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The remote sent a topology update that cannot be decoded. The topology is unchanged.
    #[error(transparent)]
    Topology(#[from] gob::Error),
    /// The remote sent a unicast on the channel that has none.
    #[error("unexpected topology gossip unicast: {}", decimal(.0))]
    TopologyUnicast(Vec<u8>),
    /// A channel refused what the remote sent.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Nothing complete arrived for too long.
    #[error("read tcp {local}->{remote}: i/o timeout")]
    ReadTimeout {
        /// Our end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// Nothing could be written for too long.
    #[error("write tcp {local}->{remote}: i/o timeout")]
    WriteTimeout {
        /// Our end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// More control messages wait than a live connection lets pile up.
    #[error("outgoing control queue is full")]
    Congested,
    /// The data plane gave up on the connection.
    #[error("{0}")]
    OverlayFailed(String),
    /// The stream ended: `EOF` or the text of an error.
    #[error("{0}")]
    Closed(String),
}

/// What to try after a remote that does not use the password we chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The password in this place of the keyring.
    Choose(usize),
    /// The one behind that which was tried.
    Next,
}

impl Reason {
    /// True if the target would end in the same way again and waits for a user.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Collision { .. } | Self::Ourself)
    }

    /// If the password is what the two sides do not agree on: what a dialler should do about it.
    #[must_use]
    pub fn password(&self) -> Option<Refusal> {
        let Self::Handshake(error) = self else {
            return None;
        };
        match error {
            HandshakeError::Password(AgreementError::OtherPassword { choice }) => {
                Some(Refusal::Choose(*choice))
            }
            HandshakeError::Password(AgreementError::WrongPassword)
            | HandshakeError::Unanswered(_) => Some(Refusal::Next),
            _ => None,
        }
    }
}

/// As Go prints bytes: `[1 2 3]`.
fn decimal(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}
