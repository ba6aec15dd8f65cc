//! Which expression loads a [`Field`], and what the bytes of a [`Value`] are: one table for writing
//! and for reading.
//!
//! Invariant: `field_of(load(field)) = field` for every field, given the transport protocol for
//! ICMP types.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::expr::{RawExpression, ct, fib, meta, payload};
use crate::ruleset::{
    CtState, CtStatus, Direction, FibType, Field, IfName, NfProto, PktType, Type, Value,
};

/// A part of the packet: base, offset, length (`enum nft_payload_bases`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) base: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// The expression that loads a field into a register.
pub(super) fn load(field: Field, register: u32) -> RawExpression {
    if let Some(Slice { base, offset, len }) = slice(field) {
        return RawExpression::named("payload")
            .u32(payload::DREG, register)
            .u32(payload::BASE, base)
            .u32(payload::OFFSET, offset)
            .u32(payload::LEN, len);
    }
    for (known, key) in META {
        if known == field {
            return RawExpression::named("meta")
                .u32(meta::DREG, register)
                .u32(meta::KEY, key);
        }
    }
    for (known, key) in CT {
        if known == field {
            return RawExpression::named("ct")
                .u32(ct::DREG, register)
                .u32(ct::KEY, key);
        }
    }
    let flags = if field == Field::FibSaddrType {
        FIB_SADDR
    } else {
        FIB_DADDR
    };
    RawExpression::named("fib")
        .u32(fib::DREG, register)
        .u32(fib::RESULT, FIB_ADDRTYPE)
        .u32(fib::FLAGS, flags)
}

/// The field that a loading expression reads; `proto` tells the two kinds of ICMP apart.
pub(super) fn field_of(expression: &RawExpression, proto: Option<u8>) -> Option<Field> {
    let number = |kind| expression.find(kind)?.u32();
    match expression.name() {
        "meta" => by_key(&META, number(meta::KEY)?),
        "ct" => by_key(&CT, number(ct::KEY)?),
        "fib" if number(fib::RESULT)? == FIB_ADDRTYPE => match number(fib::FLAGS)? {
            FIB_SADDR => Some(Field::FibSaddrType),
            FIB_DADDR => Some(Field::FibDaddrType),
            _ => None,
        },
        "payload" => {
            let found = slice_of(expression)?;
            let icmp = if proto == Some(58) {
                Field::Icmpv6Type
            } else {
                Field::IcmpType
            };
            if Some(found) == slice(icmp) {
                return Some(icmp);
            }
            PAYLOAD
                .iter()
                .find(|(_, slice)| *slice == found)
                .map(|(field, _)| *field)
        }
        _ => None,
    }
}

/// The slice that a `payload` expression reads.
pub(super) fn slice_of(expression: &RawExpression) -> Option<Slice> {
    let number = |kind| expression.find(kind)?.u32();
    Some(Slice {
        base: number(payload::BASE)?,
        offset: number(payload::OFFSET)?,
        len: number(payload::LEN)?,
    })
}

/// Where a field lies in the packet, for fields that do.
pub(super) fn slice(field: Field) -> Option<Slice> {
    PAYLOAD
        .iter()
        .find(|(known, _)| *known == field)
        .map(|(_, slice)| *slice)
}

fn by_key(table: &[(Field, u32)], key: u32) -> Option<Field> {
    table
        .iter()
        .find(|(_, known)| *known == key)
        .map(|(field, _)| *field)
}

// ===== values =====

/// Appends the bytes of a value as a register holds them.
pub(super) fn put(value: Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Ipv4(address) => bytes.extend(address.octets()),
        Value::Ipv6(address) => bytes.extend(address.octets()),
        Value::Ether(address) => bytes.extend(address),
        Value::EtherType(number) | Value::ArpOp(number) | Value::Port(number) => {
            bytes.extend(number.to_be_bytes());
        }
        Value::Proto(number) | Value::Icmp(number) | Value::Icmpv6(number) => bytes.push(number),
        Value::Mark(mark) => bytes.extend(mark.to_ne_bytes()),
        Value::IfName(name) => bytes.extend(name.padded()),
        Value::CtState(states) => bytes.extend(states.bits().to_ne_bytes()),
        Value::CtStatus(statuses) => bytes.extend(statuses.bits().to_ne_bytes()),
        Value::CtDirection(side) => bytes.push(u8::from(side == Direction::Reply)),
        Value::NfProto(NfProto::Ipv4) => bytes.push(NFPROTO_IPV4),
        Value::NfProto(NfProto::Ipv6) => bytes.push(NFPROTO_IPV6),
        Value::PktType(kind) => bytes.push(match kind {
            PktType::Host => 0,
            PktType::Broadcast => 1,
            PktType::Multicast => 2,
            PktType::Other => 3,
        }),
        Value::FibType(kind) => bytes.extend(
            match kind {
                FibType::Unicast => 1_u32,
                FibType::Local => 2,
                FibType::Broadcast => 3,
                FibType::Multicast => 5,
            }
            .to_ne_bytes(),
        ),
    }
}

/// The bytes of a value.
pub(super) fn bytes_of(value: Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    put(value, &mut bytes);
    bytes
}

