//! What the task needs of the kernel, so that tests can do without one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use weave_datapath::fastdp::{Heartbeat, TableUpdate};
use weave_datapath::plane::{self, Forwarding, Link};
use weave_datapath::sleeve::seal::Stream;
use weave_datapath::sleeve::special::Special;

use super::View;

/// Something that came from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// A special frame out of the tunnel.
    Heartbeat(Heartbeat),
    /// News of sleeve.
    Sleeve(plane::Event),
}

/// The part of the data path in user space.
pub trait SleeveWire: Send + 'static {
    /// Sends and takes frames of a neighbour from now on.
    fn add_link(&mut self, link: Arc<Link>);

    /// Lets go of a neighbour.
    fn remove_link(&mut self, id: u64);

    /// Sends a frame of ours to a neighbour.
    fn send_special(&mut self, id: u64, to: SocketAddrV4, stream: Stream, special: Special);

    /// Replaces the ways that frames take.
    fn set_forwarding(&mut self, forwarding: Forwarding);

    /// Bytes of IP packet that this host would send whole to an address; `None`: no route.
    fn path_mtu(&mut self, to: SocketAddrV4) -> Option<u16>;
}

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

    /// Opens the tunnel at a UDP port beside ours, or puts it in order there: to be called before the
    /// first frame, and again from time to time.
    ///
    /// # Errors
    /// Frames for peers that were dialled there cannot take the tunnel.
    fn open_port(&mut self, port: u16) -> impl Future<Output = Result<(), WireError>> + Send;

    /// Closes the tunnel at the ports that are neither in `but` nor in use by frames.
    ///
    /// # Errors
    /// Some are left.
    fn close_ports(
        &mut self,
        but: &BTreeSet<u16>,
    ) -> impl Future<Output = Result<(), WireError>> + Send;

    /// Sleeve, if this host has it.
    fn sleeve(&mut self) -> Option<&mut dyn SleeveWire>;

    /// What arrives next from a peer.
    ///
    /// # Errors
    /// The source of frames is broken.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next_event(&mut self) -> impl Future<Output = Result<Arrival, WireError>> + Send;

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
