//! Verbs on links.

use std::{net::Ipv4Addr, os::fd::AsRawFd};

use rtnetlink::{
    LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{
            BridgeStpState, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask,
            LinkMessage,
        },
        tc::{TcHandle, TcMessage},
    },
};

use super::{
    Error, Link, Netlink, parse,
    socket::{Object, What},
};
use crate::netns::Namespace;

// ===== reading =====

impl Netlink {
    /// All links of the namespace, in index order of the kernel.
    ///
    /// # Errors
    /// As all verbs, [`Error::Refused`] or [`Error::Closed`]; also [`Error::Unstable`].
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let mut request = LinkMessage::default();
        request.attributes.push(without_statistics());
        let what = What("list links", Object::All);
        let answers = self
            .dump(RouteNetlinkMessage::GetLink(request), what)
            .await?;
        Ok(answers.iter().filter_map(as_link).collect())
    }

    /// The link of this name, if there is one. Alternative names (`altname`) do not count, though
    /// the kernel finds links by them and refuses to create a link of such a name.
    ///
    /// # Errors
    /// [`Error::Refused`] for reasons other than absence.
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>, Error> {
        let request = LinkUnspec::new_with_name(name).build();
        let found = self.link_query(request, Object::Name(name)).await?;
        Ok(found.filter(|link| link.name == name))
    }

    /// The link of this name, which must exist.
    ///
    /// # Errors
    /// [`Error::is_missing`] when it does not.
    pub async fn require_link(&self, name: &str) -> Result<Link, Error> {
        self.link_by_name(name)
            .await?
            .ok_or_else(|| Error::Refused {
                operation: "look up",
                object: format!("interface {name}"),
                source: nix::Error::ENODEV.into(),
            })
    }

    /// The link of this index, if there is one.
    ///
    /// # Errors
    /// [`Error::Refused`] for reasons other than absence.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, Error> {
        let request = LinkUnspec::new_with_index(index).build();
        self.link_query(request, Object::Index(index)).await
    }

    async fn link_query(
        &self,
        mut request: LinkMessage,
        object: Object<'_>,
    ) -> Result<Option<Link>, Error> {
        request.attributes.push(without_statistics());
        let request = RouteNetlinkMessage::GetLink(request);
        match self.query(request, What("look up", object)).await {
            Ok(answer) => Ok(answer.as_ref().and_then(as_link)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

// ===== creating and deleting =====

impl Netlink {
    /// Creates a bridge, down, with spanning tree off. Without `mac` the kernel draws one.
    ///
    /// The kernel treats an MTU given here as a default that ports may lower; only a later
    /// [`set_mtu`](Self::set_mtu) that changes the value fixes it (`br_change_mtu`).
    ///
    /// # Errors
    /// [`Error::is_exists`] when the name is taken.
    pub async fn create_bridge(
        &self,
        name: &str,
        mac: Option<[u8; 6]>,
        mtu: u32,
    ) -> Result<(), Error> {
        let mut builder = LinkMessageBuilder::<LinkBridge>::new(name)
            .stp_state(BridgeStpState::Disabled)
            .mtu(mtu);
        if let Some(mac) = mac {
            builder = builder.address(mac.to_vec());
        }
        self.create(builder.build(), "create bridge", name).await
    }

    /// Creates a veth pair with both ends here, down.
    ///
    /// # Errors
    /// [`Error::is_exists`] when either name is taken.
    pub async fn create_veth(&self, name: &str, peer: &str, mtu: u32) -> Result<(), Error> {
        let peer = LinkUnspec::new_with_name(peer).mtu(mtu).build();
        self.create_pair(name, peer, mtu).await
    }

    /// Creates a veth pair with `name` here and `peer` inside `namespace`, both down.
    ///
    /// One request instead of create, move, rename: nothing half made can be seen, and the slow
    /// part of moving a device between namespaces does not happen.
    ///
    /// # Errors
    /// [`Error::is_exists`] when either name is taken where it would go.
    pub async fn create_veth_into(
        &self,
        name: &str,
        peer: &str,
        namespace: &Namespace,
        mtu: u32,
    ) -> Result<(), Error> {
        let peer = LinkUnspec::new_with_name(peer)
            .mtu(mtu)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        self.create_pair(name, peer, mtu).await
    }

    async fn create_pair(&self, name: &str, peer: LinkMessage, mtu: u32) -> Result<(), Error> {
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.create(message, "create veth pair", name).await
    }

    /// Creates a VXLAN device in collect-metadata mode (`external`), without learning, down.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the name is taken or another device has the UDP port.
    pub async fn create_vxlan_external(
        &self,
        name: &str,
        port: u16,
        mtu: u32,
    ) -> Result<(), Error> {
        let message = LinkMessageBuilder::<LinkVxlan>::new(name)
            .collect_metadata(true)
            .learning(false)
            .port(port)
            .mtu(mtu)
            .build();
        self.create(message, "create vxlan device", name).await
    }

    /// Creates an ordinary VXLAN device for one network: no learning, outer TTL 64, zero outer
    /// checksum, no remote (give destinations by [`add_fdb`](Self::add_fdb)). Returns it, down.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the name, or port and network, is taken.
    pub async fn create_vxlan(
        &self,
        name: &str,
        vni: u32,
        port: u16,
        local: Ipv4Addr,
        mtu: u32,
    ) -> Result<Link, Error> {
        let message = LinkVxlan::new(name, vni)
            .learning(false)
            .udp_csum(false)
            .ttl(64)
            .port(port)
            .local(local)
            .mtu(mtu)
            .build();
        self.create(message, "create vxlan device", name).await?;
        self.require_link(name).await
    }

    async fn create(
        &self,
        message: LinkMessage,
        operation: &'static str,
        name: &str,
    ) -> Result<(), Error> {
        let what = What(operation, Object::Name(name));
        let message = RouteNetlinkMessage::NewLink(message);
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, what).await
    }

    /// Deletes a link; of a veth pair, both ends.
    ///
    /// # Errors
    /// [`Error::is_missing`] when it is gone.
    pub async fn delete_link(&self, index: u32) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build());
        self.change(message, 0, What("delete", Object::Index(index)))
            .await
    }
}

