//! The mesh on real sockets: tasks around a [`Node`].
//!
//! ```text
//!  Mesh (handle) ──commands──▶ driver ◀──inputs── accept loop, dials, one reader and one writer
//!                                │                 for each connection
//!      OverlayEvents ◀───────────┤
//!      routes (watch) ◀──────────┘
//! ```
//!
//! The driver owns the node and never waits for a socket or for a receiver of events. All queues
//! are bounded; a reader that is ahead of the driver waits, a writer that is behind makes its
//! connection's state merge in the node. Everything stops with [`Mesh::shutdown`] or when the last
//! handle is dropped.

mod driver;
mod mesh;
mod socket;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::crypto::KeySeed;
use crate::gossip::Channel;
use crate::node::{Node, RouteTable};
use driver::Driver;

pub use crate::node::{
    Config, ConfigError, ConnectionId, OverlayConnection, OverlayEvent, Report, UnicastError,
};
pub use mesh::Mesh;

/// What the data plane has to know about connections. If the receiver falls behind by more than
/// 1024 events, control messages are dropped; begin and end of connections never are.
pub type OverlayEvents = mpsc::Receiver<OverlayEvent>;

/// Starts a peer: it listens, dials the configured peers and gossips the given channels.
///
/// # Errors
///
/// Fails if the configuration cannot be used or the address cannot be listened on. Nothing runs
/// then.
pub async fn start(
    mut config: Config,
    channels: Vec<(String, Box<dyn Channel>)>,
) -> Result<(Mesh, OverlayEvents), Error> {
    let address = config.listen;
    let listen_error = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    config.listen = listener.local_addr().map_err(listen_error)?;
    config.seed = Some(config.seed.unwrap_or_else(socket::random_seed));
    if config.key_seed.is_none() {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| Error::Randomness(error.to_string()))?;
        config.key_seed = Some(KeySeed::from(*seed));
    }
    let listen = config.listen;
    let table = Arc::new(RouteTable::empty(config.name));
    let node = Node::new(config, channels)?;

    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (events, overlay_events) = mpsc::channel(OVERLAY_EVENTS);
    let (routes, routes_watch) = watch::channel(table);
    let driver = Driver::new(node, listen, command_queue, events, routes);
    tokio::spawn(driver.run(listener));
    Ok((
        Mesh {
            commands,
            routes: routes_watch,
            listen,
        },
        overlay_events,
    ))
}

/// Why a mesh does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used; the text says what to correct.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on: it is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no random bytes to make keys of.
    #[error("cannot draw random bytes: {0}")]
    Randomness(String),
}

/// Commands that wait before callers of the handle do.
const COMMANDS: usize = 64;
/// Events that wait in the receiver before they wait in the driver.
const OVERLAY_EVENTS: usize = 64;
