//! The tunnel at UDP ports beside ours.
//!
//! Both directions of a connection use the tunnel's port of the side that was dialled (Weave Net
//! datapath specification, objects). A peer that was dialled at another port than ours is therefore
//! reached through a VXLAN device of that port. Its program hands frames on to our own device, so that
//! the bridge finds all that is remote at one port of its own.
//!
//! Invariant: for each such device there is a pin, so the next daemon finds those that frames take.

use nix::net::if_::{if_indextoname, if_nametoindex};

use super::{
    Error, Hook,
    pins::{self, Pins},
    programs, tunnel,
};
use crate::netlink::Netlink;

/// What all devices beside ours have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Like {
    /// How programs are attached.
    pub(super) hook: Hook,
    /// Index of the bridge.
    pub(super) bridge: u32,
    /// MTU in bytes.
    pub(super) mtu: u32,
}

/// Brings the device for `port` into being, or in order. As a port of the bridge, which never sends
/// anything there of its own accord, it answers frames that are too large for the way.
pub(super) async fn ensure(
    netlink: &Netlink,
    pins: &Pins,
    port: u16,
    like: Like,
) -> Result<(), Error> {
    let pin = pins.path(&pins::side(port));
    match tunnel::find(netlink, port).await? {
        Some(link) if link.alias.as_deref() != Some(ALIAS) => {
            return Err(Error::Foreign { name: link.name });
        }
        Some(_) => {}
        None => {
            pins.remove(&pins::side(port))?;
            tunnel::create(netlink, port, like.mtu).await?;
            let link = netlink.require_link(&tunnel::name(port)).await?;
            netlink.set_alias(link.index, ALIAS).await?;
        }
    }
    let link = match tunnel::ensure(netlink, port, like.mtu).await {
        Ok(link) => link,
        Err(error) => {
            // The port is taken: a device that is down serves nobody.
            remove(netlink, pins, port).await?;
            return Err(error);
        }
    };
    programs::attach_side(pins, like.hook, &link.name, &pin)?;
    if link.master != Some(like.bridge) {
        netlink.set_master(link.index, Some(like.bridge)).await?;
    }
    if link.master != Some(like.bridge) || link.flood != Some(false) {
        netlink.set_flood(link.index, false).await?;
    }
    Ok(())
}

/// As [`ensure`] for each of `ports`. What cannot be opened is said: frames take another overlay.
pub(super) async fn reopen(
    netlink: &Netlink,
    pins: &Pins,
    ports: impl Iterator<Item = u16>,
    like: Like,
) {
    for port in ports {
        if let Err(error) = ensure(netlink, pins, port, like).await {
            tracing::warn!(port, %error, "the tunnel is not open at this port any more");
        }
    }
}

/// Removes the device for `port`, if it is one of ours, and its pin.
pub(super) async fn remove(netlink: &Netlink, pins: &Pins, port: u16) -> Result<(), Error> {
    let ours = |alias: Option<&str>| alias == Some(ALIAS);
    let deleted = match tunnel::find(netlink, port).await {
        Ok(Some(link)) if ours(link.alias.as_deref()) => netlink.delete_link(link.index).await,
        _ => Ok(()),
    };
    deleted?;
    pins.remove(&pins::side(port))
}

/// Index of the device for `port`.
pub(super) fn index(port: u16) -> Option<u32> {
    if_nametoindex(tunnel::name(port).as_str()).ok()
}

/// The port that a device is for.
pub(super) fn port(index: u32) -> Option<u16> {
    let name = if_indextoname(index).ok()?;
    tunnel::port_of(name.to_str().ok()?)
}

/// Tells our devices from others of such names.
const ALIAS: &str = "weave tunnel at another port";