// ===== changing =====

impl Netlink {
    /// Brings a link up.
    ///
    /// # Errors
    /// [`Error::Refused`]; for a VXLAN device `EADDRINUSE` when its UDP port is taken.
    pub async fn set_up(&self, index: u32) -> Result<(), Error> {
        self.set(index, "bring up", LinkMessageBuilder::up).await
    }

    /// Takes a link down. Its routes disappear with it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn set_down(&self, index: u32) -> Result<(), Error> {
        self.set(index, "take down", LinkMessageBuilder::down).await
    }

    /// Sets the largest packet in bytes, without the Ethernet header.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EINVAL` outside the device's range.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        self.set(index, "set the MTU of", |link| link.mtu(mtu))
            .await
    }

    /// Sets the hardware address.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EADDRNOTAVAIL` for multicast and zero addresses.
    pub async fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<(), Error> {
        self.set(index, "set the address of", |link| {
            link.address(mac.to_vec())
        })
        .await
    }

    /// Makes a link a port of `master`, or of nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ELOOP` or `EBUSY` for a master that cannot take it.
    pub async fn set_master(&self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.set(index, "set the bridge of", |link| {
            link.controller(master.unwrap_or(0))
        })
        .await
    }

    /// Sets the free text of a link; empty removes it. At most 255 bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EINVAL` for longer text.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<(), Error> {
        self.set(index, "set the alias of", |link| link.alias(alias))
            .await
    }

    /// Renames a link. Kernels before 6.0 require it to be down.
    ///
    /// # Errors
    /// [`Error::is_exists`] when the name is taken.
    pub async fn rename(&self, index: u32, name: &str) -> Result<(), Error> {
        self.set(index, "rename", |link| link.name(name)).await
    }

    /// Moves a link into another namespace, where it arrives down and with another index.
    ///
    /// # Errors
    /// [`Error::is_exists`] when its name is taken there.
    pub async fn move_to_netns(&self, index: u32, namespace: &Namespace) -> Result<(), Error> {
        let fd = namespace.as_raw_fd();
        self.set(index, "move to another namespace", |link| {
            link.setns_by_fd(fd)
        })
        .await
    }

    /// Whether a bridge port may send a frame back where it came from.
    ///
    /// # Errors
    /// [`Error::Refused`] when the link is no bridge port.
    pub async fn set_hairpin(&self, index: u32, on: bool) -> Result<(), Error> {
        let message = LinkBridgePort::new(index).hairpin(on).build();
        let what = What("set hairpin mode of", Object::Index(index));
        self.change(RouteNetlinkMessage::NewLink(message), 0, what)
            .await
    }

    /// Whether a bridge port gets frames that are for no port in particular: broadcast, multicast
    /// without a known listener, and unicast to unknown addresses.
    ///
    /// # Errors
    /// [`Error::Refused`] when the link is no bridge port.
    pub async fn set_flood(&self, index: u32, on: bool) -> Result<(), Error> {
        let port = LinkBridgePort::new(index).flood(on);
        let message = port.bcast_flood(on).mcast_flood(on).build();
        let what = What("set flooding of", Object::Index(index));
        self.change(RouteNetlinkMessage::NewLink(message), 0, what)
            .await
    }

    /// Switches spanning tree of a bridge on or off.
    ///
    /// # Errors
    /// [`Error::Refused`] when the link is no bridge.
    pub async fn set_stp(&self, index: u32, on: bool) -> Result<(), Error> {
        let state = if on {
            BridgeStpState::KernelStp
        } else {
            BridgeStpState::Disabled
        };
        let message = LinkMessageBuilder::<LinkBridge>::new_with_info_kind(InfoKind::Bridge)
            .index(index)
            .stp_state(state)
            .build();
        let what = What("set spanning tree of", Object::Index(index));
        self.change(RouteNetlinkMessage::NewLink(message), 0, what)
            .await
    }

    /// Deletes the root queueing discipline; a virtual device falls back to `noqueue`.
    ///
    /// # Errors
    /// [`Error::is_missing`] when none was set.
    pub async fn delete_root_qdisc(&self, index: u32) -> Result<(), Error> {
        let what = What("delete the queueing discipline of", Object::Index(index));
        let mut message = TcMessage::with_index(index.cast_signed());
        message.header.parent = TcHandle::ROOT;
        self.change(RouteNetlinkMessage::DelQueueDiscipline(message), 0, what)
            .await
    }

    async fn set(
        &self,
        index: u32,
        operation: &'static str,
        build: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let message = build(LinkUnspec::new_with_index(index)).build();
        let what = What(operation, Object::Index(index));
        self.change(RouteNetlinkMessage::NewLink(message), 0, what)
            .await
    }
}

fn as_link(message: &RouteNetlinkMessage) -> Option<Link> {
    match message {
        RouteNetlinkMessage::NewLink(message) => Some(parse::link(message)),
        _ => None,
    }
}

/// Counters are most of a link message and nobody here reads them.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}
