//! Connections as attributes of netlink.
//!
//! ```text
//! connection  original tuple | reply tuple | status | mark | id | zone | …
//! tuple       addresses (source, destination) | protocol (number, ports or ICMP id, type, code)
//! ```
//!
//! Numbers of attributes: `linux/netfilter/nfnetlink_conntrack.h`.
//!
//! Invariant: `tuple(encode(tuple)) = tuple`; what lacks an end of either direction is no connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Connection, Filter, Tuple};
use crate::nfnetlink::wire::{Attribute, Attributes, nested};

/// Reads a connection.
pub(super) fn connection(attributes: Attributes<'_>) -> Option<Connection> {
    let number = |kind| attributes.find(kind).and_then(Attribute::u32).unwrap_or(0);
    Some(Connection {
        original: tuple(attributes.find(TUPLE_ORIG)?.nested())?,
        reply: tuple(attributes.find(TUPLE_REPLY)?.nested())?,
        status: number(STATUS),
        mark: number(MARK),
        id: number(ID),
        zone: attributes.find(ZONE).and_then(Attribute::u16).unwrap_or(0),
    })
}

/// Reads the ends of one direction.
pub(super) fn tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let addresses = attributes.find(TUPLE_IP)?.nested();
    let v4 = |kind| {
        Some(IpAddr::from(Ipv4Addr::from(
            *addresses.find(kind)?.value.first_chunk::<4>()?,
        )))
    };
    let v6 = |kind| {
        Some(IpAddr::from(Ipv6Addr::from(
            *addresses.find(kind)?.value.first_chunk::<16>()?,
        )))
    };
    let (source, destination) = match (v4(V4_SRC), v4(V4_DST)) {
        (Some(source), Some(destination)) => (source, destination),
        _ => (v6(V6_SRC)?, v6(V6_DST)?),
    };
    let header = attributes.find(TUPLE_PROTO)?.nested();
    let proto = header.find(PROTO_NUM)?.u8()?;
    let port = |kind| header.find(kind).and_then(Attribute::u16).unwrap_or(0);
    let first = if proto == IPPROTO_ICMPV6 {
        ICMPV6_ID
    } else {
        ICMP_ID
    };
    let icmp = header.find(first).and_then(|id| {
        Some((
            id.u16()?,
            header.find(first + 1)?.u8()?,
            header.find(first + 2)?.u8()?,
        ))
    });
    Some(Tuple {
        source,
        destination,
        proto,
        source_port: port(SRC_PORT),
        destination_port: port(DST_PORT),
        icmp,
    })
}

/// What names a connection in a message.
pub(super) fn name(connection: &Connection) -> Vec<(u16, Vec<u8>)> {
    let mut attributes = vec![
        (TUPLE_ORIG, encode(&connection.original)),
        (ID, connection.id.to_be_bytes().to_vec()),
    ];
    if connection.zone != 0 {
        attributes.push((ZONE, connection.zone.to_be_bytes().to_vec()));
    }
    attributes
}

/// What makes the kernel leave out most of the connections that are not wanted; a kernel before 5.8
/// ignores it.
pub(super) fn filter(filter: Filter) -> Vec<(u16, Vec<u8>)> {
    let (address, direction, flags) = match filter {
        Filter::Ipv4 | Filter::Ipv6 => return Vec::new(),
        Filter::From(address) => (address, TUPLE_ORIG, FILTER_ORIG),
        Filter::To(address) => (address, TUPLE_REPLY, FILTER_REPLY),
    };
    let addresses = addresses(address, unspecified(address));
    let tuple = nested(&[(TUPLE_IP | NESTED, &addresses)]);
    let (mut orig, mut reply) = (0_u32, 0_u32);
    *if flags == FILTER_ORIG {
        &mut orig
    } else {
        &mut reply
    } = FILTER_IP_SRC;
    let flags = nested(&[
        (FILTER_ORIG, &orig.to_ne_bytes()),
        (FILTER_REPLY, &reply.to_ne_bytes()),
    ]);
    vec![(direction | NESTED, tuple), (FILTER | NESTED, flags)]
}

/// The ends of one direction.
pub(super) fn encode(tuple: &Tuple) -> Vec<u8> {
    let mut header: Vec<(u16, Vec<u8>)> = vec![(PROTO_NUM, vec![tuple.proto])];
    match tuple.icmp {
        Some((id, kind, code)) => {
            let first = if tuple.proto == IPPROTO_ICMPV6 {
                ICMPV6_ID
            } else {
                ICMP_ID
            };
            header.push((first, id.to_be_bytes().to_vec()));
            header.push((first + 1, vec![kind]));
            header.push((first + 2, vec![code]));
        }
        None => {
            header.push((SRC_PORT, tuple.source_port.to_be_bytes().to_vec()));
            header.push((DST_PORT, tuple.destination_port.to_be_bytes().to_vec()));
        }
    }
    let header: Vec<(u16, &[u8])> = header
        .iter()
        .map(|(kind, value)| (*kind, value.as_slice()))
        .collect();
    nested(&[
        (
            TUPLE_IP | NESTED,
            &addresses(tuple.source, tuple.destination),
        ),
        (TUPLE_PROTO | NESTED, &nested(&header)),
    ])
}

fn addresses(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            nested(&[(V4_SRC, &source.octets()), (V4_DST, &destination.octets())])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            nested(&[(V6_SRC, &source.octets()), (V6_DST, &destination.octets())])
        }
        _ => Vec::new(),
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `enum ctattr_type`.
pub(super) const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// `enum ctattr_tuple`, `enum ctattr_ip`, `enum ctattr_l4proto`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const V4_SRC: u16 = 1;
const V4_DST: u16 = 2;
const V6_SRC: u16 = 3;
const V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;
const ICMP_ID: u16 = 4;
const ICMPV6_ID: u16 = 7;
const IPPROTO_ICMPV6: u8 = 58;
/// `enum ctattr_filter`, and the first of the kernel's `CTA_FILTER_F_*` flags (`nf_internals.h`).
const FILTER_ORIG: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_IP_SRC: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: &str, destination: &str, proto: u8, icmp: Option<(u16, u8, u8)>) -> Tuple {
        let (source_port, destination_port) = if icmp.is_some() { (0, 0) } else { (40_000, 80) };
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Tuple {
            source,
            destination,
            proto,
            source_port,
            destination_port,
            icmp,
        }
    }

    #[test]
    fn a_tuple_is_read_as_it_was_written() {
        for tuple_ in [
            sample("10.32.0.7", "10.32.0.11", 6, None),
            sample("fd00::7", "fd00::b", 17, None),
            sample("10.32.0.7", "10.32.0.11", 1, Some((7, 8, 0))),
            sample("fd00::7", "fd00::b", 58, Some((7, 128, 0))),
        ] {
            assert_eq!(tuple(Attributes(&encode(&tuple_))), Some(tuple_));
        }
    }

    #[test]
    fn a_torn_connection_is_none() {
        let ends = encode(&sample("10.32.0.7", "10.32.0.11", 6, None));
        let whole = nested(&[
            (TUPLE_ORIG, &ends),
            (TUPLE_REPLY, &ends),
            (ID, &[0, 0, 0, 5]),
        ]);
        assert_eq!(connection(Attributes(&whole)).unwrap().id, 5);

        let needed = whole.len() - 8;
        for len in 0..needed {
            assert_eq!(connection(Attributes(&whole[..len])), None, "{len} bytes");
        }
    }
}
