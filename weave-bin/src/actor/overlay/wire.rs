//! What the task needs of the kernel, so that tests can do without one.

use std::net::Ipv4Addr;

use weave_datapath::fastdp::{Heartbeat, TableUpdate};

use super::View;

/// The kernel's part of the fast data path.
pub trait Wire: Send + 'static {
    /// Changes the forwarding tables.
    ///
    /// # Errors
    /// The old tables stay in force; the next call writes this update too.
    fn apply(&mut self, update: &TableUpdate) -> Result<(), WireError>;

    /// Sends a datagram from `local` to `remote`, with DF set.
    ///
    /// # Errors
    /// Nothing was sent.
    fn send(
        &mut self,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        port: u16,
        payload: &[u8],
    ) -> Result<(), WireError>;

    /// The next special frame that came out of the tunnel.
    ///
    /// # Errors
    /// The source of frames is broken.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next_event(&mut self) -> impl Future<Output = Result<Heartbeat, WireError>> + Send;

    /// Forgets addresses not seen for long; to be called once a minute.
    ///
    /// # Errors
    /// Some are left.
    fn sweep(&mut self) -> Result<(), WireError>;

    /// What the kernel's part says about itself.
    fn view(&self) -> View;
}

/// The kernel refused. The text says what and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);
