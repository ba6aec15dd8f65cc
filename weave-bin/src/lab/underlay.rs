//! Namespaces and cables of a lab in the kernel: making them, cutting them, mending them.
//!
//! Nothing is made in the namespace this process runs in: every interface begins and ends in a
//! namespace of the lab, so removing those removes everything.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net};
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

use super::error::Error;
use super::plan::{Cable, Plan, Plug};
use super::{faults, nat};

/// Opens the namespace called `name`.
///
/// # Errors
/// When it is not there.
pub(crate) fn open(name: &str) -> Result<Namespace, Error> {
    Namespace::open(named_path(name)).map_err(|error| Error::kernel("lab", error))
}

/// Makes all hosts, the switch and the cables of `plan`.
///
/// # Errors
/// What the kernel refused; what was made before stays and is removed with the lab.
pub(crate) async fn build(plan: &Plan) -> Result<(), Error> {
    let switch = match plan.switch() {
        Some(name) => {
            let namespace = create(&name).await?;
            let netlink = open_netlink(&namespace)?;
            make_bridge(&netlink, SWITCH, plan.underlay_mtu).await?;
            Some((namespace, netlink))
        }
        None => None,
    };
    for host in &plan.hosts {
        let namespace = create(&host.namespace).await?;
        // A host must not forward on its own: only the overlay may relay.
        write_setting(&namespace, "net/ipv4/ip_forward", "0").await?;
    }
    if let Some(nat) = plan.nat() {
        create(&nat.namespace).await?;
    }
    for cable in &plan.cables {
        let a = namespace_of(plan, &cable.a)?;
        let b = namespace_of(plan, &cable.b)?;
        lay(cable, &a, &b, plan.underlay_mtu).await?;
        if let (None, Some((_, netlink))) = (cable.b.host, &switch) {
            join(netlink, &cable.b.device, SWITCH).await?;
        }
    }
    if let Some(nat) = plan.nat() {
        nat::build(plan, &nat).await?;
    }
    faults::put(plan, &[]).await
}

/// The namespace that an end of a cable is in.
///
/// # Errors
/// When it is not there.
pub(crate) fn namespace_of(plan: &Plan, plug: &Plug) -> Result<Namespace, Error> {
    open(&plug_namespace(plan, plug))
}

/// Has the kernel cut what leaves by an end of a cable into packets of their own.
///
/// # Errors
/// What the kernel refused.
pub(crate) async fn send_one_by_one(plan: &Plan, plug: &Plug) -> Result<(), Error> {
    let netlink = open_netlink(&namespace_of(plan, plug)?)?;
    let index = find(&netlink, &plug.device).await?;
    netlink
        .set_gso_max_segs(index, 1)
        .await
        .map_err(|error| Error::kernel(format!("cable {}", plug.device), error))
}

/// Puts another machine in the place of host `number`: a namespace of which nothing was known, on the
/// same cable of the switch.
///
/// # Errors
/// What the kernel refused.
pub(crate) async fn replace_host(plan: &Plan, number: usize) -> Result<(), Error> {
    let Some(switch) = plan.switch() else {
        let words = "only hosts on a switch can be replaced";
        return Err(Error::State(words.to_owned()));
    };
    let switch = open(&switch)?;
    let netlink = open_netlink(&switch)?;
    let own = |cable: &&Cable| cable.a.host == Some(number);
    let cables: Vec<&Cable> = plan.cables.iter().filter(own).collect();
    for cable in &cables {
        // Both ends go at once, unlike with the namespace of one of them.
        let port = &cable.b.device;
        let index = find(&netlink, port).await?;
        let gone = netlink.delete_link(index).await;
        gone.map_err(|error| Error::kernel(format!("remove {port}"), error))?;
    }
    let name = &plan.hosts[number - 1].namespace;
    Namespace::delete_named(name)
        .map_err(|error| Error::kernel(format!("remove {name}"), error))?;
    let namespace = create(name).await?;
    write_setting(&namespace, "net/ipv4/ip_forward", "0").await?;
    for cable in cables {
        lay(cable, &namespace, &switch, plan.underlay_mtu).await?;
        join(&netlink, &cable.b.device, SWITCH).await?;
    }
    Ok(())
}

/// Gives the switch itself an address.
///
/// # Errors
/// What the kernel refused, or there is no switch.
#[cfg(feature = "kube")]
pub(crate) async fn address_switch(plan: &Plan, address: Ipv4Net) -> Result<Namespace, Error> {
    let name = plan.switch();
    let name = name.ok_or_else(|| Error::State("the lab has no switch".to_owned()))?;
    let namespace = open(&name)?;
    let netlink = open_netlink(&namespace)?;
    let index = find(&netlink, SWITCH).await?;
    let added = netlink.add_address(index, IpNet::V4(address)).await;
    added.map_err(|error| Error::kernel(format!("address {address}"), error))?;
    Ok(namespace)
}

/// Makes a namespace with its loopback interface up.
///
/// # Errors
/// When it exists or cannot be made.
pub(crate) async fn create(name: &str) -> Result<Namespace, Error> {
    let made = Namespace::create_named(name);
    let namespace = made.map_err(|error| Error::kernel(format!("create {name}"), error))?;
    let netlink = open_netlink(&namespace)?;
    set_up(&netlink, "lo").await?;
    Ok(namespace)
}

