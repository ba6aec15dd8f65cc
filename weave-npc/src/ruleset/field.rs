//! What a rule can look at in a packet.
//!
//! Invariant: each field has one data type and a fixed list of things that must be known about the
//! packet before it may be read ([`Need`]); encoder, reader and interpreter share that list.

use super::value::{NfProto, Type, Value};

/// A field of a packet, of its path through the host, or of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Field {
    /// `meta nfproto`
    NfProto,
    /// `meta l4proto`
    L4Proto,
    /// `meta protocol`: the Ethernet protocol as the stack sees it.
    Protocol,
    /// `iifname`
    IifName,
    /// `oifname`
    OifName,
    /// `meta mark`
    Mark,
    /// `meta pkttype`
    PktType,
    /// `ct state`
    CtState,
    /// `ct status`
    CtStatus,
    /// `ct direction`
    CtDirection,
    /// `ct mark`
    CtMark,
    /// `fib saddr type`
    FibSaddrType,
    /// `fib daddr type`
    FibDaddrType,
    /// `ether saddr` (bridge and netdev tables)
    EtherSaddr,
    /// `ether daddr` (bridge and netdev tables)
    EtherDaddr,
    /// `ether type` (bridge and netdev tables)
    EtherType,
    /// `arp operation` (bridge and netdev tables)
    ArpOperation,
    /// `arp saddr ether` (bridge and netdev tables)
    ArpSaddrEther,
    /// `arp saddr ip` (bridge and netdev tables)
    ArpSaddrIp,
    /// `ip saddr`
    Ip4Saddr,
    /// `ip daddr`
    Ip4Daddr,
    /// `ip6 saddr`
    Ip6Saddr,
    /// `ip6 daddr`
    Ip6Daddr,
    /// `th sport`: bytes 0 and 1 of the transport header, of **any** protocol. Test
    /// [`Field::L4Proto`] too, or an ICMP packet may match by accident.
    SourcePort,
    /// `th dport`: bytes 2 and 3 of the transport header, of **any** protocol; as `SourcePort`.
    DestPort,
    /// `icmp type`
    IcmpType,
    /// `icmpv6 type`
    Icmpv6Type,
}

/// What a rule must have established before it reads a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Need {
    /// The network protocol.
    L3(NfProto),
    /// The transport protocol.
    L4(u8),
    /// The Ethernet protocol ARP.
    Arp,
}

impl Field {
    /// The data type.
    pub const fn kind(self) -> Type {
        match self {
            Self::NfProto => Type::NfProto,
            Self::L4Proto => Type::Proto,
            Self::Protocol | Self::EtherType => Type::EtherType,
            Self::IifName | Self::OifName => Type::IfName,
            Self::Mark | Self::CtMark => Type::Mark,
            Self::PktType => Type::PktType,
            Self::CtState => Type::CtState,
            Self::CtStatus => Type::CtStatus,
            Self::CtDirection => Type::CtDirection,
            Self::FibSaddrType | Self::FibDaddrType => Type::FibType,
            Self::EtherSaddr | Self::EtherDaddr | Self::ArpSaddrEther => Type::Ether,
            Self::ArpOperation => Type::ArpOp,
            Self::Ip4Saddr | Self::Ip4Daddr | Self::ArpSaddrIp => Type::Ipv4,
            Self::Ip6Saddr | Self::Ip6Daddr => Type::Ipv6,
            Self::SourcePort | Self::DestPort => Type::Port,
            Self::IcmpType => Type::Icmp,
            Self::Icmpv6Type => Type::Icmpv6,
        }
    }

    /// The text in `nft` syntax.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NfProto => "meta nfproto",
            Self::L4Proto => "meta l4proto",
            Self::Protocol => "meta protocol",
            Self::IifName => "iifname",
            Self::OifName => "oifname",
            Self::Mark => "meta mark",
            Self::PktType => "meta pkttype",
            Self::CtState => "ct state",
            Self::CtStatus => "ct status",
            Self::CtDirection => "ct direction",
            Self::CtMark => "ct mark",
            Self::FibSaddrType => "fib saddr type",
            Self::FibDaddrType => "fib daddr type",
            Self::EtherSaddr => "ether saddr",
            Self::EtherDaddr => "ether daddr",
            Self::EtherType => "ether type",
            Self::ArpOperation => "arp operation",
            Self::ArpSaddrEther => "arp saddr ether",
            Self::ArpSaddrIp => "arp saddr ip",
            Self::Ip4Saddr => "ip saddr",
            Self::Ip4Daddr => "ip daddr",
            Self::Ip6Saddr => "ip6 saddr",
            Self::Ip6Daddr => "ip6 daddr",
            Self::SourcePort => "th sport",
            Self::DestPort => "th dport",
            Self::IcmpType => "icmp type",
            Self::Icmpv6Type => "icmpv6 type",
        }
    }

    /// True if the field exists only where frames are filtered: bridge and netdev tables.
    pub(crate) const fn is_link_layer(self) -> bool {
        matches!(
            self,
            Self::EtherSaddr
                | Self::EtherDaddr
                | Self::EtherType
                | Self::ArpOperation
                | Self::ArpSaddrEther
                | Self::ArpSaddrIp
        )
    }

    /// What must be known before it is read, outermost first.
    pub(crate) const fn needs(self) -> &'static [Need] {
        const V4: Need = Need::L3(NfProto::Ipv4);
        const V6: Need = Need::L3(NfProto::Ipv6);
        match self {
            Self::Ip4Saddr | Self::Ip4Daddr => &[V4],
            Self::Ip6Saddr | Self::Ip6Daddr => &[V6],
            Self::IcmpType => &[V4, Need::L4(PROTO_ICMP)],
            Self::Icmpv6Type => &[V6, Need::L4(PROTO_ICMPV6)],
            Self::ArpOperation | Self::ArpSaddrEther | Self::ArpSaddrIp => &[Need::Arp],
            _ => &[],
        }
    }

    /// What a rule knows after `self == value` has matched.
    pub(crate) fn establishes(self, value: Value) -> Option<Need> {
        match (self, value) {
            (Self::NfProto, Value::NfProto(proto)) => Some(Need::L3(proto)),
            (Self::L4Proto, Value::Proto(proto)) => Some(Need::L4(proto)),
            (Self::Protocol | Self::EtherType, Value::EtherType(ETHER_IPV4)) => {
                Some(Need::L3(NfProto::Ipv4))
            }
            (Self::Protocol | Self::EtherType, Value::EtherType(ETHER_IPV6)) => {
                Some(Need::L3(NfProto::Ipv6))
            }
            (Self::EtherType, Value::EtherType(ETHER_ARP)) => Some(Need::Arp),
            _ => None,
        }
    }
}

/// Ethernet protocol of IPv4 (`linux/if_ether.h`).
pub(crate) const ETHER_IPV4: u16 = 0x0800;
/// Ethernet protocol of IPv6.
pub(crate) const ETHER_IPV6: u16 = 0x86dd;
/// Ethernet protocol of ARP.
pub(crate) const ETHER_ARP: u16 = 0x0806;
/// IP protocol of ICMP (linux/in.h).
pub(crate) const PROTO_ICMP: u8 = 1;
/// IP protocol of `ICMPv6`.
pub(crate) const PROTO_ICMPV6: u8 = 58;
