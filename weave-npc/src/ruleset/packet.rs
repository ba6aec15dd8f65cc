//! A packet as rules see it.
//!
//! Invariant: reading a field gives what the kernel's expression would load, or nothing where the
//! kernel would end the rule.

use std::net::IpAddr;

use super::field::{ETHER_ARP, ETHER_IPV4, ETHER_IPV6, Field, PROTO_ICMP, PROTO_ICMPV6};
use super::name::IfName;
use super::value::{CtState, CtStatus, Direction, FibType, NfProto, PktType, Value};

/// A packet at one point of its path, with its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The device it came by.
    pub iif: Option<IfName>,
    /// The device it will leave by.
    pub oif: Option<IfName>,
    /// The frame's source and destination, where frames are filtered.
    pub ether: Option<([u8; 6], [u8; 6])>,
    /// The network protocol and what belongs to it.
    pub payload: Payload,
    /// Its mark.
    pub mark: u32,
    /// How the link layer delivered it.
    pub pkttype: PktType,
    /// The state of its connection.
    pub ct_state: CtState,
    /// The status of its connection.
    pub ct_status: CtStatus,
    /// Which side sent it.
    pub ct_direction: Direction,
    /// The mark of its connection.
    pub ct_mark: u32,
    /// What the routing table says about the source.
    pub saddr_type: FibType,
    /// What the routing table says about the destination.
    pub daddr_type: FibType,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// IPv4 or IPv6, by the addresses; both of one family.
    Ip {
        /// The source.
        source: IpAddr,
        /// The destination.
        destination: IpAddr,
        /// The transport protocol.
        proto: u8,
        /// The transport header, unless this is a later fragment.
        transport: Transport,
    },
    /// ARP.
    Arp {
        /// 1 request, 2 reply.
        operation: u16,
        /// Who sends, by link.
        ether: [u8; 6],
        /// Who sends, by address.
        address: std::net::Ipv4Addr,
    },
    /// Another Ethernet protocol.
    Other(u16),
}

/// The part of a transport header that rules read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// There is none: a later fragment.
    Fragment,
    /// The first four bytes as two ports. For protocols without ports give the bytes that are
    /// there: `th dport` reads them.
    Ports(u16, u16),
    /// An ICMP or `ICMPv6` type; code 0 and checksum 0 behind it.
    Icmp(u8),
}

impl Packet {
    /// The first packet of a connection, forwarded between devices without names.
    pub fn new(source: IpAddr, destination: IpAddr, proto: u8, transport: Transport) -> Self {
        Self::carrying(Payload::Ip {
            source,
            destination,
            proto,
            transport,
        })
    }

    /// A frame with this payload.
    pub fn carrying(payload: Payload) -> Self {
        Self {
            iif: None,
            oif: None,
            ether: None,
            payload,
            mark: 0,
            pkttype: PktType::Host,
            ct_state: CtState::NEW,
            ct_status: CtStatus::from_bits(0),
            ct_direction: Direction::Original,
            ct_mark: 0,
            saddr_type: FibType::Unicast,
            daddr_type: FibType::Unicast,
        }
    }

    /// What rules find in a field; nothing where the rule ends.
    pub fn read(&self, field: Field) -> Option<Value> {
        Some(match field {
            Field::NfProto => Value::NfProto(self.nfproto()?),
            Field::Protocol | Field::EtherType => Value::EtherType(self.ether_type()),
            Field::IifName => Value::IfName(self.iif.unwrap_or(IfName::NONE)),
            Field::OifName => Value::IfName(self.oif.unwrap_or(IfName::NONE)),
            Field::Mark => Value::Mark(self.mark),
            Field::PktType => Value::PktType(self.pkttype),
            Field::CtState => Value::CtState(self.ct_state),
            Field::CtStatus => Value::CtStatus(self.ct_status),
            Field::CtDirection => Value::CtDirection(self.ct_direction),
            Field::CtMark => Value::Mark(self.ct_mark),
            Field::FibSaddrType => Value::FibType(self.saddr_type),
            Field::FibDaddrType => Value::FibType(self.daddr_type),
            Field::EtherSaddr => Value::Ether(self.ether?.0),
            Field::EtherDaddr => Value::Ether(self.ether?.1),
            Field::ArpOperation | Field::ArpSaddrEther | Field::ArpSaddrIp => {
                return self.arp(field);
            }
            _ => return self.ip(field),
        })
    }

    /// IPv4 or IPv6, if it is one of them.
    pub fn nfproto(&self) -> Option<NfProto> {
        match self.payload {
            Payload::Ip {
                source: IpAddr::V4(_),
                ..
            } => Some(NfProto::Ipv4),
            Payload::Ip {
                source: IpAddr::V6(_),
                ..
            } => Some(NfProto::Ipv6),
            _ => None,
        }
    }

    fn ether_type(&self) -> u16 {
        match (self.payload, self.nfproto()) {
            (Payload::Other(number), _) => number,
            (_, Some(NfProto::Ipv4)) => ETHER_IPV4,
            (_, Some(NfProto::Ipv6)) => ETHER_IPV6,
            (_, None) => ETHER_ARP,
        }
    }

    fn arp(&self, field: Field) -> Option<Value> {
        let Payload::Arp {
            operation,
            ether,
            address,
        } = self.payload
        else {
            return None;
        };
        Some(match field {
            Field::ArpOperation => Value::ArpOp(operation),
            Field::ArpSaddrEther => Value::Ether(ether),
            _ => Value::Ipv4(address),
        })
    }

    fn ip(&self, field: Field) -> Option<Value> {
        let Payload::Ip {
            source,
            destination,
            proto,
            transport,
        } = self.payload
        else {
            return None;
        };
        match (field, source, destination, transport) {
            (Field::L4Proto, ..) => Some(Value::Proto(proto)),
            (Field::Ip4Saddr, IpAddr::V4(v4), ..) | (Field::Ip4Daddr, _, IpAddr::V4(v4), _) => {
                Some(Value::Ipv4(v4))
            }
            (Field::Ip6Saddr, IpAddr::V6(v6), ..) | (Field::Ip6Daddr, _, IpAddr::V6(v6), _) => {
                Some(Value::Ipv6(v6))
            }
            (Field::SourcePort, .., Transport::Ports(port, _))
            | (Field::DestPort, .., Transport::Ports(_, port)) => Some(Value::Port(port)),
            (Field::SourcePort, .., Transport::Icmp(kind)) => {
                Some(Value::Port(u16::from(kind) << 8))
            }
            (Field::DestPort, .., Transport::Icmp(_)) => Some(Value::Port(0)),
            (Field::IcmpType, IpAddr::V4(_), _, Transport::Icmp(kind)) if proto == PROTO_ICMP => {
                Some(Value::Icmp(kind))
            }
            (Field::Icmpv6Type, IpAddr::V6(_), _, Transport::Icmp(kind))
                if proto == PROTO_ICMPV6 =>
            {
                Some(Value::Icmpv6(kind))
            }
            _ => None,
        }
    }
}
