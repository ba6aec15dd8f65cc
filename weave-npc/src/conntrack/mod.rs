//! The kernel's table of connections: read, and cut single connections.
//!
//! It is for revocation: when a policy becomes tighter, the connections that lost permission are
//! deleted, so that their next packet is judged as that of a new connection. Which ones is the
//! caller's to say; a delete names one connection and its number, so that a younger one with the
//! same ends stays.
//!
//! Invariant: nothing is ever deleted without being named; the message that empties the whole table
//! cannot be made here.

mod codec;
mod revoke;
mod table;

use std::net::IpAddr;

pub use crate::nfnetlink::NetlinkError;
pub use revoke::is_forbidden;
pub use table::Conntrack;

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Connection {
    /// The packets of the side that opened it, before translation.
    pub original: Tuple,
    /// The packets that answer: ends swapped, after translation.
    pub reply: Tuple,
    /// Bits of its status (`IPS_*` in the kernel's `nf_conntrack_common.h`; 0x20 is DNAT).
    pub status: u32,
    /// Its mark.
    pub mark: u32,
    /// Its number, which no other connection of the same time has.
    pub id: u32,
    /// Its zone.
    pub zone: u16,
}

impl Connection {
    /// Who opened it, as policy sees it: before source translation.
    pub fn client(&self) -> IpAddr {
        self.original.source
    }

    /// To whom it goes after destination translation, as policy sees it.
    pub fn server(&self) -> IpAddr {
        self.reply.source
    }

    /// The server's port after destination translation; 0 for protocols without.
    pub fn server_port(&self) -> u16 {
        self.reply.source_port
    }
}

/// The ends of packets in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Who sends.
    pub source: IpAddr,
    /// Who receives; of the same family.
    pub destination: IpAddr,
    /// The IP protocol.
    pub proto: u8,
    /// The sender's port; 0 for protocols without.
    pub source_port: u16,
    /// The receiver's port; 0 for protocols without.
    pub destination_port: u16,
    /// For ICMP and `ICMPv6`: identifier, type, code.
    pub icmp: Option<(u16, u8, u8)>,
}

/// Which connections are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of IPv4.
    Ipv4,
    /// All of IPv6.
    Ipv6,
    /// Those opened by this address.
    From(IpAddr),
    /// Those whose answers come from this address: it is the server after translation.
    To(IpAddr),
}

impl Filter {
    /// True if a connection is wanted.
    pub fn takes(&self, connection: &Connection) -> bool {
        match self {
            Self::Ipv4 => connection.client().is_ipv4(),
            Self::Ipv6 => connection.client().is_ipv6(),
            Self::From(address) => connection.client() == *address,
            Self::To(address) => connection.server() == *address,
        }
    }
}
