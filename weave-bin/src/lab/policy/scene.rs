//! The hosts and pods of manifests in the kernel.
//!
//! ```text
//! pod ─ veth ─ bridge weave ─ vethwe-bridge ─ switch ─ vethwe-bridge ─ bridge weave ─ veth ─ pod
//! ```
//!
//! Every host has the bridge that the daemon makes, and the port by which frames of other hosts come
//! and go; a switch between the hosts stands for the overlay, so that nothing but policies decides.
//! Invariant: an address is in the kernel exactly while an endpoint of the world owns it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use weave_datapath::netlink::{Netlink, Route};
use weave_datapath::netns::Namespace;
use weave_npc::model::{Pod, Uid, World};

use crate::lab::error::Error;
use crate::lab::underlay::{create, find, open_netlink, write_setting};

/// Hosts and pods.
#[derive(Debug)]
pub(in crate::lab) struct Scene {
    name: String,
    /// The hosts by the name of the node that each is.
    pub(in crate::lab) hosts: BTreeMap<Arc<str>, Host>,
    pods: BTreeMap<Uid, Plugged>,
    made: usize,
}

/// A node of the manifests.
#[derive(Debug)]
pub(in crate::lab) struct Host {
    /// From 1, in order of the names.
    pub(in crate::lab) number: usize,
    /// Its network.
    pub(in crate::lab) namespace: Namespace,
    netlink: Netlink,
}

/// A pod that is there.
#[derive(Debug)]
struct Plugged {
    node: Arc<str>,
    addresses: Vec<IpAddr>,
    name: String,
    namespace: Namespace,
}

impl Scene {
    /// Makes a host for each of `nodes`, without pods.
    ///
    /// # Errors
    /// What the kernel refused; what was made is removed with the lab.
    pub(in crate::lab) async fn build(
        name: &str,
        nodes: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<Self, Error> {
        let switch = open_netlink(&create(&format!("{name}-switch")).await?)?;
        make_bridge(&switch, SWITCH).await?;
        let mut hosts = BTreeMap::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let host = Host::build(name, index + 1, &switch).await?;
            hosts.insert(node, host);
        }
        Ok(Self {
            name: name.to_owned(),
            hosts,
            pods: BTreeMap::new(),
            made: 0,
        })
    }

