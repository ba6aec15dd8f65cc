//! The host's own place in the network: the bridge, and addresses on it.
//!
//! Invariant: nothing here takes a working interface down. A daemon that stops leaves everything
//! in place, and one that starts adopts what it finds.

use std::io;

use ipnet::IpNet;
use tracing::info;
use weave_datapath::bridge;
use weave_datapath::netcheck;
use weave_datapath::netlink::Netlink;
use weave_mesh::peer::PeerName;

/// The bridge and the kernel connection to change it; or nothing, for a peer without a network.
#[derive(Debug, Clone)]
pub struct Host(Option<Plumbing>);

#[derive(Debug, Clone)]
struct Plumbing {
    netlink: Netlink,
    bridge: String,
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
    /// The address is on the bridge, but nobody was told.
    #[error("cannot announce {address}: {source}")]
    Announce {
        /// The address.
        address: IpNet,
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
        })))
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
        let config = bridge::Config::new(name.to_bytes(), u32::from(mtu)).name(&*plumbing.bridge);
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

    /// Puts `address` on the bridge and announces it. Repeating is harmless.
    ///
    /// # Errors
    /// There is no bridge, or the kernel refused.
    pub async fn expose(&self, address: IpNet) -> Result<(), HostError> {
        let plumbing = self.0.as_ref().ok_or(HostError::NoBridge)?;
        let link = plumbing.netlink.require_link(&plumbing.bridge).await?;
        plumbing.netlink.add_address(link.index, address).await?;
        let mac = link.mac.unwrap_or_default();
        weave_datapath::arp::announce(link.index, mac, &[address.addr()])
            .map_err(|source| HostError::Announce { address, source })
    }

    /// Takes `address` off the bridge. Repeating is harmless.
    ///
    /// # Errors
    /// There is no bridge, or the kernel refused.
    pub async fn hide(&self, address: IpNet) -> Result<(), HostError> {
        let plumbing = self.0.as_ref().ok_or(HostError::NoBridge)?;
        let link = plumbing.netlink.require_link(&plumbing.bridge).await?;
        plumbing.netlink.delete_address(link.index, address).await?;
        Ok(())
    }

    /// The kernel connection, when there is a bridge.
    pub fn netlink(&self) -> Option<&Netlink> {
        self.0.as_ref().map(|plumbing| &plumbing.netlink)
    }
}
