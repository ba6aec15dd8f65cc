//! The paths our overlay is compared with, set up by hand between the same two hosts.
//!
//! Invariant: a path differs from the others only in what lies between the pods. Each has a veth
//! pair per pod, made the same way with the same MTU, no queueing discipline and no packet filter
//! of its own, and crosses the same device between the hosts.
//!
//! ```text
//! vxlan   pod ─ veth ─ bridge ─ VXLAN device ─ underlay ─ VXLAN device ─ bridge ─ veth ─ pod
//! plain   pod ─ veth ─ host routes ─────────── underlay ─────────── host routes ─ veth ─ pod
//! ```
//!
//! The VXLAN device is as good as we know to make one: fixed network, no learning, static entries
//! for the pod's address and for everything else, no outer checksum (which is also what our overlay
//! sends). Nothing is removed here: devices in a host disappear with the host's namespace, pods are
//! namespaces under names the caller chooses and removes.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use ipnet::{IpNet, Ipv4Net};
use socket2::Socket;
use weave_datapath::netlink::{self, Netlink, Route};
use weave_datapath::netns::{self, Namespace};

use super::load::open::{self, Connection, Place};

/// A host between whose pods paths are made.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The host's namespace.
    pub(crate) namespace: Namespace,
    /// The host's address on the underlay.
    pub(crate) underlay: Ipv4Addr,
    /// Name for the namespace of the pod on the VXLAN path.
    pub(crate) vxlan_pod: String,
    /// Name for the namespace of the pod on the routed path.
    pub(crate) plain_pod: String,
}

/// Two pods that reach each other.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// The pod that sends.
    pub(crate) client: Namespace,
    /// The pod that receives.
    pub(crate) server: Namespace,
    /// Address of the pod that receives.
    pub(crate) address: Ipv4Addr,
}

impl Place for Namespace {
    fn open(&self, work: impl FnOnce() -> io::Result<Socket> + Send) -> io::Result<Socket> {
        self.run(work).map_err(io::Error::other)?
    }
}

impl Ends {
    /// `count` TCP connections from client to server.
    ///
    /// # Errors
    ///
    /// The path does not carry them.
    pub(crate) fn connections(&self, count: usize) -> io::Result<Vec<Connection>> {
        open::connections(&self.client, &self.server, self.address, count)
    }

    /// A pair of UDP sockets, the first connected to the second.
    ///
    /// # Errors
    ///
    /// A namespace or address is gone.
    pub(crate) fn datagrams(&self) -> io::Result<(UdpSocket, UdpSocket)> {
        open::datagrams(&self.client, &self.server, self.address)
    }
}

/// Why a path could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel refused a device, address or route.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A namespace could not be made or entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// A host does not forward packets for its pods.
    #[error("turn on forwarding in a host: {0}")]
    Forwarding(io::Error),
    /// An interface that was there a moment ago.
    #[error("interface {0} is gone")]
    Missing(String),
    /// The host has not the address it is said to have.
    #[error("no interface of the host has the address {0}")]
    NoUnderlay(Ipv4Addr),
}

/// Makes a kernel VXLAN between `hosts` with one pod in each.
///
/// # Errors
///
/// A namespace, device or address could not be made; what was made is left to the caller.
pub(crate) async fn vxlan(hosts: &[Host; 2], mtu: u32) -> Result<Ends, Error> {
    let [client, server] = [0, 1].map(|own| vxlan_pod(hosts, own, mtu));
    let (client, server) = (client.await?, server.await?);
    Ok(Ends {
        client,
        server,
        address: vxlan_address(1).addr(),
    })
}

/// Makes a routed path between `hosts` with one pod in each.
///
/// # Errors
///
/// As [`vxlan`].
pub(crate) async fn plain(hosts: &[Host; 2], mtu: u32) -> Result<Ends, Error> {
    let [client, server] = [0, 1].map(|own| plain_pod(hosts, own, mtu));
    let (client, server) = (client.await?, server.await?);
    Ok(Ends {
        client,
        server,
        address: plain_address(1, POD).addr(),
    })
}

