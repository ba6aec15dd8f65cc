//! Packet sockets and interface look-up: the part of ARP that needs `unsafe`.
//!
//! Invariant: a socket is bound to one interface from its first moment, so it never sends or sees
//! frames of another.

#![expect(
    unsafe_code,
    reason = "nix has no safe constructor for a packet socket address"
)]

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    ifaddrs::getifaddrs,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, recv, send,
        socket,
    },
};

/// A raw packet socket on one interface.
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

/// Which frames a socket is to receive.
#[derive(Clone, Copy)]
pub(super) enum Receive {
    /// None: for sending only.
    Nothing,
    /// ARP, from others and to us or to all.
    Arp,
}

impl PacketSocket {
    pub(super) fn open(index: u32, receive: Receive) -> io::Result<Self> {
        // Opened for protocol 0 the socket receives nothing until it is bound to a protocol, so no
        // frame of another interface gets in between.
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        let protocol = match receive {
            Receive::Nothing => 0,
            Receive::Arp => libc::ETH_P_ARP,
        };
        bind(fd.as_raw_fd(), &address(index, protocol)?)?;
        Ok(Self { fd })
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// Waits up to `timeout` for one frame; longer frames are cut to the buffer.
    pub(super) fn receive(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> io::Result<Option<usize>> {
        // Rounded up: a wait of 0 ms would make the caller spin.
        let milliseconds = u16::try_from(timeout.as_millis())
            .unwrap_or(u16::MAX)
            .max(1);
        let mut ready = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(milliseconds)) {
            Ok(0) | Err(nix::Error::EINTR) => Ok(None),
            Ok(_) => Ok(Some(recv(
                self.fd.as_raw_fd(),
                buffer,
                MsgFlags::MSG_DONTWAIT,
            )?)),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What ARP needs to know about an interface.
pub(super) struct Port {
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
    pub(super) address: Option<Ipv4Addr>,
}

/// Looks up an Ethernet interface of the calling thread's namespace.
pub(super) fn interface(name: &str) -> io::Result<Port> {
    let mut link = None;
    let mut address = None;
    for entry in getifaddrs()?.filter(|entry| entry.interface_name == name) {
        let Some(storage) = entry.address else {
            continue;
        };
        if let Some(found) = storage.as_link_addr() {
            let index = u32::try_from(found.ifindex()).map_err(io::Error::other)?;
            link = found.addr().map(|mac| (index, mac));
        } else if let Some(found) = storage.as_sockaddr_in() {
            address.get_or_insert_with(|| found.ip());
        }
    }
    let Some((index, mac)) = link else {
        return Err(nix::Error::ENODEV.into());
    };
    Ok(Port {
        index,
        mac,
        address,
    })
}

fn address(index: u32, protocol: libc::c_int) -> io::Result<LinkAddr> {
    let invalid = |_| io::Error::from(nix::Error::EINVAL);
    let raw = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(invalid)?,
        sll_protocol: u16::try_from(protocol).map_err(invalid)?.to_be(),
        sll_ifindex: i32::try_from(index).map_err(invalid)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&raw)).map_err(invalid)?;
    // SAFETY: the pointer is to a complete `sockaddr_ll` on our stack, of exactly `length` bytes,
    // and `from_raw` copies it before returning.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) }
        .ok_or_else(|| nix::Error::EINVAL.into())
}
