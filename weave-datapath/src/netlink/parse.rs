//! From attribute lists of the kernel to our structs.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{
        BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoPortData, LinkAttribute,
        LinkFlags, LinkInfo, LinkMessage, State,
    },
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType},
};

use super::{Link, Route, Scope};

pub(super) fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    let mut iflink = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|&i| i != 0),
            LinkAttribute::Link(index) => iflink = Some(*index),
            LinkAttribute::LinkNetNsId(id) => link.peer_namespace = Some(*id),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Qdisc(name) => link.qdisc = Some(name.clone()),
            LinkAttribute::OperState(state) => link.running = *state == State::Up,
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| driver(&mut link, info)),
            _ => {}
        }
    }
    // For other kinds this attribute names a lower device, not a peer.
    link.peer_index = iflink.filter(|_| link.is_kind("veth"));
    link
}

fn driver(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
        LinkInfo::Data(InfoData::Bridge(data)) => {
            link.stp = data.iter().find_map(|item| match item {
                InfoBridge::StpState(state) => Some(*state != BridgeStpState::Disabled),
                _ => None,
            });
        }
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => {
            link.hairpin = data.iter().find_map(|item| match item {
                InfoBridgePort::HairpinMode(on) => Some(*on),
                _ => None,
            });
            let flood = data.iter().filter_map(|item| match item {
                InfoBridgePort::UnicastFlood(on)
                | InfoBridgePort::BroadcastFlood(on)
                | InfoBridgePort::MulticastFlood(on) => Some(*on),
                _ => None,
            });
            link.flood = flood.reduce(|any, on| any || on);
        }
        _ => {}
    }
}

/// The address and the interface it is on.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    // IPv4 gives the own address as `Local` (`Address` is the far end of a point-to-point link);
    // IPv6 gives only `Address`.
    let mut found: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => found = Some(*ip),
            AddressAttribute::Address(ip) if found.is_none() => found = Some(*ip),
            _ => {}
        }
    }
    let net = IpNet::new(found?, message.header.prefix_len).ok()?;
    Some((message.header.index, net))
}

/// A unicast route of the main table; `None` for everything else.
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let mut route = Route {
        dst: unspecified(header)?,
        via: None,
        dev: None,
        scope: scope(header.scope),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(ip) => {
                route.dst = IpNet::new(ip_of(ip)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Gateway(ip) => route.via = ip_of(ip),
            RouteAttribute::Oif(index) => route.dev = Some(*index),
            RouteAttribute::Table(id) => table = *id,
            _ => {}
        }
    }
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    (header.kind == RouteType::Unicast && table == main).then_some(route)
}

fn unspecified(header: &RouteHeader) -> Option<IpNet> {
    let ip: IpAddr = match header.address_family {
        AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    IpNet::new(ip, header.destination_prefix_length).ok()
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn scope(scope: RouteScope) -> Scope {
    match scope {
        RouteScope::Universe => Scope::Universe,
        RouteScope::Link => Scope::Link,
        RouteScope::Host => Scope::Host,
        other => Scope::Other(other.into()),
    }
}
