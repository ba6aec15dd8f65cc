//! Verbs on addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::{
    AddressMessageBuilder,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressHeaderFlags, AddressMessage},
    },
};

use super::{
    Error, Netlink, parse,
    socket::{Object, What},
};

impl Netlink {
    /// Adds an address; `false` when the interface has it already.
    ///
    /// The prefix becomes a connected route while the interface is up. IPv6 addresses skip duplicate
    /// address detection: they come from an allocator that hands each out once, and detection would
    /// make them unusable for a second.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<bool, Error> {
        let mut message = message(index, address);
        if address.addr().is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        let what = What("add an address to", Object::Index(index));
        let message = RouteNetlinkMessage::NewAddress(message);
        match self.change(message, NLM_F_CREATE | NLM_F_EXCL, what).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an address; `false` when the interface does not have it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<bool, Error> {
        let what = What("delete an address of", Object::Index(index));
        let message = RouteNetlinkMessage::DelAddress(message(index, address));
        match self.change(message, 0, what).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The addresses of an interface, IPv4 and IPv6, in the kernel's order.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self
            .dump(request, What("list addresses", Object::Index(index)))
            .await?;
        let addresses = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => parse::address(message),
            _ => None,
        });
        Ok(addresses
            .filter(|(on, _)| *on == index)
            .map(|(_, address)| address)
            .collect())
    }
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    match address.addr() {
        IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(ip, address.prefix_len())
            .build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(ip, address.prefix_len())
            .build(),
    }
}
