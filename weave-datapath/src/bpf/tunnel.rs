//! The VXLAN device of the tunnel.
//!
//! Invariant once [`ensure`] returns: the device takes its headers from tunnel metadata, learns
//! nothing, has no queue, no IPv6, and is up, so its UDP port is bound. Why each matters: Weave Net
//! datapath specification, devices and corner cases. Once [`join`] returns, it is the one port of
//! the bridge that frames for everybody leave through.

use super::Error;
use crate::{
    netlink::{Link, Netlink},
    sysctl,
};

/// Name of the tunnel device on `port`.
#[must_use]
pub fn name(port: u16) -> String {
    format!("{NAME}{port}")
}

/// The port in such a name.
pub(super) fn port_of(name: &str) -> Option<u16> {
    name.strip_prefix(NAME)?.parse().ok()
}

const NAME: &str = "vxlan-";

/// The device as it is, if there is one.
///
/// # Errors
/// [`Error::Foreign`] when the name belongs to a device of another kind.
pub(super) async fn find(netlink: &Netlink, port: u16) -> Result<Option<Link>, Error> {
    let name = name(port);
    match netlink.link_by_name(&name).await? {
        Some(link) if !link.is_kind("vxlan") => Err(Error::Foreign { name }),
        found => Ok(found),
    }
}

/// Deletes the device, if there is one, and creates it anew.
pub(super) async fn create(netlink: &Netlink, port: u16, mtu: u32) -> Result<(), Error> {
    if let Some(old) = find(netlink, port).await? {
        netlink.delete_link(old.index).await?;
    }
    netlink
        .create_vxlan_external(&name(port), port, mtu)
        .await?;
    Ok(())
}

/// Brings an existing device into the wanted state and returns it.
pub(super) async fn ensure(netlink: &Netlink, port: u16, mtu: u32) -> Result<Link, Error> {
    let name = name(port);
    let link = existing(netlink, port).await?;
    if let Err(error) = sysctl::without_ipv6(&name).write() {
        // The driver drops what IPv6 would send there: it has no tunnel metadata.
        tracing::warn!(device = name, %error, "IPv6 stays on");
    }
    if link.mtu != mtu {
        netlink.set_mtu(link.index, mtu).await?;
    }
    if !link.up {
        let up = netlink.set_up(link.index).await;
        up.map_err(|source| Error::Port {
            name: name.clone(),
            port,
            source,
        })?;
    }
    let link = existing(netlink, port).await?;
    match link.qdisc.as_deref() {
        None | Some("noqueue") => Ok(link),
        Some(_) => without_queue(netlink, port, &link).await,
    }
}

/// Makes the device a port of the bridge that `pair` is a port of, whose index is returned. The
/// programs must be attached before: without them the bridge would get whatever comes out of the tunnel.
///
/// The end of the pair stays a port, as other tools look for it, but gets no frames of its own
/// accord: whoever it leads to would see, and answer, what belongs to the tunnel.
pub(super) async fn join(netlink: &Netlink, tunnel: &Link, pair: &Link) -> Result<u32, Error> {
    let bridge = pair.master.ok_or_else(|| Error::NoBridge {
        name: pair.name.clone(),
    })?;
    if pair.flood != Some(false) {
        netlink.set_flood(pair.index, false).await?;
    }
    if tunnel.master != Some(bridge) {
        netlink.set_master(tunnel.index, Some(bridge)).await?;
    }
    Ok(bridge)
}

/// Undoes [`join`] for the end of the pair; the device itself is deleted.
pub(super) async fn part(netlink: &Netlink, pair: &Link) -> Result<(), Error> {
    if pair.flood == Some(false) {
        netlink.set_flood(pair.index, true).await?;
    }
    Ok(())
}

async fn without_queue(netlink: &Netlink, port: u16, link: &Link) -> Result<Link, Error> {
    netlink.delete_root_qdisc(link.index).await?;
    let link = existing(netlink, port).await?;
    match &link.qdisc {
        Some(qdisc) if qdisc != "noqueue" => Err(Error::Queue {
            name: link.name.clone(),
            qdisc: qdisc.clone(),
        }),
        _ => Ok(link),
    }
}

async fn existing(netlink: &Netlink, port: u16) -> Result<Link, Error> {
    find(netlink, port)
        .await?
        .ok_or_else(|| Error::NoInterface { name: name(port) })
}