/// Cuts `group` off from the other hosts. Hosts of the group reach each other as before.
///
/// # Errors
/// What the kernel refused.
pub(crate) async fn cut(plan: &Plan, group: &BTreeSet<usize>) -> Result<(), Error> {
    let across = plan.cables_across(group);
    let Some(switch) = plan.switch() else {
        return set_cables(plan, &across, false).await;
    };
    let netlink = open_netlink(&open(&switch)?)?;
    if find(&netlink, SECOND_SWITCH).await.is_err() {
        make_bridge(&netlink, SECOND_SWITCH, plan.underlay_mtu).await?;
    }
    for cable in across {
        join(&netlink, &cable.b.device, SECOND_SWITCH).await?;
    }
    Ok(())
}

/// Connects everything as planned.
///
/// # Errors
/// What the kernel refused.
pub(crate) async fn heal(plan: &Plan) -> Result<(), Error> {
    let Some(switch) = plan.switch() else {
        let all: Vec<&Cable> = plan.cables.iter().collect();
        return set_cables(plan, &all, true).await;
    };
    let netlink = open_netlink(&open(&switch)?)?;
    for cable in &plan.cables {
        join(&netlink, &cable.b.device, SWITCH).await?;
    }
    Ok(())
}

/// The IPv4 addresses of the bridge `weave` of a host.
///
/// # Errors
/// When the host cannot be asked; a host without the bridge has no address.
pub(crate) async fn bridge_addresses(host: &str) -> Result<Vec<Ipv4Net>, Error> {
    let netlink = open_netlink(&open(host)?)?;
    let what = || format!("bridge of {host}");
    let link = netlink
        .link_by_name("weave")
        .await
        .map_err(|error| Error::kernel(what(), error))?;
    let Some(link) = link else {
        return Ok(Vec::new());
    };
    let all = netlink
        .addresses(link.index)
        .await
        .map_err(|error| Error::kernel(what(), error))?;
    Ok(all
        .into_iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })
        .collect())
}

fn plug_namespace<'a>(plan: &'a Plan, plug: &Plug) -> std::borrow::Cow<'a, str> {
    match plug.host {
        // The switch sees the router in the place of the host behind it.
        Some(number) if plan.conditions.nat == Some(number) => plan
            .nat()
            .map(|nat| nat.namespace)
            .unwrap_or_default()
            .into(),
        Some(number) => plan.hosts[number - 1].namespace.as_str().into(),
        None => plan.switch().unwrap_or_default().into(),
    }
}

/// Makes the pair of `cable` with its addresses, both ends up.
async fn lay(cable: &Cable, a: &Namespace, b: &Namespace, mtu: u32) -> Result<(), Error> {
    let (here, there) = (open_netlink(a)?, open_netlink(b)?);
    let (a, b_name) = (&cable.a, &cable.b.device);
    here.create_veth_into(&a.device, b_name, b, mtu)
        .await
        .map_err(|error| Error::kernel(format!("cable {} to {b_name}", a.device), error))?;
    for (netlink, plug) in [(&here, &cable.a), (&there, &cable.b)] {
        if let Some(address) = plug.address {
            let index = find(netlink, &plug.device).await?;
            netlink
                .add_address(index, IpNet::V4(address))
                .await
                .map_err(|error| Error::kernel(format!("address {address}"), error))?;
        }
        set_up(netlink, &plug.device).await?;
    }
    Ok(())
}

/// Takes the first end of each cable up or down; the other end loses its carrier with it.
async fn set_cables(plan: &Plan, cables: &[&Cable], up: bool) -> Result<(), Error> {
    for cable in cables {
        let netlink = open_netlink(&namespace_of(plan, &cable.a)?)?;
        let device = &cable.a.device;
        let index = find(&netlink, device).await?;
        let done = if up {
            netlink.set_up(index).await
        } else {
            netlink.set_down(index).await
        };
        done.map_err(|error| Error::kernel(format!("cable {device}"), error))?;
    }
    Ok(())
}

async fn make_bridge(netlink: &Netlink, name: &str, mtu: u32) -> Result<(), Error> {
    netlink
        .create_bridge(name, None, mtu)
        .await
        .map_err(|error| Error::kernel(format!("bridge {name}"), error))?;
    set_up(netlink, name).await
}

async fn join(netlink: &Netlink, port: &str, bridge: &str) -> Result<(), Error> {
    let (port_index, bridge_index) = (find(netlink, port).await?, find(netlink, bridge).await?);
    netlink
        .set_master(port_index, Some(bridge_index))
        .await
        .map_err(|error| Error::kernel(format!("join {port} to {bridge}"), error))
}

async fn set_up(netlink: &Netlink, device: &str) -> Result<(), Error> {
    let index = find(netlink, device).await?;
    netlink
        .set_up(index)
        .await
        .map_err(|error| Error::kernel(format!("set {device} up"), error))
}

pub(crate) async fn find(netlink: &Netlink, device: &str) -> Result<u32, Error> {
    let found = netlink.link_by_name(device).await;
    let link = found.map_err(|error| Error::kernel(device, error))?;
    link.map(|link| link.index)
        .ok_or_else(|| Error::kernel(device, "there is no such interface"))
}

pub(crate) fn open_netlink(namespace: &Namespace) -> Result<Netlink, Error> {
    Netlink::open_in(namespace)
        .map_err(|error| Error::kernel(format!("netlink in {}", namespace.path().display()), error))
}

pub(crate) async fn write_setting(
    namespace: &Namespace,
    setting: &'static str,
    value: &'static str,
) -> Result<(), Error> {
    // Files below /proc/sys/net show the namespace of the thread that opens them.
    let written = namespace
        .run_async(move || std::fs::write(format!("/proc/sys/{setting}"), value))
        .await
        .map_err(|error| Error::kernel(setting, error))?;
    written.map_err(|error| Error::kernel(setting, error))
}

const SWITCH: &str = "switch";
const SECOND_SWITCH: &str = "switch2";
