//! Taking a pod off the bridge: as far as possible, and without complaint when nothing is left.

use super::{
    Error, StepError, host_names,
    request::{check_container_id, check_name},
};
use crate::{
    netlink::{Link, Netlink},
    netns::Namespace,
};

/// Removes the interface `ifname` of a container; the bridge is in the network namespace of the
/// calling thread. Returns whether there was anything to remove.
///
/// With the pod's namespace, deletes the interface inside it, which takes the host end along.
/// Without (the namespace is gone), deletes host ends whose alias is the container id, and one of
/// Weave Net's without alias if its name fits.
///
/// # Errors
/// [`Error::ContainerId`], [`Error::Name`], [`Error::Detach`]; an interface that is not there is no
/// error.
pub async fn detach(
    container_id: &str,
    netns: Option<&Namespace>,
    ifname: &str,
) -> Result<bool, Error> {
    let host = Namespace::current().map_err(|error| Error::Detach {
        container_id: container_id.to_owned(),
        errors: vec![error.into()],
    })?;
    detach_from(&host, container_id, netns, ifname).await
}

/// [`detach`] from a bridge of the namespace `host`.
///
/// # Errors
/// As [`detach`], and [`Error::HostNamespace`].
pub async fn detach_from(
    host: &Namespace,
    container_id: &str,
    netns: Option<&Namespace>,
    ifname: &str,
) -> Result<bool, Error> {
    check_container_id(container_id)?;
    check_name(ifname)?;
    if netns.is_some_and(|netns| netns.is_same_as(host)) {
        return Err(Error::HostNamespace);
    }
    let mut errors = Vec::new();
    let removed = match netns {
        Some(netns) => remove_in_pod(netns, ifname, &mut errors).await,
        None => remove_on_host(host, container_id, &mut errors).await,
    };
    if errors.is_empty() {
        Ok(removed)
    } else {
        Err(Error::Detach {
            container_id: container_id.to_owned(),
            errors,
        })
    }
}

async fn remove_in_pod(netns: &Namespace, ifname: &str, errors: &mut Vec<StepError>) -> bool {
    let netlink = match Netlink::open_in(netns) {
        Ok(netlink) => netlink,
        Err(error) => {
            errors.push(error.into());
            return false;
        }
    };
    match netlink.link_by_name(ifname).await {
        // Anything else than a veth is not ours, whatever its name.
        Ok(Some(link)) if link.is_kind("veth") => delete(&netlink, &link, errors).await,
        Ok(_) => false,
        Err(error) => {
            errors.push(error.into());
            false
        }
    }
}

async fn remove_on_host(host: &Namespace, container_id: &str, errors: &mut Vec<StepError>) -> bool {
    let netlink = match Netlink::open_in(host) {
        Ok(netlink) => netlink,
        Err(error) => {
            errors.push(error.into());
            return false;
        }
    };
    let mut removed = false;
    for (position, name) in host_names(container_id).enumerate() {
        match netlink.link_by_name(&name).await {
            Ok(Some(link)) if is_ours(&link, container_id, position == 0) => {
                removed |= delete(&netlink, &link, errors).await;
            }
            Ok(_) => {}
            Err(error) => errors.push(error.into()),
        }
    }
    removed
}

fn is_ours(link: &Link, container_id: &str, readable_name: bool) -> bool {
    link.is_kind("veth")
        && match link.alias.as_deref() {
            Some(alias) => alias == container_id,
            None => readable_name,
        }
}

async fn delete(netlink: &Netlink, link: &Link, errors: &mut Vec<StepError>) -> bool {
    match netlink.delete_link(link.index).await {
        Ok(()) => true,
        // The kernel got there first: it deletes the links of a dead namespace by itself.
        Err(error) if error.is_missing() => false,
        Err(error) => {
            errors.push(error.into());
            false
        }
    }
}
