//! The UDP sockets of sleeve.
//!
//! Two sockets share the port of the mesh: one sends with "don't fragment", one without; both
//! receive, and the kernel spreads peers over them.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt::IpMtu},
};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::{pack::Run, sys};
use crate::sleeve::seal::Stream;

/// Payloads taken by one call at most.
pub(super) const BATCH: usize = 16;
/// Bytes asked of the kernel for each direction of a socket.
const BUFFER: usize = 4 << 20;

/// Why something was not sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// Larger than the path to the peer carries whole.
    TooBig,
    /// No room in the socket.
    Full,
    /// The kernel refuses; it may not next time (a firewall, a route that is changing).
    Refused(io::Error),
}

/// One socket with segmentation offload, where the kernel and the device have it.
#[derive(Debug)]
pub(super) struct Udp {
    socket: Socket,
    state: UdpSocketState,
    runs: AtomicBool,
}

impl Udp {
    /// Binds a socket that shares the port with others of this process.
    pub(super) fn bind(address: SocketAddrV4, stream: Stream) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        // The kernel cuts these down to its limits by itself.
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_send_buffer_size(BUFFER)?;
        socket.bind(&SocketAddr::V4(address).into())?;
        let state = UdpSocketState::new((&socket).into())?;
        sys::set_dont_fragment(socket.as_fd(), stream == Stream::Whole)?;
        Ok(Self {
            runs: AtomicBool::new(state.max_gso_segments() > 1),
            socket,
            state,
        })
    }

    /// Whether several payloads can leave by one call.
    pub(super) fn takes_runs(&self) -> bool {
        self.runs.load(Relaxed)
    }

    /// Sends a run; one by one if the device cannot cut it.
    pub(super) fn send(&self, to: SocketAddrV4, run: Run<'_>) -> Result<(), SendError> {
        if run.bytes.len() <= run.payload {
            return self.send_one(to, run.bytes);
        }
        if self.takes_runs() {
            let sent = self.state.try_send(
                (&self.socket).into(),
                &Transmit {
                    destination: to.into(),
                    ecn: None,
                    contents: run.bytes,
                    segment_size: Some(run.payload),
                    src_ip: None,
                },
            );
            match sent {
                Err(error) if is_no_offload(&error) => self.runs.store(false, Relaxed),
                other => return other.map_err(refused),
            }
        }
        let mut outcome = Ok(());
        for payload in run.bytes.chunks(run.payload) {
            let sent = self.send_one(to, payload);
            outcome = outcome.and(sent);
        }
        outcome
    }

    fn send_one(&self, to: SocketAddrV4, payload: &[u8]) -> Result<(), SendError> {
        let sent = self.socket.send_to(payload, &SocketAddr::V4(to).into());
        sent.map(drop).map_err(refused)
    }

    /// Takes what has arrived; `metas` says how much is in each of `buffers`.
    pub(super) fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), buffers, metas)
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_no_offload(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EIO | Errno::EINVAL))
}

fn refused(error: io::Error) -> SendError {
    if error.raw_os_error().map(Errno::from_raw) == Some(Errno::EMSGSIZE) {
        SendError::TooBig
    } else if error.kind() == io::ErrorKind::WouldBlock {
        SendError::Full
    } else {
        SendError::Refused(error)
    }
}

/// Bytes of IP packet that the kernel would send whole to `to`.
///
/// # Errors
/// If there is no route.
pub fn path_mtu(to: SocketAddrV4) -> io::Result<u16> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&SocketAddr::V4(to).into())?;
    let mtu = getsockopt(&socket, IpMtu)?;
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}
