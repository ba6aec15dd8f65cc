//! Who talks to whom in a logged packet.
//!
//! Invariant: headers are read within the bytes that are there; chains of IPv6 extension headers
//! end after [`MAX_EXTENSIONS`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Logged;

/// The ends and the protocol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// The IP protocol, behind extension headers.
    pub proto: u8,
    /// What the transport header says.
    pub transport: Transport,
}

/// The part of a transport header that tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// The sender's port.
        source: u16,
        /// The receiver's port.
        destination: u16,
        /// The flags: 0x02 SYN, 0x10 ACK.
        flags: u8,
    },
    /// UDP or SCTP.
    Ports {
        /// The sender's port.
        source: u16,
        /// The receiver's port.
        destination: u16,
    },
    /// ICMP or `ICMPv6`: type and code.
    Icmp(u8, u8),
    /// A later fragment, a protocol without ports, or a header that was cut off.
    Unknown,
}

impl Flow {
    /// True if the packet asks for a connection: a TCP packet with SYN and without ACK, or any other.
    pub fn is_opening(&self) -> bool {
        match self.transport {
            Transport::Tcp { flags, .. } => flags & (SYN | ACK) == SYN,
            _ => true,
        }
    }
}

impl Logged {
    /// The ends of the packet; nothing if it is neither IPv4 nor IPv6 or its header is cut off.
    pub fn flow(&self) -> Option<Flow> {
        match self.payload.first()? >> 4 {
            4 => v4(&self.payload),
            6 => v6(&self.payload),
            _ => None,
        }
    }
}

fn v4(packet: &[u8]) -> Option<Flow> {
    let header = packet.first_chunk::<20>()?;
    let len = usize::from(header[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    let proto = header[9];
    let rest = if len >= 20 && fragment == 0 {
        packet.get(len..)
    } else {
        None
    };
    Some(Flow {
        source: Ipv4Addr::from(*header[12..].first_chunk::<4>()?).into(),
        destination: Ipv4Addr::from(*header[16..].first_chunk::<4>()?).into(),
        proto,
        transport: transport(proto, rest.unwrap_or_default()),
    })
}

fn v6(packet: &[u8]) -> Option<Flow> {
    let (header, mut rest) = packet.split_first_chunk::<40>()?;
    let mut proto = header[6];
    let mut is_readable = true;
    for _ in 0..MAX_EXTENSIONS {
        let (Some(next), Some(len)) = (rest.first(), rest.get(1)) else {
            break;
        };
        let len = match proto {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(*len) + 1) * 8,
            AUTHENTICATION => (usize::from(*len) + 2) * 4,
            FRAGMENT => {
                let offset = rest
                    .get(2..4)
                    .map_or(0, |at| u16::from_be_bytes([at[0], at[1]]) >> 3);
                is_readable &= offset == 0;
                8
            }
            _ => break,
        };
        proto = *next;
        rest = rest.get(len..).unwrap_or_default();
    }
    Some(Flow {
        source: Ipv6Addr::from(*header[8..].first_chunk::<16>()?).into(),
        destination: Ipv6Addr::from(*header[24..].first_chunk::<16>()?).into(),
        proto,
        transport: if is_readable {
            transport(proto, rest)
        } else {
            Transport::Unknown
        },
    })
}

fn transport(proto: u8, header: &[u8]) -> Transport {
    let ports = || {
        let bytes = header.first_chunk::<4>()?;
        Some((
            u16::from_be_bytes([bytes[0], bytes[1]]),
            u16::from_be_bytes([bytes[2], bytes[3]]),
        ))
    };
    match (proto, ports(), header.get(13)) {
        (TCP, Some((source, destination)), Some(flags)) => Transport::Tcp {
            source,
            destination,
            flags: *flags,
        },
        (UDP | SCTP, Some((source, destination)), _) => Transport::Ports {
            source,
            destination,
        },
        (ICMP | ICMPV6, Some(_), _) => Transport::Icmp(header[0], header[1]),
        _ => Transport::Unknown,
    }
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// IP protocol numbers and IPv6 extension headers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// More than any honest packet has.
const MAX_EXTENSIONS: usize = 8;
