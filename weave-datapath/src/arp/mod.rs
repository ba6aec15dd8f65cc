//! Saying and asking who has an address, straight on the wire.
//!
//! [`announce`] tells the neighbours of an interface that an address is at its MAC, so that their
//! caches do not point at a pod that is gone. IPv4 addresses are announced as Weave Net does: a
//! broadcast ARP request for the own address with target hardware address all ones (RFC 5227 calls
//! it an announcement, with zeros). IPv6 ones by an unsolicited neighbour advertisement (RFC 4861
//! section 7.2.6). [`request`] asks and collects the answers.
//!
//! Invariant: the functions act in the network namespace of the calling thread; frames are built by
//! the pure functions in `frame`.

mod frame;
mod sys;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

pub use self::frame::{advertisement_frame, announcement_frame, parse_reply, request_frame};

/// Sends one announcement for each of `addresses` from the interface `index` with the address
/// `mac`. The interface must be up.
///
/// Closing the packet socket makes this call take some 10 ms (the kernel waits for an RCU grace
/// period); [`attach`](crate::attach::attach) has the kernel send announcements instead.
///
/// # Errors
/// What opening the packet socket or sending says; `EPERM` without `CAP_NET_RAW`.
pub fn announce(index: u32, mac: [u8; 6], addresses: &[IpAddr]) -> io::Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    let socket = sys::PacketSocket::open(index, sys::Receive::Nothing)?;
    for address in addresses {
        match address {
            IpAddr::V4(ip) => socket.send(&announcement_frame(mac, *ip))?,
            IpAddr::V6(ip) => socket.send(&advertisement_frame(mac, *ip))?,
        }
    }
    Ok(())
}

/// Broadcasts one ARP request for `target` from the first address of the interface `ifname`, and
/// returns the distinct MACs that answered.
///
/// Returns 50 ms after the first answer, or when `timeout` has passed. More than one answer means
/// that two machines claim the address. An interface without address asks from `0.0.0.0`, as a
/// probe.
///
/// # Errors
/// `ENODEV` when there is no such interface, else what the packet socket says.
pub fn request(ifname: &str, target: Ipv4Addr, timeout: Duration) -> io::Result<Vec<[u8; 6]>> {
    let port = sys::interface(ifname)?;
    let socket = sys::PacketSocket::open(port.index, sys::Receive::Arp)?;
    let sender = port.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    socket.send(&request_frame(port.mac, sender, target))?;
    let mut deadline = Instant::now() + timeout;
    let mut found = Vec::new();
    let mut buffer = [0; 64];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(found);
        }
        let Some(length) = socket.receive(&mut buffer, left)? else {
            continue;
        };
        let Some((address, mac)) = parse_reply(&buffer[..length]) else {
            continue;
        };
        if address == target && !found.contains(&mac) {
            if found.is_empty() {
                deadline = deadline.min(Instant::now() + AFTER_FIRST_ANSWER);
            }
            found.push(mac);
        }
    }
}

/// How long further answers are awaited after the first.
const AFTER_FIRST_ANSWER: Duration = Duration::from_millis(50);