    /// Plugs in the endpoints of `world` that are not there, and removes those that are no more.
    ///
    /// # Errors
    /// What the kernel refused, or a pod without a node.
    pub(in crate::lab) async fn follow(&mut self, world: &World) -> Result<(), Error> {
        let mut wanted: BTreeMap<Uid, (&Pod, Vec<IpAddr>)> = BTreeMap::new();
        for pod in world.pods().filter(|pod| pod.is_endpoint()) {
            let addresses: Vec<IpAddr> = world.owned_addresses(pod).collect();
            if !addresses.is_empty() {
                wanted.insert(pod.uid.clone(), (pod, addresses));
            }
        }
        let gone: Vec<Uid> = self
            .pods
            .iter()
            .filter(|(uid, there)| {
                wanted.get(uid).is_none_or(|(pod, addresses)| {
                    pod.node != there.node || *addresses != there.addresses
                })
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in gone {
            if let Some(there) = self.pods.remove(&uid) {
                Namespace::delete_named(&there.name)
                    .map_err(|error| Error::kernel(&there.name, error))?;
            }
        }
        for (uid, (pod, addresses)) in wanted {
            if !self.pods.contains_key(&uid) {
                let plugged = self.plug(pod, addresses).await?;
                self.pods.insert(uid, plugged);
            }
        }
        Ok(())
    }

    /// The namespaces of the pods by their addresses.
    pub(in crate::lab) fn places(&self) -> HashMap<IpAddr, Namespace> {
        let pods = self.pods.values();
        pods.flat_map(|pod| {
            let addresses = pod.addresses.iter();
            addresses.map(|&address| (address, pod.namespace.clone()))
        })
        .collect()
    }

    /// How many pods there are.
    pub(in crate::lab) fn pods(&self) -> usize {
        self.pods.len()
    }

    async fn plug(&mut self, pod: &Pod, addresses: Vec<IpAddr>) -> Result<Plugged, Error> {
        let Some(host) = self.hosts.get(&pod.node) else {
            return Err(Error::State(format!(
                "pod {} is on no node: give it spec.nodeName",
                pod.name
            )));
        };
        self.made += 1;
        let name = format!("{}-{}-pod-{}", self.name, host.number, self.made);
        let namespace = create(&name).await?;
        let port = format!("vethwepl{}", self.made);
        let made = host
            .netlink
            .create_veth_into(&port, POD_DEVICE, &namespace, MTU);
        made.await
            .map_err(|error| Error::kernel(format!("port {port}"), error))?;
        join(&host.netlink, &port, BRIDGE).await?;
        address_pod(&namespace, &addresses).await?;
        Ok(Plugged {
            node: pod.node.clone(),
            addresses,
            name,
            namespace,
        })
    }
}

impl Host {
    async fn build(name: &str, number: usize, switch: &Netlink) -> Result<Self, Error> {
        let namespace = create(&format!("{name}-{number}")).await?;
        for setting in [
            "net/bridge/bridge-nf-call-iptables",
            "net/bridge/bridge-nf-call-ip6tables",
        ] {
            write_setting(&namespace, setting, "1").await?;
        }
        let netlink = open_netlink(&namespace)?;
        make_bridge(&netlink, BRIDGE).await?;
        cable(switch, &format!("host{number}"), UPLINK, &namespace).await?;
        join(&netlink, UPLINK, BRIDGE).await?;
        Ok(Self {
            number,
            namespace,
            netlink,
        })
    }
}

/// Gives a pod its addresses. Everything is on its link: the lab has no routers.
async fn address_pod(namespace: &Namespace, addresses: &[IpAddr]) -> Result<(), Error> {
    // Addresses are known to be free; waiting until the kernel is sure takes a second.
    write_setting(namespace, "net/ipv6/conf/eth0/accept_dad", "0").await?;
    let netlink = open_netlink(namespace)?;
    let index = find(&netlink, POD_DEVICE).await?;
    set_up(&netlink, POD_DEVICE).await?;
    for &address in addresses {
        let failed = |error| Error::kernel(format!("address {address}"), error);
        let own = IpNet::from(address);
        netlink.add_address(index, own).await.map_err(failed)?;
        let everything = match own {
            IpNet::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
            IpNet::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        let route = Route::on_link(everything, index);
        netlink.add_route(&route).await.map_err(failed)?;
    }
    Ok(())
}

async fn cable(
    switch: &Netlink,
    port: &str,
    device: &str,
    namespace: &Namespace,
) -> Result<(), Error> {
    let made = switch.create_veth_into(port, device, namespace, MTU);
    made.await
        .map_err(|error| Error::kernel(format!("cable {port}"), error))?;
    join(switch, port, SWITCH).await
}

async fn make_bridge(netlink: &Netlink, name: &str) -> Result<(), Error> {
    let made = netlink.create_bridge(name, None, MTU);
    made.await
        .map_err(|error| Error::kernel(format!("bridge {name}"), error))?;
    set_up(netlink, name).await
}

async fn join(netlink: &Netlink, port: &str, bridge: &str) -> Result<(), Error> {
    let (index, master) = (find(netlink, port).await?, find(netlink, bridge).await?);
    let joined = netlink.set_master(index, Some(master));
    joined
        .await
        .map_err(|error| Error::kernel(format!("join {port} to {bridge}"), error))?;
    set_up(netlink, port).await
}

async fn set_up(netlink: &Netlink, device: &str) -> Result<(), Error> {
    let index = find(netlink, device).await?;
    let up = netlink.set_up(index);
    up.await
        .map_err(|error| Error::kernel(format!("set {device} up"), error))
}

/// The bridge of the pods, as the daemon calls it.
const BRIDGE: &str = "weave";
/// The port that leads to other hosts, as the daemon calls it.
const UPLINK: &str = "vethwe-bridge";
const SWITCH: &str = "switch";
const POD_DEVICE: &str = "eth0";
const MTU: u32 = 1500;
