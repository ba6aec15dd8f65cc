//! The host's own place in the network: the bridge, and addresses on it.
//!
//! Invariant: nothing here takes a working interface down. A daemon that stops leaves everything
//! in place, and one that starts adopts what it finds.

use std::io;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_datapath::bridge;
use weave_datapath::leftover;
use weave_datapath::netcheck;
use weave_datapath::netlink::{Link, Netlink};
use weave_mesh::peer::PeerName;

use crate::args::daemon::Settings;
use crate::host::wanted::Wanted;
use crate::host::{self, Firewall, FirewallError, Task};

/// The bridge and the kernel connection to change it; or nothing, for a peer without a network.
#[derive(Debug, Clone)]
pub struct Host(Option<Plumbing>);

#[derive(Debug, Clone)]
struct Plumbing {
    netlink: Netlink,
    bridge: String,
    firewall: Option<Firewall>,
    /// Whether the bridge gets IPv6 addresses.
    has_ipv6: bool,
}

/// Why the host cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The daemon runs without a bridge.
    #[error("this peer has no bridge")]
    NoBridge,
    /// The kernel refused. The text names object and operation.
    #[error(transparent)]
    Netlink(#[from] weave_datapath::netlink::Error),
    /// The bridge could not be made as it should be.
    #[error(transparent)]
    Bridge(#[from] bridge::Error),
    /// The address is on the bridge, or off it, but the rules do not say so.
    #[error("the packet filter: {0}")]
    Firewall(#[from] FirewallError),
    /// The address is on the bridge, but nobody was told.
    #[error("cannot announce {address}: {source}")]
    Announce {
        /// The address.
        address: IpNet,
        /// What the system said.
        source: io::Error,
    },
    /// Pods hang on an Open vSwitch data path instead of a bridge. Nothing was changed.
    #[error(
        "interface {name} is an Open vSwitch data path with the pods on it: run \"weave reset\""
    )]
    IsDatapath {
        /// The interface.
        name: String,
    },
    /// The Open vSwitch data path cannot be removed. Nothing was changed.
    #[error(
        "cannot remove the Open vSwitch data path {DATAPATH} of Weave Net, run \"weave reset\": {source}"
    )]
    Datapath {
        /// What the system said.
        source: io::Error,
    },
    /// The range is in use by the host itself. Nothing was changed.
    #[error(
        "Network {range} overlaps with existing route {route} on host; \
         choose another --ipalloc-range"
    )]
    Overlap {
        /// The range.
        range: IpNet,
        /// The route.
        route: IpNet,
    },
}

impl Host {
    /// A peer without a bridge.
    pub fn none() -> Self {
        Self(None)
    }