/// The value with these bytes; longer ones are padding.
pub(super) fn value_of(kind: Type, bytes: &[u8]) -> Option<Value> {
    let u16_be = || Some(u16::from_be_bytes(*bytes.first_chunk()?));
    let u32_ne = || Some(u32::from_ne_bytes(*bytes.first_chunk()?));
    let byte = bytes.first().copied();
    Some(match kind {
        Type::Ipv4 => Value::Ipv4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        Type::Ipv6 => Value::Ipv6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
        Type::Ether => Value::Ether(*bytes.first_chunk()?),
        Type::EtherType => Value::EtherType(u16_be()?),
        Type::ArpOp => Value::ArpOp(u16_be()?),
        Type::Port => Value::Port(u16_be()?),
        Type::Proto => Value::Proto(byte?),
        Type::Icmp => Value::Icmp(byte?),
        Type::Icmpv6 => Value::Icmpv6(byte?),
        Type::Mark => Value::Mark(u32_ne()?),
        Type::IfName => Value::IfName(if_name(bytes.get(..16)?)?),
        Type::CtState => Value::CtState(CtState::from_bits(u32_ne()?)),
        Type::CtStatus => Value::CtStatus(CtStatus::from_bits(u32_ne()?)),
        Type::CtDirection => match byte? {
            0 => Value::CtDirection(Direction::Original),
            1 => Value::CtDirection(Direction::Reply),
            _ => return None,
        },
        Type::NfProto => match byte? {
            NFPROTO_IPV4 => Value::NfProto(NfProto::Ipv4),
            NFPROTO_IPV6 => Value::NfProto(NfProto::Ipv6),
            _ => return None,
        },
        Type::PktType => Value::PktType(match byte? {
            0 => PktType::Host,
            1 => PktType::Broadcast,
            2 => PktType::Multicast,
            3 => PktType::Other,
            _ => return None,
        }),
        Type::FibType => Value::FibType(match u32_ne()? {
            1 => FibType::Unicast,
            2 => FibType::Local,
            3 => FibType::Broadcast,
            5 => FibType::Multicast,
            _ => return None,
        }),
    })
}

/// An interface name, up to its final zero or the end.
pub(super) fn if_name(bytes: &[u8]) -> Option<IfName> {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()
}

/// The number that the `nft` program gives a type (`enum datatypes`, `include/datatype.h` there).
pub(super) fn type_id(kind: Type) -> u32 {
    TYPES
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(0, |(_, id)| *id)
}

/// The type with such a number.
pub(super) fn type_of(id: u32) -> Option<Type> {
    TYPES
        .iter()
        .find(|(_, known)| *known == id)
        .map(|(kind, _)| *kind)
}

/// The largest value, of types whose ranges mean something.
pub(super) fn largest(kind: Type) -> Option<Value> {
    if !kind.is_ordered() {
        return None;
    }
    value_of(kind, &[0xff; 16])
}

const TYPES: [(Type, u32); 17] = [
    (Type::NfProto, 2),
    (Type::Ipv4, 7),
    (Type::Ipv6, 8),
    (Type::Ether, 9),
    (Type::EtherType, 10),
    (Type::ArpOp, 11),
    (Type::Proto, 12),
    (Type::Port, 13),
    (Type::Icmp, 14),
    (Type::Mark, 19),
    (Type::CtState, 26),
    (Type::CtDirection, 27),
    (Type::CtStatus, 28),
    (Type::Icmpv6, 29),
    (Type::PktType, 31),
    (Type::FibType, 38),
    (Type::IfName, 41),
];

/// `enum nft_meta_keys`.
const META: [(Field, u32); 7] = [
    (Field::Protocol, 1),
    (Field::Mark, 3),
    (Field::IifName, 6),
    (Field::OifName, 7),
    (Field::NfProto, 15),
    (Field::L4Proto, 16),
    (Field::PktType, 19),
];

/// `enum nft_ct_keys`.
const CT: [(Field, u32); 4] = [
    (Field::CtState, 0),
    (Field::CtDirection, 1),
    (Field::CtStatus, 2),
    (Field::CtMark, 3),
];

const fn at(base: u32, offset: u32, len: u32) -> Slice {
    Slice { base, offset, len }
}

/// Ethernet, ARP over Ethernet, IPv4, IPv6, and the first bytes of transport headers.
const PAYLOAD: [(Field, Slice); 14] = [
    (Field::EtherDaddr, at(LINK, 0, 6)),
    (Field::EtherSaddr, at(LINK, 6, 6)),
    (Field::EtherType, at(LINK, 12, 2)),
    (Field::ArpOperation, at(NETWORK, 6, 2)),
    (Field::ArpSaddrEther, at(NETWORK, 8, 6)),
    (Field::ArpSaddrIp, at(NETWORK, 14, 4)),
    (Field::Ip4Saddr, at(NETWORK, 12, 4)),
    (Field::Ip4Daddr, at(NETWORK, 16, 4)),
    (Field::Ip6Saddr, at(NETWORK, 8, 16)),
    (Field::Ip6Daddr, at(NETWORK, 24, 16)),
    (Field::SourcePort, at(TRANSPORT, 0, 2)),
    (Field::DestPort, at(TRANSPORT, 2, 2)),
    (Field::IcmpType, at(TRANSPORT, 0, 1)),
    (Field::Icmpv6Type, at(TRANSPORT, 0, 1)),
];

const LINK: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `enum nft_fib_result`, `enum nft_fib_flags`.
const FIB_ADDRTYPE: u32 = 3;
const FIB_SADDR: u32 = 1;
const FIB_DADDR: u32 = 2;
/// `linux/netfilter.h`.
pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