async fn vxlan_pod(hosts: &[Host; 2], own: u8, mtu: u32) -> Result<Namespace, Error> {
    let (host, other) = (&hosts[usize::from(own)], &hosts[usize::from(1 - own)]);
    let netlink = Netlink::open_in(&host.namespace)?;
    let tunnel = netlink
        .create_vxlan("bench-vxlan", VNI, PORT, host.underlay, mtu)
        .await?;
    netlink
        .add_fdb(tunnel.index, [0; 6], other.underlay)
        .await?;
    netlink
        .add_fdb(tunnel.index, vxlan_mac(1 - own), other.underlay)
        .await?;

    netlink.create_bridge("bench-bridge", None, mtu).await?;
    let bridge = index(&netlink, "bench-bridge").await?;
    let pod = pod(&netlink, &host.vxlan_pod, "bench-v", mtu).await?;
    pod.netlink.set_mac(pod.index, vxlan_mac(own)).await?;
    pod.netlink
        .add_address(pod.index, vxlan_address(own).into())
        .await?;
    pod.netlink.set_up(pod.index).await?;
    for port in [tunnel.index, pod.host_index] {
        netlink.set_master(port, Some(bridge)).await?;
        netlink.set_up(port).await?;
    }
    netlink.set_up(bridge).await?;
    Ok(pod.namespace)
}

async fn plain_pod(hosts: &[Host; 2], own: u8, mtu: u32) -> Result<Namespace, Error> {
    let (host, other) = (&hosts[usize::from(own)], &hosts[usize::from(1 - own)]);
    host.namespace
        .run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
        .map_err(Error::Forwarding)?;
    let netlink = Netlink::open_in(&host.namespace)?;
    let pod = pod(&netlink, &host.plain_pod, "bench-p", mtu).await?;
    netlink
        .add_address(pod.host_index, plain_address(own, GATEWAY).into())
        .await?;
    netlink.set_up(pod.host_index).await?;
    pod.netlink
        .add_address(pod.index, plain_address(own, POD).into())
        .await?;
    pod.netlink.set_up(pod.index).await?;

    let everything = IpNet::V4(Ipv4Net::default());
    let gateway = plain_address(own, GATEWAY).addr();
    pod.netlink
        .add_route(&Route::via(everything, gateway.into(), pod.index))
        .await?;
    let device = underlay_device(&netlink, host.underlay).await?;
    let beyond = IpNet::V4(plain_address(1 - own, POD).trunc());
    netlink
        .add_route(&Route::via(beyond, other.underlay.into(), device))
        .await?;
    Ok(pod.namespace)
}

/// A pod with an interface that has neither address nor state yet.
struct Pod {
    namespace: Namespace,
    netlink: Netlink,
    index: u32,
    host_index: u32,
}

async fn pod(host: &Netlink, name: &str, interface: &str, mtu: u32) -> Result<Pod, Error> {
    let namespace = Namespace::create_named(name)?;
    host.create_veth_into(interface, "eth0", &namespace, mtu)
        .await?;
    let netlink = Netlink::open_in(&namespace)?;
    netlink.set_up(index(&netlink, "lo").await?).await?;
    let (index, host_index) = (
        index(&netlink, "eth0").await?,
        index(host, interface).await?,
    );
    Ok(Pod {
        namespace,
        netlink,
        index,
        host_index,
    })
}

async fn index(netlink: &Netlink, name: &str) -> Result<u32, Error> {
    let link = netlink.link_by_name(name).await?;
    Ok(link.ok_or_else(|| Error::Missing(name.to_owned()))?.index)
}

async fn underlay_device(netlink: &Netlink, address: Ipv4Addr) -> Result<u32, Error> {
    for link in netlink.links().await? {
        if netlink
            .addresses(link.index)
            .await?
            .iter()
            .any(|net| net.addr() == address)
        {
            return Ok(link.index);
        }
    }
    Err(Error::NoUnderlay(address))
}

