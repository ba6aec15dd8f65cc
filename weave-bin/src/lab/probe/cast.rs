//! One datagram to everyone: broadcast and multicast across hosts.
//!
//! One pod of every host sends; every other pod must get exactly one copy. A missing copy means a
//! branch of a broadcast tree is cut, a second copy means a loop. Broadcast also includes an ARP
//! request answered from another host.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use weave_datapath::arp;
use weave_datapath::netlink::mac_text;
use weave_datapath::netns::Namespace;

use super::reach::plain;

/// A pod as sender and receiver.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// As a person names it.
    pub(crate) label: String,
    /// Its host.
    pub(crate) host: usize,
    /// Its namespace.
    pub(crate) namespace: Namespace,
    /// Its address, with the length of its subnet.
    pub(crate) address: Ipv4Net,
    /// Its hardware address.
    pub(crate) mac: String,
}

/// How a datagram goes to everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    /// To the subnet's broadcast address.
    Broadcast,
    /// To [`GROUP`].
    Multicast,
}

/// Sends from the first pod of every host. Returns what went wrong, one line each.
pub(crate) fn everyone(places: &[Place], cast: Cast, token: u64) -> Vec<String> {
    let mut sockets = Vec::new();
    let mut faults = Vec::new();
    for place in places {
        match open(place, cast) {
            Ok(socket) => sockets.push((place, socket)),
            Err(reason) => faults.push(format!("{cast}: {} cannot listen: {reason}", place.label)),
        }
    }
    let mut hosts = Vec::new();
    for (sender, (place, _)) in sockets.iter().enumerate() {
        if hosts.contains(&place.host) {
            continue;
        }
        hosts.push(place.host);
        faults.extend(one(&sockets, sender, cast, token));
    }
    faults
}

/// Asks on the wire for the address of a pod on another host. Returns what went wrong.
pub(crate) fn resolve(places: &[Place]) -> Option<String> {
    let from = places.first()?;
    let to = places.iter().rev().find(|place| place.host != from.host)?;
    let target = to.address.addr();
    let asked = from
        .namespace
        .run(|| arp::request("eth0", target, ARP_LIMIT));
    let answers = match asked {
        Ok(Ok(macs)) => macs,
        Ok(Err(error)) => return Some(format!("ARP from {}: {}", from.label, plain(&error))),
        Err(error) => return Some(format!("ARP from {}: {error}", from.label)),
    };
    let macs: Vec<String> = answers.into_iter().map(mac_text).collect();
    match macs.as_slice() {
        [] => Some(format!(
            "ARP from {}: no answer for {target} ({})",
            from.label, to.label
        )),
        [mac] if *mac == to.mac => None,
        others => Some(format!(
            "ARP from {}: {target} ({}) is at {}, expected {}",
            from.label,
            to.label,
            others.join(" and "),
            to.mac
        )),
    }
}

impl std::fmt::Display for Cast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
        })
    }
}

/// One datagram from `sockets[sender]`.
fn one(sockets: &[(&Place, Socket)], sender: usize, cast: Cast, token: u64) -> Vec<String> {
    let (from, socket) = &sockets[sender];
    let to = match cast {
        Cast::Broadcast => from.address.broadcast(),
        Cast::Multicast => GROUP,
    };
    let to = SockAddr::from(SocketAddr::new(IpAddr::V4(to), PORT));
    if let Err(error) = socket.send_to(&token.to_be_bytes(), &to) {
        return vec![format!(
            "{cast}: {} cannot send: {}",
            from.label,
            plain(&error)
        )];
    }
    let mut copies = vec![0_u32; sockets.len()];
    let deadline = Instant::now() + LISTEN_LIMIT;
    let mut complete: Option<Instant> = None;
    while Instant::now() < deadline {
        for ((_, socket), copies) in sockets.iter().zip(&mut copies) {
            *copies += received(socket, token);
        }
        let all = copies
            .iter()
            .enumerate()
            .all(|(index, copies)| index == sender || *copies > 0);
        if all {
            // Second copies of a loop come right behind.
            let since = *complete.get_or_insert_with(Instant::now);
            if since.elapsed() > GRACE {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut faults = Vec::new();
    for (index, ((place, _), copies)) in sockets.iter().zip(&copies).enumerate() {
        if index == sender {
            continue;
        }
        match copies {
            0 => faults.push(format!(
                "{cast} from {}: none at {}",
                from.label, place.label
            )),
            1 => {}
            many => faults.push(format!(
                "{cast} from {}: {many} copies at {}",
                from.label, place.label
            )),
        }
    }
    faults
}

/// Copies of the datagram with `token` that wait in `socket`.
fn received(socket: &Socket, token: u64) -> u32 {
    let mut buffer = [0; 64];
    let mut copies = 0;
    let mut reader = socket;
    while let Ok(length) = reader.read(&mut buffer) {
        copies += u32::from(buffer[..length] == token.to_be_bytes());
    }
    copies
}

fn open(place: &Place, cast: Cast) -> Result<Socket, String> {
    let address = place.address.addr();
    let open = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        socket.bind(&SockAddr::from(any))?;
        if cast == Cast::Multicast {
            socket.join_multicast_v4(&GROUP, &address)?;
            socket.set_multicast_if_v4(&address)?;
            socket.set_multicast_loop_v4(false)?;
        }
        Ok(socket)
    };
    let opened = place
        .namespace
        .run(open)
        .map_err(|error| error.to_string())?;
    opened.map_err(|error| plain(&error))
}

/// Outside of 224.0.0.0/24, which bridges flood without looking (RFC 4541, section 2.1.2).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 77, 0, 1);
/// Nobody else listens in the pods of a lab.
const PORT: u16 = 46784;
/// How long copies may take.
const LISTEN_LIMIT: Duration = Duration::from_millis(700);
/// How long second copies are looked for.
const GRACE: Duration = Duration::from_millis(20);
const ARP_LIMIT: Duration = Duration::from_millis(1000);
