//! Lines for the log, in the words operators of Weave Net search for.
//!
//! The engine does not log: a simulation runs a thousand of it. Its driver writes these at the
//! level `info`.

use std::fmt;
use std::net::SocketAddr;

use crate::peer::PeerName;

/// A state change that an operator wants to see in a timeline. `Display` is the line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A target is being dialled.
    Attempting {
        /// `ip:port` or the text as given.
        address: String,
    },
    /// Dialling failed before there was a connection.
    AttemptFailed {
        /// `ip:port` or the text as given.
        address: String,
        /// Why.
        reason: String,
    },
    /// The introduction is done.
    Ready {
        /// Who.
        remote: Remote,
        /// Negotiated protocol version.
        version: u8,
    },
    /// The connection is part of the topology.
    Added {
        /// Who.
        remote: Remote,
        /// What this peer knew of the remote before.
        novelty: Novelty,
    },
    /// The data overlay works in both directions.
    Established {
        /// Who.
        remote: Remote,
    },
    /// A connection ended.
    Ended {
        /// Who.
        remote: Remote,
        /// Why.
        reason: String,
    },
    /// A connection that had been added is no longer one of ours.
    Deleted {
        /// Who.
        remote: Remote,
    },
    /// A connection ended during the introduction.
    Refused {
        /// Address of the remote end.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// No path of connections leads to this peer any more.
    Removed {
        /// Its name.
        name: PeerName,
        /// Its nickname.
        nickname: String,
    },
}

/// The remote end of a connection. `Display` is `->[ip:port|name(nickname)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Address of the remote end.
    pub address: SocketAddr,
    /// Name of the remote peer.
    pub name: PeerName,
    /// Nickname of the remote peer.
    pub nickname: String,
}

/// What was known of a peer when a connection to it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It is reachable through others.
    Known,
    /// It was not reachable.
    New,
    /// It is another incarnation of a known peer.
    Restarted,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "->[{}|{}({})]", self.address, self.name, self.nickname)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempting { address } => write!(f, "->[{address}] attempting connection"),
            Self::AttemptFailed { address, reason } => {
                write!(f, "->[{address}] error during connection attempt: {reason}")
            }
            Self::Ready { remote, version } => {
                write!(
                    f,
                    "{remote}: connection ready; using protocol version {version}"
                )
            }
            Self::Added { remote, novelty } => {
                let suffix = match novelty {
                    Novelty::Known => "",
                    Novelty::New => " (new peer)",
                    Novelty::Restarted => " (restarted peer)",
                };
                write!(f, "{remote}: connection added{suffix}")
            }
            Self::Established { remote } => write!(f, "{remote}: connection fully established"),
            Self::Ended { remote, reason } => {
                write!(
                    f,
                    "{remote}: connection shutting down due to error: {reason}"
                )
            }
            Self::Deleted { remote } => write!(f, "{remote}: connection deleted"),
            Self::Refused { address, reason } => write!(
                f,
                "->[{address}] connection shutting down due to error during handshake: {reason}"
            ),
            Self::Removed { name, nickname } => {
                write!(f, "Removed unreachable peer {name}({nickname})")
            }
        }
    }
}
