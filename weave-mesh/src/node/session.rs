//! One connection as the node sees it: its phase, its queues and what is on the way.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::BytesMut;

use super::{ConnectionId, DialId, Remote};
use crate::connection::{Handshake, Incoming, Introduced, Outgoing};
use crate::crypto::{Password, SessionKey};
use crate::gossip::outbox::Outbox;
use crate::overlay::Common;
use crate::peer::{PeerName, Uid};

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The attempt it came from; `None` if it was accepted.
    pub(super) dial: Option<DialId>,
    /// Whether the remote's address is in a network that we trust.
    pub(super) is_trusted: bool,
    pub(super) phase: Phase,
    /// Bytes of the introduction that are not yet handed out.
    pub(super) greeting: BytesMut,
    pub(super) outbox: Outbox,
    /// Bytes handed out and not yet reported written.
    pub(super) in_flight: usize,
    /// The peer whose record this connection keeps from being collected.
    pub(super) retained: Option<PeerName>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Introducing(Box<Handshake>),
    Running(Box<Session>),
}

/// What is known about a connection once it is part of the topology.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: PeerName,
    pub(super) nickname: String,
    pub(super) uid: Uid,
    pub(super) connection_uid: u64,
    pub(super) common: Common,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// The password of the connection, if it has one.
    pub(super) password: Option<Password>,
    /// The key that data has to be sealed with: there is a password, and not both sides trust the
    /// network between them.
    pub(super) data_key: Option<SessionKey>,
    pub(super) is_established: bool,
    /// Whether the remote takes digests and deltas.
    pub(super) is_sync: bool,
    /// The overlay in use and what it tells about itself.
    pub(super) overlay: Option<(String, BTreeMap<String, String>)>,
}

impl Session {
    pub(super) fn new(introduced: Introduced, common: Common, is_trusted: bool) -> Self {
        let is_trusted = is_trusted && introduced.features.trusted;
        let (key, password) = introduced.sealed.unzip();
        Self {
            name: introduced.features.name,
            nickname: introduced.features.nickname,
            uid: introduced.features.uid,
            connection_uid: introduced.connection_uid,
            common,
            incoming: introduced.incoming,
            outgoing: introduced.outgoing,
            password,
            data_key: key.filter(|_| !is_trusted),
            is_established: false,
            is_sync: introduced.features.sync > 0,
            overlay: None,
        }
    }
}

impl Link {
    /// True if we dialled.
    pub(super) fn is_outbound(&self) -> bool {
        self.dial.is_some()
    }

    pub(super) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Running(session) => Some(session),
            Phase::Introducing(_) => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Running(session) => Some(session),
            Phase::Introducing(_) => None,
        }
    }

    /// The remote end for the log, once it is introduced.
    pub(super) fn remote_end(&self) -> Option<Remote> {
        self.session().map(|session| Remote {
            address: self.remote,
            name: session.name,
            nickname: session.nickname.clone(),
        })
    }
}
