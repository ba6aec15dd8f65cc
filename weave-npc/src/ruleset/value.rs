//! The values that packets carry and sets hold, with their `nft` data types.
//!
//! Invariant: a [`Span`] has both ends of one type and in order, so a key can be compared, printed
//! and encoded without further checks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::name::IfName;

/// The data type of a value, of a field of a packet, or of one part of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Type {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `ether_addr`
    Ether,
    /// `ether_type`
    EtherType,
    /// `arp_op`
    ArpOp,
    /// `inet_proto`
    Proto,
    /// `inet_service`
    Port,
    /// `mark`
    Mark,
    /// `ifname`
    IfName,
    /// `ct_state`
    CtState,
    /// `ct_status`
    CtStatus,
    /// `ct_dir`
    CtDirection,
    /// `icmp_type`
    Icmp,
    /// `icmpv6_type`
    Icmpv6,
    /// `nf_proto`
    NfProto,
    /// `pkt_type`
    PktType,
    /// `fib_addrtype`
    FibType,
}

impl Type {
    /// Length in bytes, without the padding to 4 in a concatenation.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a length of a type, not of a collection"
    )]
    pub const fn len(self) -> usize {
        match self {
            Self::Proto
            | Self::Icmp
            | Self::Icmpv6
            | Self::NfProto
            | Self::PktType
            | Self::CtDirection => 1,
            Self::EtherType | Self::ArpOp | Self::Port => 2,
            Self::Ipv4 | Self::Mark | Self::CtState | Self::CtStatus | Self::FibType => 4,
            Self::Ether => 6,
            Self::Ipv6 | Self::IfName => 16,
        }
    }

    /// True if the bytes are in network order, so that ranges of them mean something to the kernel.
    pub const fn is_ordered(self) -> bool {
        matches!(
            self,
            Self::Ipv4
                | Self::Ipv6
                | Self::Ether
                | Self::Proto
                | Self::Port
                | Self::Icmp
                | Self::Icmpv6
        )
    }

    /// The name in `nft` syntax.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Ether => "ether_addr",
            Self::EtherType => "ether_type",
            Self::ArpOp => "arp_op",
            Self::Proto => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
            Self::IfName => "ifname",
            Self::CtState => "ct_state",
            Self::CtStatus => "ct_status",
            Self::CtDirection => "ct_dir",
            Self::Icmp => "icmp_type",
            Self::Icmpv6 => "icmpv6_type",
            Self::NfProto => "nf_proto",
            Self::PktType => "pkt_type",
            Self::FibType => "fib_addrtype",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Value {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// An Ethernet address.
    Ether([u8; 6]),
    /// An Ethernet protocol, for example 0x0800.
    EtherType(u16),
    /// An ARP operation: 1 request, 2 reply.
    ArpOp(u16),
    /// An IP protocol, for example 6.
    Proto(u8),
    /// A port.
    Port(u16),
    /// A packet or connection mark.
    Mark(u32),
    /// An interface.
    IfName(IfName),
    /// One or several states of a connection.
    CtState(CtState),
    /// Bits of `ct status` (`IPS_*` in the kernel's `nf_conntrack_common.h`).
    CtStatus(CtStatus),
    /// Which side of a connection sent the packet.
    CtDirection(Direction),
    /// An ICMP type.
    Icmp(u8),
    /// An `ICMPv6` type.
    Icmpv6(u8),
    /// IPv4 or IPv6.
    NfProto(NfProto),
    /// How the link layer delivered the packet.
    PktType(PktType),
    /// What the routing table says about an address.
    FibType(FibType),
}

