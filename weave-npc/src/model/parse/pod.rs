//! Pods.

use std::sync::Arc;

use super::super::{NamedPort, ObjectName, Phase, Pod, Protocol, Uid, raw};
use super::{At, Problem, labels, place};

/// A pod. Without `metadata.uid`, as in files, its name is its identity.
pub(super) fn pod(raw: &raw::Pod) -> Result<Pod, Problem> {
    let metadata = &raw.metadata;
    let name = ObjectName::new(metadata.home(), metadata.checked_name()?);
    let uid = match metadata.uid.as_deref() {
        None | Some("") => Uid::new(name.to_string()),
        Some(uid) => Uid::new(uid),
    };
    let mut pod = Pod::new(name, uid).with_labels(labels::labels(metadata.labels.as_ref()));
    pod.is_terminating = metadata.deletion_timestamp.is_some();
    if let Some(spec) = &raw.spec {
        pod.node = spec.node_name.as_deref().unwrap_or_default().into();
        pod.host_network = spec.host_network.unwrap_or(false);
        pod.ports = named_ports(spec)?;
    }
    if let Some(status) = &raw.status {
        pod.phase = phase(status.phase.as_deref())?;
        pod = pod.with_addresses(addresses(status)?);
    }
    Ok(pod)
}

fn phase(text: Option<&str>) -> Result<Phase, Problem> {
    Ok(match text {
        None | Some("" | "Running") => Phase::Running,
        Some("Pending") => Phase::Pending,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        Some(other) => {
            let at = At::root("status");
            return Err(at.field("phase").wrong(format!("{other:?} is not a phase")));
        }
    })
}

fn addresses(status: &raw::PodStatus) -> Result<Vec<std::net::IpAddr>, Problem> {
    let at = At::root("status");
    let list = at.field("podIPs");
    let mut addresses = Vec::new();
    for (index, entry) in status.pod_ips.iter().flatten().enumerate() {
        if !entry.ip.is_empty() {
            addresses.push(place::address(&entry.ip, list.index(index).field("ip"))?);
        }
    }
    let first = status.pod_ip.as_deref().unwrap_or_default();
    if addresses.is_empty() && !first.is_empty() {
        addresses.push(place::address(first, at.field("podIP"))?);
    }
    Ok(addresses)
}

fn named_ports(spec: &raw::PodSpec) -> Result<Vec<NamedPort>, Problem> {
    let root = At::root("spec");
    let mut ports = Vec::new();
    let lists = [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ];
    for (field, list) in lists {
        let at = root.field(field);
        for (index, container) in list.iter().flatten().enumerate() {
            let at = at.index(index);
            let at = at.field("ports");
            for (index, port) in container.ports.iter().flatten().enumerate() {
                ports.extend(named_port(port, at.index(index))?);
            }
        }
    }
    ports.sort();
    ports.dedup();
    Ok(ports)
}

fn named_port(raw: &raw::ContainerPort, at: At<'_>) -> Result<Option<NamedPort>, Problem> {
    let protocol = match raw.protocol.as_deref() {
        None | Some("") => Protocol::Tcp,
        Some(text) => text
            .parse()
            .map_err(|error| at.field("protocol").wrong(format!("{error}")))?,
    };
    let number = super::policy::port_number(raw.container_port, at.field("containerPort"))?;
    let name = raw.name.as_deref().filter(|name| !name.is_empty());
    Ok(name.map(|name| NamedPort {
        name: Arc::from(name),
        protocol,
        number,
    }))
}
