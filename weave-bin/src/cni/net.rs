//! `weave-net`: connects a pod to the bridge and takes it off again.
//!
//! ADD checks everything that can be checked before it takes an address, and gives the address
//! back if the pod cannot be connected after all. DEL goes on after every error and fails only
//! when the address could not be released: then the runtime must call again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::config::{Route, Settings};
use super::daemon::{EXPOSE_ID, Released};
use super::edge::{Bridge, Edge, Wish};
use super::error::{Code, Error};
use super::lease::Lease;
use super::result::{Attachment, Interface};
use super::{Scene, delegate, policy};

/// ADD. Calling it again for the same container and interface gives the same result.
///
/// # Errors
/// Anything that keeps the pod from being connected; what this call made is undone.
pub(super) async fn add<E: Edge>(scene: &mut Scene<'_, E>) -> Result<Attachment, Error> {
    let settings = scene.network.settings()?;
    refuse_unsupported(&settings)?;
    let netns = pod_namespace(scene)?;
    let bridge = scene
        .edge
        .bridge(&settings.bridge)
        .await
        .map_err(|reason| Error::new(Code::Io, format!("bridge {:?}: {reason}", settings.bridge)))?
        .ok_or_else(|| {
            let name = &settings.bridge;
            let text = format!("bridge {name:?} not present; did you launch weave?");
            Error::new(Code::NoBridge, text)
        })?;
    let lease = Lease::take(scene, &settings.ipam).await?;
    let placed = policy::place(scene, &lease).await;
    let outcome = match &placed {
        Ok(_) => connect(scene, &settings, &bridge, &lease, netns).await,
        Err(error) => Err(error.clone()),
    };
    let placed = placed.ok().flatten();
    match outcome {
        Ok(attachment) => {
            if let Some(placed) = placed
                && let Err(reason) = placed.guard(&attachment).await
            {
                scene.log(format!("the pod is not held to its addresses: {reason}"));
            }
            Ok(attachment)
        }
        Err(error) => {
            if let Some(placed) = placed {
                placed.undo().await;
            }
            if let Err(left) = lease.undo(scene).await {
                scene.log(format!("unable to release IP address: {left}"));
            }
            Err(error)
        }
    }
}

/// DEL.
///
/// # Errors
/// Only when the daemon, or the plugin that allocated, could not release the address. A daemon that
/// is away is told later.
pub(super) async fn del<E: Edge>(scene: &mut Scene<'_, E>) -> Result<(), Error> {
    let settings = match scene.network.settings() {
        Ok(settings) => Some(settings),
        Err(error) => {
            scene.log(format!(
                "configuration not understood, releasing by id: {error}"
            ));
            None
        }
    };
    remove_interface(scene).await;
    let released = match settings
        .as_ref()
        .and_then(|settings| settings.ipam.delegate())
    {
        Some(kind) => delegate::del(scene.call, kind, scene.input)
            .await
            .map(|()| Released::Freed),
        None => scene.release().await,
    };
    match released {
        Ok(Released::Freed) => Ok(()),
        Ok(Released::Nothing(words)) => {
            scene.log(words);
            Ok(())
        }
        Err(error) => {
            scene.log(format!("unable to release IP address: {error}"));
            // A configuration that ADD refuses never got an address: nothing is lost by success.
            if settings.is_some() {
                Err(error)
            } else {
                Ok(())
            }
        }
    }
}

fn refuse_unsupported(settings: &Settings) -> Result<(), Error> {
    let refused = if settings.is_gateway {
        Some(("Gateway functionality not supported", "isGateway"))
    } else if settings.ip_masq {
        Some(("IP Masquerading functionality not supported", "ipMasq"))
    } else {
        None
    };
    refused.map_or(Ok(()), |(text, key)| {
        Err(Error::new(Code::Configuration, text)
            .with_details(format!("the configuration sets {key:?} to true")))
    })
}

fn pod_namespace<E: Edge>(scene: &Scene<'_, E>) -> Result<E::Netns, Error> {
    let path = &scene.call.netns;
    let refused = |reason: String| {
        Error::new(
            Code::Namespace,
            format!("error accessing namespace {path:?}: {reason}"),
        )
    };
    let netns = scene.edge.open(path).map_err(refused)?;
    if !scene.call.any_netns && scene.edge.is_own(&netns).map_err(refused)? {
        let text = "can not specify host network namespace as network namespace to which \
                    container should be added";
        return Err(Error::new(Code::Namespace, text));
    }
    Ok(netns)
}