impl Value {
    /// Its data type.
    pub const fn kind(self) -> Type {
        match self {
            Self::Ipv4(_) => Type::Ipv4,
            Self::Ipv6(_) => Type::Ipv6,
            Self::Ether(_) => Type::Ether,
            Self::EtherType(_) => Type::EtherType,
            Self::ArpOp(_) => Type::ArpOp,
            Self::Proto(_) => Type::Proto,
            Self::Port(_) => Type::Port,
            Self::Mark(_) => Type::Mark,
            Self::IfName(_) => Type::IfName,
            Self::CtState(_) => Type::CtState,
            Self::CtStatus(_) => Type::CtStatus,
            Self::CtDirection(_) => Type::CtDirection,
            Self::Icmp(_) => Type::Icmp,
            Self::Icmpv6(_) => Type::Icmpv6,
            Self::NfProto(_) => Type::NfProto,
            Self::PktType(_) => Type::PktType,
            Self::FibType(_) => Type::FibType,
        }
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::Ipv4(v4),
            IpAddr::V6(v6) => Self::Ipv6(v6),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
value_from!(Ipv4Addr => Ipv4, Ipv6Addr => Ipv6, IfName => IfName, CtState => CtState, CtStatus => CtStatus,
    Direction => CtDirection, NfProto => NfProto, PktType => PktType, FibType => FibType);

/// States of a connection, a set of bits (`NFT_CT_STATE` in the kernel's `nft_ct.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtState(u32);

impl CtState {
    /// Conntrack could not make sense of the packet.
    pub const INVALID: Self = Self(1);
    /// The connection has seen packets in both directions.
    pub const ESTABLISHED: Self = Self(2);
    /// Belongs to another connection, for example an ICMP error.
    pub const RELATED: Self = Self(4);
    /// The first packets of a connection.
    pub const NEW: Self = Self(8);
    /// Conntrack was told to leave it alone.
    pub const UNTRACKED: Self = Self(64);

    /// Both sets of states.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The states with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Names and bits, as `nft` knows them.
    pub(super) const NAMES: [(&'static str, u32); 5] = [
        ("invalid", 1),
        ("established", 2),
        ("related", 4),
        ("new", 8),
        ("untracked", 64),
    ];
}

/// Bits of a connection's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CtStatus(u32);

impl CtStatus {
    /// The source was translated (`IPS_SRC_NAT`).
    pub const SNAT: Self = Self(1 << 4);
    /// The destination was translated (`IPS_DST_NAT`).
    pub const DNAT: Self = Self(1 << 5);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The status with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Names and bits, as `nft` knows them.
    pub(super) const NAMES: [(&'static str, u32); 7] = [
        ("expected", 1),
        ("seen-reply", 2),
        ("assured", 4),
        ("confirmed", 8),
        ("snat", 16),
        ("dnat", 32),
        ("dying", 512),
    ];
}

/// Which side of a connection sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The side that opened it.
    Original,
    /// The other side.
    Reply,
}

/// The network protocol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NfProto {
    /// IPv4 (`NFPROTO_IPV4`).
    Ipv4,
    /// IPv6 (`NFPROTO_IPV6`).
    Ipv6,
}

/// How the link layer delivered a packet (`linux/if_packet.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PktType {
    /// To this host.
    Host,
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
    /// To another host.
    Other,
}

/// What the routing table says about an address (`RTN_*` in `linux/rtnetlink.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FibType {
    /// A route leads there.
    Unicast,
    /// An address of this host.
    Local,
    /// A broadcast address.
    Broadcast,
    /// A multicast address.
    Multicast,
}

/// Consecutive values, both ends included; a single value has equal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    first: Value,
    last: Value,
}

impl Span {
    /// The values from `first` to `last`, or nothing if the types differ, have no order in the
    /// kernel, or `first > last`.
    pub fn new(first: Value, last: Value) -> Option<Self> {
        let legal = first == last
            || (first.kind() == last.kind() && first.kind().is_ordered() && first < last);
        legal.then_some(Self { first, last })
    }

    /// The smallest value.
    pub fn first(&self) -> Value {
        self.first
    }

    /// The largest value.
    pub fn last(&self) -> Value {
        self.last
    }

    /// The type of its values.
    pub fn kind(&self) -> Type {
        self.first.kind()
    }

    /// True if it is one value.
    pub fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// True if `value` lies in it.
    pub fn contains(&self, value: Value) -> bool {
        value.kind() == self.kind() && self.first <= value && value <= self.last
    }

    /// True if some value lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.first <= other.last && other.first <= self.last
    }

    /// Sorts behind every span that starts at or before `first`; no span to be stored.
    pub(super) fn ceiling(first: Value) -> Self {
        Self {
            first,
            last: Value::FibType(FibType::Multicast),
        }
    }

    /// Every port: 0 to 65535.
    pub fn all_ports() -> Self {
        Self {
            first: Value::Port(0),
            last: Value::Port(u16::MAX),
        }
    }
}

impl<V: Into<Value>> From<V> for Span {
    fn from(value: V) -> Self {
        let value = value.into();
        Self {
            first: value,
            last: value,
        }
    }
}

impl From<IpNet> for Span {
    /// The addresses of the network; host bits are ignored.
    fn from(net: IpNet) -> Self {
        let (first, last) = match net {
            IpNet::V4(net) => (Value::Ipv4(net.network()), Value::Ipv4(net.broadcast())),
            IpNet::V6(net) => (Value::Ipv6(net.network()), Value::Ipv6(net.broadcast())),
        };
        Self { first, last }
    }
}

/// The key of a set's element: one [`Span`] per part of the set's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[Span]>);

impl Key {
    /// A concatenation; order counts.
    pub fn concat(parts: impl IntoIterator<Item = Span>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Span] {
        &self.0
    }

    /// True if some packet has both keys.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.overlaps(b))
    }

    /// True if these values, one per part, are covered.
    pub fn contains(&self, values: &[Value]) -> bool {
        self.0.len() == values.len()
            && self
                .0
                .iter()
                .zip(values)
                .all(|(part, value)| part.contains(*value))
    }
}

impl<S: Into<Span>> From<S> for Key {
    fn from(span: S) -> Self {
        Self(Box::new([span.into()]))
    }
}