/// Address of the pod on host `host` of the VXLAN path (a documentation network, RFC 5737: the lab
/// uses it for nothing else).
fn vxlan_address(host: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 1 + host), 24)
}

/// Address on the link of the pod on host `host` of the routed path, of another documentation
/// network of which each host has one half.
fn plain_address(host: u8, side: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 128 * host + side), 25)
}

/// Link address of the pod on host `host` of the VXLAN path, fixed so that entries for it can be.
fn vxlan_mac(host: u8) -> [u8; 6] {
    [0x02, 0, 0, 0x19, 0, host + 1]
}

/// The host's side of a routed pod's link.
const GATEWAY: u8 = 1;

/// The pod's side of its link.
const POD: u8 = 2;

/// Network of the VXLAN path; it has a port of its own, so any number will do.
const VNI: u32 = 4711;

/// UDP port of the VXLAN path: not the overlay's.
const PORT: u16 = 8472;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::load::{Placement, Span};
    use super::super::measure::Gathered;
    use super::super::plan::Measurement;
    use super::*;

    const PREFIX: &str = "weave-bench-test-";

    /// Two hosts joined by a veth pair; removed, with all pods, when dropped.
    struct Lab {
        hosts: [Host; 2],
    }

    impl Lab {
        async fn new() -> Self {
            sweep();
            let hosts = [0, 1].map(|own: u8| Host {
                namespace: Namespace::create_named(&format!("{PREFIX}host-{own}")).unwrap(),
                underlay: Ipv4Addr::new(10, 99, 0, own + 1),
                vxlan_pod: format!("{PREFIX}vxlan-{own}"),
                plain_pod: format!("{PREFIX}plain-{own}"),
            });
            let netlink = Netlink::open_in(&hosts[0].namespace).unwrap();
            netlink
                .create_veth_into("eth0", "eth0", &hosts[1].namespace, 1500)
                .await
                .unwrap();
            for host in &hosts {
                let netlink = Netlink::open_in(&host.namespace).unwrap();
                let eth0 = index(&netlink, "eth0").await.unwrap();
                let address = Ipv4Net::new(host.underlay, 24).unwrap();
                netlink.add_address(eth0, address.into()).await.unwrap();
                netlink.set_up(eth0).await.unwrap();
            }
            Self { hosts }
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            sweep();
        }
    }

    fn sweep() {
        for name in netns::list_named().unwrap() {
            if name.starts_with(PREFIX) {
                Namespace::delete_named(&name).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn every_measurement_works_on_both_paths() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let lab = Lab::new().await;
        let vxlan = vxlan(&lab.hosts, 1376).await.unwrap();
        let plain = plain(&lab.hosts, 1376).await.unwrap();

        let placement = Placement::of_this_process().unwrap();
        let span = Span {
            warm_up: Duration::from_millis(20),
            window: Duration::from_millis(100),
        };
        for (name, ends) in [("vxlan", &vxlan), ("plain", &plain)] {
            for measurement in Measurement::ALL {
                let mut gathered = Gathered::default();
                gathered
                    .add(ends, measurement, &placement, span)
                    .unwrap_or_else(|error| panic!("{name}, {measurement}: {error}"));
                let metrics = gathered.metrics(measurement);
                assert!(!metrics.is_empty(), "{name}, {measurement}");
                assert!(
                    metrics.iter().all(|(_, value)| *value > 0.0),
                    "{name} {metrics:?}"
                );
            }
        }
        assert_eq!(crossed_the_tunnel(&lab.hosts[0]), Some(true));
    }

    /// Whether the VXLAN device of a host has sent anything.
    fn crossed_the_tunnel(host: &Host) -> Option<bool> {
        let table = host
            .namespace
            .run(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
        let table = table.ok()?.ok()?;
        let line = table
            .lines()
            .find(|line| line.trim_start().starts_with("bench-vxlan:"))?;
        let sent: u64 = line.split_whitespace().nth(10)?.parse().ok()?;
        Some(sent > 0)
    }
}
