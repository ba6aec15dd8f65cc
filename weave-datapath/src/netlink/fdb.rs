//! Verbs on forwarding entries of VXLAN devices.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
        route::RouteType,
    },
};

use super::{
    Error, Netlink,
    socket::{Object, What},
};

impl Netlink {
    /// Adds a permanent forwarding entry to a VXLAN device (`bridge fdb append … self`): frames to
    /// `mac` go to the tunnel end `dst`. `false` when it is there already. The all-zero `mac` stands
    /// for every destination without an entry; it and multicast ones may have several tunnel ends.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn add_fdb(
        &self,
        index: u32,
        mac: [u8; 6],
        dst: impl Into<IpAddr>,
    ) -> Result<bool, Error> {
        let group = mac == [0; 6] || mac[0] & 1 == 1;
        let flags = NLM_F_CREATE | if group { NLM_F_APPEND } else { NLM_F_EXCL };
        let message = RouteNetlinkMessage::NewNeighbour(message(index, mac, dst.into()));
        let what = What("add a forwarding entry to", Object::Index(index));
        match self.change(message, flags, what).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a forwarding entry of a VXLAN device; `false` when it is not there.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn delete_fdb(
        &self,
        index: u32,
        mac: [u8; 6],
        dst: impl Into<IpAddr>,
    ) -> Result<bool, Error> {
        let message = RouteNetlinkMessage::DelNeighbour(message(index, mac, dst.into()));
        let what = What("delete a forwarding entry of", Object::Index(index));
        match self.change(message, 0, what).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn message(index: u32, mac: [u8; 6], dst: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    // NUD_NOARP | NUD_PERMANENT, as `bridge fdb` sends (linux/neighbour.h).
    message.header.state = NeighbourState::Other(0xc0);
    message.header.flags = NeighbourFlags::Own;
    message.header.kind = RouteType::Unspec;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
        .attributes
        .push(NeighbourAttribute::Destination(match dst {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        }));
    message
}
