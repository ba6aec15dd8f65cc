//! The sockets questions come to, and datagrams that are answered from the address they came to.
//!
//! A socket on every address answers from whichever the kernel likes best on the way back, and an
//! asker does not listen to an answer from elsewhere. So the address a datagram came to is taken
//! along (`IP_PKTINFO`, `ip(7)`), and the answer leaves from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};
use tracing::warn;

/// Both sockets of one address.
#[derive(Debug)]
pub struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    address: SocketAddr,
}

/// Who sent a datagram, and the address of ours it came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    from: SocketAddr,
    to: Option<Local>,
}

#[derive(Debug, Clone, Copy)]
enum Local {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Sockets {
    /// Listens on `address`; port 0 is a free one. The address need not be there yet: that of the
    /// bridge comes after the daemon.
    ///
    /// # Errors
    /// What the system says, with the address and what to do.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let named = |error: io::Error| {
            let text = format!(
                "cannot listen for DNS on {address}: {error}; give --dns-listen-address \
                 with an address where no other name server listens, or --no-dns"
            );
            io::Error::new(error.kind(), text)
        };
        if !address.ip().is_unspecified() && std::net::UdpSocket::bind((address.ip(), 0)).is_err() {
            warn!(
                "[nameserver] {} is no address of this host yet",
                address.ip()
            );
        }
        // The free port of one protocol may be taken in the other.
        let mut last = bind_both(address);
        for _ in 0..if address.port() == 0 { 16 } else { 0 } {
            if last.is_ok() {
                break;
            }
            last = bind_both(address);
        }
        last.map_err(named)
    }

    /// Where we listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next datagram, cut to `buffer`.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Caller)> {
        let receive = || receive(&self.udp, buffer);
        self.udp.async_io(Interest::READABLE, receive).await
    }

    /// Answers a datagram; nothing if the socket is full, as on any other way.
    pub(super) fn answer(&self, caller: Caller, bytes: &[u8]) -> io::Result<()> {
        let send = || send(&self.udp, caller, bytes);
        self.udp.try_io(Interest::WRITABLE, send)
    }
}

fn bind_both(address: SocketAddr) -> io::Result<Sockets> {
    let udp = open(address, Type::DGRAM, Protocol::UDP)?;
    let udp = std::net::UdpSocket::from(udp);
    let address = udp.local_addr()?;
    if address.is_ipv4() {
        setsockopt(&udp, Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&udp, Ipv6RecvPacketInfo, &true)?;
    }
    let tcp = open(address, Type::STREAM, Protocol::TCP)?;
    tcp.listen(BACKLOG)?;
    Ok(Sockets {
        udp: UdpSocket::from_std(udp)?,
        tcp: TcpListener::from_std(tcp.into())?,
        address,
    })
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        // Connections of a daemon before us may not be over.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Caller)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut space = cmsg_space!(in6_pktinfo);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(info)),
        _ => None,
    });
    let from = message.address.as_ref().and_then(|address| {
        let v4 = || {
            address
                .as_sockaddr_in()
                .map(|v4| SocketAddrV4::from(*v4).into())
        };
        let v6 = || {
            address
                .as_sockaddr_in6()
                .map(|v6| SocketAddrV6::from(*v6).into())
        };
        v4().or_else(v6)
    });
    let from = from.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
    Ok((message.bytes, Caller { from, to }))
}

fn send(socket: &UdpSocket, caller: Caller, bytes: &[u8]) -> io::Result<()> {
    let slices = [IoSlice::new(bytes)];
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    // The way back is the kernel's choice, the address is not.
    let v4 = |info: in_pktinfo| in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: info.ipi_spec_dst,
        ipi_addr: in_addr {
            s_addr: Ipv4Addr::UNSPECIFIED.into(),
        },
    };
    match (caller.from, caller.to) {
        (SocketAddr::V4(from), Some(Local::V4(info))) => {
            let info = v4(info);
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(fd, &slices, &control, flags, Some(&SockaddrIn::from(from)))?;
        }
        (SocketAddr::V6(from), Some(Local::V6(info))) => {
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(fd, &slices, &control, flags, Some(&SockaddrIn6::from(from)))?;
        }
        (from, _) => {
            sendmsg(fd, &slices, &[], flags, Some(&SockaddrStorage::from(from)))?;
        }
    }
    Ok(())
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
