//! The handle to a running mesh.
//!
//! Every call becomes one command to the task that owns the engine; the handle holds no state of
//! its own. Calls after the mesh has stopped do nothing and answer with what an idle mesh would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::crypto::{Keyring, KeyringError};
use crate::node::{ConnectionId, Report, RouteTable, UnicastError};
use crate::peer::PeerName;

/// Handle to a running mesh. Clones refer to the same mesh, which stops when [`Mesh::shutdown`] is
/// called or the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Mesh {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) routes: watch::Receiver<Arc<RouteTable>>,
    pub(super) listen: SocketAddr,
}

/// What a handle asks of the task that owns the engine.
#[derive(Debug)]
pub(super) enum Command {
    Connect {
        peers: Vec<String>,
        replace: bool,
        reply: oneshot::Sender<Vec<String>>,
    },
    Forget {
        peers: Vec<String>,
        reply: oneshot::Sender<()>,
    },
    Broadcast {
        channel: String,
    },
    Unicast {
        channel: String,
        to: PeerName,
        payload: Bytes,
        reply: oneshot::Sender<Result<(), UnicastError>>,
    },
    RelayBroadcast {
        channel: String,
        source: PeerName,
    },
    RelayGossip {
        channel: String,
    },
    Established {
        id: ConnectionId,
    },
    SetOverlay {
        id: ConnectionId,
        name: String,
        attributes: BTreeMap<String, String>,
    },
    SendControl {
        id: ConnectionId,
        body: Bytes,
    },
    OverlayFailed {
        id: ConnectionId,
        reason: String,
    },
    SetKeyring {
        keyring: Keyring,
        reply: oneshot::Sender<Result<(), KeyringError>>,
    },
    Report {
        reply: oneshot::Sender<Report>,
    },
    Shutdown {
        reply: oneshot::Sender<()>,
    },
}

impl Mesh {
    /// The address the mesh listens on, with the port that was chosen if 0 was asked for.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// Adds direct peers, given as `host[:port]`, and tries them at once; `replace` forgets the
    /// other direct peers first. Connections that exist stay.
    ///
    /// Returns one text for each entry that cannot be used; the others are used all the same.
    pub async fn connect(&self, peers: Vec<String>, replace: bool) -> Vec<String> {
        self.ask(|reply| Command::Connect {
            peers,
            replace,
            reply,
        })
        .await
        .unwrap_or_default()
    }

    /// Removes direct peers, named exactly as they were given. Connections that exist stay.
    pub async fn forget(&self, peers: Vec<String>) {
        self.ask(|reply| Command::Forget { peers, reply })
            .await
            .unwrap_or_default();
    }

    /// Sends the channel's state to every peer, along the tree that starts here.
    pub async fn broadcast(&self, channel: &str) {
        self.tell(Command::Broadcast {
            channel: channel.to_owned(),
        })
        .await;
    }

    /// Sends `payload` to one peer, over as many hops as it takes.
    ///
    /// # Errors
    ///
    /// Fails if no route leads to the peer or the connection to the next hop is congested. `Ok`
    /// says that the message waits on that connection, not that it has arrived.
    pub async fn unicast(
        &self,
        channel: &str,
        to: PeerName,
        payload: Bytes,
    ) -> Result<(), UnicastError> {
        let channel = channel.to_owned();
        self.ask(|reply| Command::Unicast {
            channel,
            to,
            payload,
            reply,
        })
        .await
        .unwrap_or(Err(UnicastError::Stopped))
    }

    /// Sends the channel's state on along the broadcast tree of `source`.
    pub async fn relay_broadcast(&self, channel: &str, source: PeerName) {
        self.tell(Command::RelayBroadcast {
            channel: channel.to_owned(),
            source,
        })
        .await;
    }

    /// Sends the channel's state to random neighbours.
    pub async fn relay_gossip(&self, channel: &str) {
        self.tell(Command::RelayGossip {
            channel: channel.to_owned(),
        })
        .await;
    }

    /// Tells that the data overlay of a connection works in both directions.
    pub async fn established(&self, id: ConnectionId) {
        self.tell(Command::Established { id }).await;
    }

    /// Tells which overlay a connection uses, and its attributes, for the report.
    pub async fn set_overlay(
        &self,
        id: ConnectionId,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) {
        self.tell(Command::SetOverlay {
            id,
            name: name.to_owned(),
            attributes,
        })
        .await;
    }

    /// Sends a control message to the remote data plane: index in the common list, inner tag,
    /// payload. A body that would harm the remote is counted and not sent.
    pub async fn send_control(&self, id: ConnectionId, body: Bytes) {
        self.tell(Command::SendControl { id, body }).await;
    }

    /// Ends a connection because its data overlays do not work.
    pub async fn overlay_failed(&self, id: ConnectionId, reason: String) {
        self.tell(Command::OverlayFailed { id, reason }).await;
    }

    /// Changes the passwords that are used and accepted. Connections stay as they are. To change
    /// the password of a mesh, first accept the new one on every peer, then make it the current
    /// one on every peer, then drop the old one on every peer.
    ///
    /// # Errors
    ///
    /// Fails if there was no password and now is one, or the other way round, and if the mesh has
    /// stopped; the passwords in use stay.
    pub async fn set_keyring(&self, keyring: Keyring) -> Result<(), KeyringError> {
        self.ask(|reply| Command::SetKeyring { keyring, reply })
            .await
            .unwrap_or(Err(KeyringError::Stopped))
    }

    /// The routes for the data plane. The snapshot is replaced whole, and only when it differs.
    #[must_use]
    pub fn routes(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.routes.clone()
    }

    /// The state for operators; [`Report::stopped`] after the mesh has stopped.
    pub async fn report(&self) -> Report {
        let report = self.ask(|reply| Command::Report { reply }).await;
        report.unwrap_or_else(|| Report::stopped(self.routes.borrow().us))
    }

    /// Closes all connections and waits until every task of the mesh has ended.
    pub async fn shutdown(self) {
        self.ask(|reply| Command::Shutdown { reply })
            .await
            .unwrap_or_default();
    }

    async fn tell(&self, command: Command) {
        // A closed queue means that the mesh has stopped, which every caller may outlive.
        let _ = self.commands.send(command).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await;
        answer.await.ok()
    }
}
