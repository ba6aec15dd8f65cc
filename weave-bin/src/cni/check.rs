//! CHECK: whether a pod still is as ADD left it.
//!
//! Looked at is only what ADD promised: the interface, its addresses, its bridge, the default route,
//! and that the addresses are still the pod's. Whatever else other plugins did is theirs to check.

use std::net::IpAddr;

use ipnet::IpNet;

use super::config::{Ipam, Network};
use super::edge::{Edge, Seen};
use super::error::{Code, Error};
use super::version::Version;
use super::{Scene, delegate};

/// CHECK of `weave-net`.
///
/// # Errors
/// What is not as it was, or what stands in the way of looking.
pub(super) async fn net<E: Edge>(scene: &Scene<'_, E>) -> Result<(), Error> {
    require(scene.network, Version::V040, "CHECK")?;
    let settings = scene.network.settings()?;
    let expected = addresses(scene.network, &scene.call.ifname)?;
    let (path, ifname) = (&scene.call.netns, &scene.call.ifname);
    let refused = |reason: String| {
        Error::new(
            Code::Namespace,
            format!("error accessing namespace {path:?}: {reason}"),
        )
    };
    let netns = scene.edge.open(path).map_err(refused)?;
    let seen = scene
        .edge
        .inspect(&netns, ifname, &settings.bridge)
        .await
        .map_err(|reason| Error::new(Code::Io, format!("interface {ifname:?}: {reason}")))?;
    let seen = seen.ok_or_else(|| differs(format!("the pod has no interface {ifname:?}")))?;
    judge(
        &seen,
        &expected,
        settings.ipam.routes.is_none(),
        ifname,
        &settings.bridge,
    )?;
    owns(scene, &settings.ipam, &expected).await
}

/// CHECK of `weave-ipam`.
///
/// # Errors
/// An address is not the pod's any more, or the daemon does not say.
pub(super) async fn ipam<E>(scene: &Scene<'_, E>) -> Result<(), Error> {
    require(scene.network, Version::V040, "CHECK")?;
    let expected = addresses(scene.network, &scene.call.ifname)?;
    owns(scene, &Ipam::default(), &expected).await
}

/// Refuses `command` to a configuration of a version that has none.
pub(super) fn require(network: &Network, least: Version, command: &str) -> Result<(), Error> {
    if network.version >= least {
        return Ok(());
    }
    let version = network.version;
    let text = format!("config version does not allow {command}");
    Err(
        Error::new(Code::IncompatibleVersion, text).with_details(format!(
            "config is \"{version}\", {command} needs \"{least}\""
        )),
    )
}

/// The addresses of `ifname` in the previous result.
fn addresses(network: &Network, ifname: &str) -> Result<Vec<IpNet>, Error> {
    let malformed = |what: &str| Error::new(Code::Configuration, format!("prevResult {what}"));
    let result = network
        .previous()
        .ok_or_else(|| malformed("is missing: CHECK compares with it"))?;
    let names: Vec<Option<&str>> = result["interfaces"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["sandbox"].as_str().and_then(|_| one["name"].as_str()))
        .collect();
    let mut found = Vec::new();
    for ip in result["ips"].as_array().into_iter().flatten() {
        let is_ours = match ip["interface"].as_u64() {
            None => true,
            Some(index) => {
                let name = usize::try_from(index).ok().and_then(|at| names.get(at));
                name.copied().flatten() == Some(ifname)
            }
        };
        if is_ours {
            let address = ip["address"].as_str().and_then(|text| text.parse().ok());
            found.push(address.ok_or_else(|| malformed("has an address that is none"))?);
        }
    }
    if found.is_empty() {
        return Err(malformed("has no address of the interface"));
    }
    Ok(found)
}

fn judge(
    seen: &Seen,
    expected: &[IpNet],
    has_default: bool,
    ifname: &str,
    bridge: &str,
) -> Result<(), Error> {
    if !seen.is_up {
        return Err(differs(format!("interface {ifname:?} of the pod is down")));
    }
    if !seen.is_on_bridge {
        let text = format!("interface {ifname:?} of the pod is not attached to bridge {bridge:?}");
        return Err(differs(text));
    }
    for address in expected {
        if !seen.addresses.contains(address) {
            let text = format!("interface {ifname:?} of the pod has lost its address {address}");
            return Err(differs(text));
        }
        let v4 = address.addr().is_ipv4();
        if has_default && !seen.default_routes.iter().any(|via| via.is_ipv4() == v4) {
            return Err(differs("the pod has lost its default route".to_owned()));
        }
    }
    Ok(())
}

async fn owns<E>(scene: &Scene<'_, E>, ipam: &Ipam, expected: &[IpNet]) -> Result<(), Error> {
    if let Some(kind) = ipam.delegate() {
        return delegate::forward(scene.call, kind, scene.input).await;
    }
    let id = &scene.call.container_id;
    let owned: Vec<IpAddr> = scene.daemon.lookup(id, ipam.subnet).await?;
    match expected.iter().find(|one| !owned.contains(&one.addr())) {
        None => Ok(()),
        Some(address) => Err(differs(format!(
            "address {address} is not allocated to {id:?} any more"
        ))),
    }
}

fn differs(text: String) -> Error {
    Error::new(Code::Differs, text)
}