async fn connect<E: Edge>(
    scene: &Scene<'_, E>,
    settings: &Settings,
    bridge: &Bridge,
    lease: &Lease,
    netns: E::Netns,
) -> Result<Attachment, Error> {
    let addresses: Vec<IpNet> = lease.granted.addresses.iter().map(|a| a.address).collect();
    let routes = match &settings.ipam.routes {
        None if !lease.granted.routes.is_empty() => Some(lease.granted.routes.clone()),
        configured => configured.clone(),
    };
    let known = settings.ipam.gateway.into_iter().chain(lease.gateways());
    let gateways = gateways(scene, bridge, &addresses, known, routes.as_deref()).await?;
    let wish = Wish {
        container_id: &scene.call.container_id,
        netns,
        ifname: &scene.call.ifname,
        bridge: &settings.bridge,
        mtu: settings.mtu,
        addresses,
        gateways: gateways.clone(),
        routes: routes.clone(),
        hairpin: settings.hairpin,
    };
    let attached = scene.edge.attach(wish).await.map_err(|reason| {
        let text = format!("unable to attach {:?}: {reason}", scene.call.container_id);
        Error::new(Code::Attach, text)
    })?;
    let mtu = Some(attached.mtu);
    let mut attachment = lease.granted.clone();
    for address in &mut attachment.addresses {
        let is_v4 = address.address.addr().is_ipv4();
        let same_family = gateways.iter().find(|via| via.is_ipv4() == is_v4).copied();
        address.gateway = address.gateway.or(same_family);
    }
    attachment.interfaces = vec![
        Interface {
            name: attached.host.name,
            mac: attached.host.mac,
            mtu,
            sandbox: None,
        },
        Interface {
            name: attached.pod.name,
            mac: attached.pod.mac,
            mtu,
            sandbox: Some(scene.call.netns.clone()),
        },
    ];
    let defaults = gateways.iter().filter(|_| routes.is_none());
    attachment.default_routes = defaults
        .map(|gateway| Route {
            dst: default_of(*gateway),
            gw: Some(*gateway),
        })
        .collect();
    attachment.routes = routes.unwrap_or_default();
    attachment.dns.clone_from(&settings.dns);
    Ok(attachment)
}

/// A gateway of each family: the first that is `known`, else the bridge, if a route needs one.
async fn gateways<E: Edge>(
    scene: &Scene<'_, E>,
    bridge: &Bridge,
    addresses: &[IpNet],
    known: impl Iterator<Item = IpAddr>,
    routes: Option<&[Route]>,
) -> Result<Vec<IpAddr>, Error> {
    let mut gateways: Vec<IpAddr> = Vec::new();
    let has = |gateways: &[IpAddr], is_v4| gateways.iter().any(|via| via.is_ipv4() == is_v4);
    for gateway in known {
        if !has(&gateways, gateway.is_ipv4()) {
            gateways.push(gateway);
        }
    }
    for subnet in addresses {
        let is_v4 = subnet.addr().is_ipv4();
        let needs = |route: &Route| route.gw.is_none() && route.dst.addr().is_ipv4() == is_v4;
        let is_needed = routes.is_none_or(|list| list.iter().any(needs));
        if is_needed && !has(&gateways, is_v4) {
            gateways.extend(bridge_address(scene, bridge, *subnet).await?);
        }
    }
    Ok(gateways)
}

/// The bridge's address inside `subnet`, else its first of the family; a bridge without one is exposed
/// first. `None` when the daemon has no such addresses.
async fn bridge_address<E: Edge>(
    scene: &Scene<'_, E>,
    bridge: &Bridge,
    subnet: IpNet,
) -> Result<Option<IpAddr>, Error> {
    let is_same_family = |net: &IpNet| net.addr().is_ipv4() == subnet.addr().is_ipv4();
    let mut usable = bridge
        .addresses
        .iter()
        .filter(|net| is_same_family(net))
        .map(IpNet::addr)
        .filter(|address| !is_of_the_link(*address));
    let inside = usable.clone().find(|address| subnet.contains(address));
    if let Some(address) = inside.or_else(|| usable.next()) {
        return Ok(Some(address));
    }
    let context = "unable to allocate IP address for bridge";
    let asked = (!subnet.addr().is_ipv4()).then(|| subnet.trunc());
    let given = match scene.daemon.allocate(EXPOSE_ID, asked, None).await {
        // What another plugin allocated is not always of a range of ours.
        Err(error) if asked.is_some() && error.code() == Code::Refused => return Ok(None),
        given => given.map_err(|error| error.within(context))?,
    };
    let mut given = given.into_iter().map(|(address, _)| address);
    let Some(address) = given.find(is_same_family) else {
        return Ok(None);
    };
    scene
        .daemon
        .expose(address)
        .await
        .map_err(|error| error.within(context))?;
    Ok(Some(address.addr()))
}

/// Every interface with IPv6 has such an address; it says nothing of being exposed.
fn is_of_the_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

async fn remove_interface<E: Edge>(scene: &mut Scene<'_, E>) {
    let call = scene.call;
    let mut trouble = None;
    let mut netns = None;
    if !call.netns.is_empty() {
        match scene.edge.open(&call.netns) {
            Ok(open) => match scene.edge.is_own(&open) {
                Ok(false) => netns = Some(open),
                Ok(true) if call.any_netns => netns = Some(open),
                Ok(true) => trouble = Some("CNI_NETNS is the host's own namespace".to_owned()),
                Err(reason) => trouble = Some(reason),
            },
            Err(reason) => trouble = Some(reason),
        }
    }
    let expected = netns.is_some();
    match scene
        .edge
        .detach(&call.container_id, netns, &call.ifname)
        .await
    {
        Ok(false) if expected => trouble = Some("Link not found".to_owned()),
        Ok(_) => {}
        Err(reason) => trouble = Some(reason),
    }
    if let Some(reason) = trouble {
        scene.log(format!(
            "error removing interface {:?}: {reason}",
            call.ifname
        ));
    }
}

fn default_of(gateway: IpAddr) -> IpNet {
    match gateway {
        IpAddr::V4(_) => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