    /// A host with the bridge called `bridge`, which need not exist yet.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open(bridge: &str) -> Result<Self, HostError> {
        let netlink = Netlink::open()?;
        Ok(Self(Some(Plumbing {
            netlink,
            bridge: bridge.to_owned(),
            firewall: None,
            has_ipv6: false,
        })))
    }

    /// Tells whether there is to be IPv6 on the bridge.
    pub fn set_ipv6(&mut self, on: bool) {
        if let Some(plumbing) = &mut self.0 {
            plumbing.has_ipv6 = on;
        }
    }

    /// The MAC of the bridge, when there is one.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub async fn bridge_mac(&self) -> Result<Option<[u8; 6]>, HostError> {
        let Some(plumbing) = &self.0 else {
            return Ok(None);
        };
        let link = plumbing.netlink.link_by_name(&plumbing.bridge).await?;
        Ok(link.and_then(|link| link.mac))
    }

    /// The addresses on the bridge, but for link-local ones.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub async fn addresses(&self) -> Result<Vec<IpNet>, HostError> {
        let Some(plumbing) = &self.0 else {
            return Ok(Vec::new());
        };
        let Some(bridge) = plumbing.netlink.link_by_name(&plumbing.bridge).await? else {
            return Ok(Vec::new());
        };
        let mut addresses = plumbing.netlink.addresses(bridge.index).await?;
        addresses.retain(|address| match address {
            IpNet::V4(v4) => !v4.addr().is_link_local(),
            IpNet::V6(v6) => !v6.addr().is_unicast_link_local(),
        });
        Ok(addresses)
    }

    /// Checks that `range` is not routed elsewhere on this host.
    ///
    /// # Errors
    /// [`HostError::Overlap`], naming the route; or the kernel does not answer.
    pub async fn check_range(&self, range: IpNet) -> Result<(), HostError> {
        let Some(plumbing) = &self.0 else {
            return Ok(());
        };
        let bridge = plumbing.netlink.link_by_name(&plumbing.bridge).await?;
        let ours: Vec<u32> = bridge.iter().map(|link| link.index).collect();
        let routes = plumbing.netlink.routes().await?;
        match netcheck::overlaps(range, &routes, &ours) {
            Some(route) => Err(HostError::Overlap {
                range,
                route: route.dst,
            }),
            None => Ok(()),
        }
    }

    /// Makes the bridge and its pair as they should be, keeping what is there.
    ///
    /// # Errors
    /// The kernel refused, or an interface of that name is something else.
    pub async fn ensure_bridge(&self, name: PeerName, mtu: u16) -> Result<(), HostError> {
        let Some(plumbing) = &self.0 else {
            return Ok(());
        };
        let config = plumbing.bridge_config(name, mtu);
        plumbing.replace_open_vswitch().await?;
        let bridge = bridge::ensure(&config).await?;
        let state = if bridge.changes.is_empty() {
            "found"
        } else {
            "made"
        };
        info!(
            "Bridge {} {state} with MAC {name} and MTU {mtu}",
            plumbing.bridge
        );
        Ok(())
    }

    /// Writes the rules of the packet filter, and gives the task that keeps them and the bridge.
    /// `None`: there is no bridge, or the kernel has no packet filter; then pods reach each other, and
    /// nothing else is done for them.
    pub async fn start_firewall(
        &mut self,
        settings: &Settings,
        name: PeerName,
        stop: CancellationToken,
    ) -> Result<Option<Task>, HostError> {
        let addresses = self.addresses().await?;
        let Some(plumbing) = &mut self.0 else {
            return Ok(None);
        };
        let mut wanted = Wanted::new(&plumbing.bridge);
        wanted.control = settings.control_on_loopback();
        wanted.exposed = addresses.into_iter().map(|one| (one, true)).collect();
        wanted.keep_local = settings.keep_local;
        wanted.expects_policy = settings.expects_policy;
        wanted.untracked = settings.tunnel_port();
        let config = plumbing.bridge_config(name, settings.mtu);
        let netlink = plumbing.netlink.clone();
        let started = host::start(wanted, settings.iptables, config, netlink, stop).await;
        match started {
            Ok((firewall, task)) => {
                plumbing.firewall = Some(firewall);
                Ok(Some(task))
            }
            Err(error) => {
                warn!("no packet filter, so nothing is masqueraded or protected: {error}");
                Ok(None)
            }
        }
    }

    /// The packet filter, when there is one.
    pub fn firewall(&self) -> Option<&Firewall> {
        self.0.as_ref()?.firewall.as_ref()
    }

    /// Puts `address` on the bridge, makes the rules for it and announces it. Repeating is harmless.
    ///
    /// # Errors
    /// There is no bridge, or the kernel refused.
    pub async fn expose(&self, address: IpNet, masquerade: bool) -> Result<(), HostError> {
        let plumbing = self.0.as_ref().ok_or(HostError::NoBridge)?;
        let link = plumbing.netlink.require_link(&plumbing.bridge).await?;
        plumbing.netlink.add_address(link.index, address).await?;
        if let Some(firewall) = &plumbing.firewall {
            firewall.expose(address, masquerade).await?;
        }
        let mac = link.mac.unwrap_or_default();
        weave_datapath::arp::announce(link.index, mac, &[address.addr()])
            .map_err(|source| HostError::Announce { address, source })
    }

    /// Takes `address` off the bridge, and its rules away. Repeating is harmless.
    ///
    /// # Errors
    /// There is no bridge, or the kernel refused.
    pub async fn hide(&self, address: IpNet) -> Result<(), HostError> {
        let plumbing = self.0.as_ref().ok_or(HostError::NoBridge)?;
        let link = plumbing.netlink.require_link(&plumbing.bridge).await?;
        if let Some(firewall) = &plumbing.firewall {
            firewall.hide(address).await?;
        }
        plumbing.netlink.delete_address(link.index, address).await?;
        Ok(())
    }

    /// Sets the MTU of the bridge, from which pods take theirs.
    ///
    /// # Errors
    /// There is no bridge, or the kernel refused.
    pub async fn set_mtu(&self, mtu: u16) -> Result<(), HostError> {
        let plumbing = self.0.as_ref().ok_or(HostError::NoBridge)?;
        let link = plumbing.netlink.require_link(&plumbing.bridge).await?;
        if link.mtu != u32::from(mtu) {
            plumbing.netlink.set_mtu(link.index, mtu.into()).await?;
        }
        Ok(())
    }

    /// The kernel connection, when there is a bridge.
    pub fn netlink(&self) -> Option<&Netlink> {
        self.0.as_ref().map(|plumbing| &plumbing.netlink)
    }
}

impl Plumbing {
    /// Takes the Open vSwitch data path of a Weave Net off the host: two cannot have one UDP port, and
    /// its end of the pair becomes ours. Pods keep the bridge.
    async fn replace_open_vswitch(&self) -> Result<(), HostError> {
        let is_open_vswitch = |link: Option<Link>| link.is_some_and(|l| l.is_kind("openvswitch"));
        if is_open_vswitch(self.netlink.link_by_name(&self.bridge).await?) {
            let name = self.bridge.clone();
            return Err(HostError::IsDatapath { name });
        }
        if is_open_vswitch(self.netlink.link_by_name(DATAPATH).await?) {
            let deleted = leftover::delete_datapath(DATAPATH);
            deleted.map_err(|source| HostError::Datapath { source })?;
            info!(
                "Removed the Open vSwitch data path of Weave Net; going back to it needs a weave reset"
            );
        }
        Ok(())
    }

    fn bridge_config(&self, name: PeerName, mtu: u16) -> bridge::Config {
        bridge::Config::new(name.to_bytes(), u32::from(mtu))
            .name(&*self.bridge)
            .ipv6(self.has_ipv6)
    }
}

/// Name of the Open vSwitch data path of a Weave Net.
const DATAPATH: &str = "datapath";
