//! The two families of addresses, and the fields that hold them.

use std::net::IpAddr;

use crate::model::Direction;
use crate::ruleset::{Field, NfProto, Type};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Both.
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// `4` or `6`, for names.
    pub(super) fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// The length of an address in bits.
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The type of addresses in sets.
    pub(super) fn kind(self) -> Type {
        match self {
            Self::V4 => Type::Ipv4,
            Self::V6 => Type::Ipv6,
        }
    }

    /// The family as packets tell it.
    pub(super) fn proto(self) -> NfProto {
        match self {
            Self::V4 => NfProto::Ipv4,
            Self::V6 => NfProto::Ipv6,
        }
    }

    /// The source address.
    pub(super) fn source(self) -> Field {
        match self {
            Self::V4 => Field::Ip4Saddr,
            Self::V6 => Field::Ip6Saddr,
        }
    }

    /// The destination address.
    pub(super) fn destination(self) -> Field {
        match self {
            Self::V4 => Field::Ip4Daddr,
            Self::V6 => Field::Ip6Daddr,
        }
    }

    /// The address of the pod that rules of `direction` are about.
    pub(super) fn own(self, direction: Direction) -> Field {
        match direction {
            Direction::Ingress => self.destination(),
            Direction::Egress => self.source(),
        }
    }

    /// The address of the other end.
    pub(super) fn peer(self, direction: Direction) -> Field {
        match direction {
            Direction::Ingress => self.source(),
            Direction::Egress => self.destination(),
        }
    }
}
