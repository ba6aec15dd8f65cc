//! What a caller asks for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Error;
use crate::{netlink, netns::Namespace};

/// A pod interface to set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// Container id: letter or digit first, then letters, digits, `_`, `.`, `-`; at most 255 bytes.
    pub container_id: String,
    /// The pod's network namespace.
    pub netns: Namespace,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// Bridge to attach to.
    pub bridge: String,
    /// Largest packet in bytes; `None` for the bridge's MTU.
    pub mtu: Option<u32>,
    /// Addresses of the pod, with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// Next hops of the routes that name none: the first of a route's family.
    pub gateways: Vec<IpAddr>,
    /// Routes of the pod.
    pub routes: Routes,
    /// Whether the bridge may send the pod's frames back to it (a pod reaching itself by a service).
    pub hairpin: bool,
}

/// Which routes a pod gets besides those of its subnets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Routes {
    /// A default route of each family that has a gateway.
    #[default]
    Default,
    /// Exactly these; an empty list means none at all.
    List(Vec<Route>),
}

/// A route in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; in a [`Request`], `None` stands for the gateway of its family. A next hop outside all subnets of
    /// the pod gets a route of its own first. In a plan, `None` means directly on the link.
    pub via: Option<IpAddr>,
}

impl Request {
    /// A request with the defaults of the CNI plugin: bridge `weave` and its MTU, a default route,
    /// hairpin on. Addresses and gateway are for the caller to fill in.
    #[must_use]
    pub fn new(
        container_id: impl Into<String>,
        netns: Namespace,
        ifname: impl Into<String>,
    ) -> Self {
        Self {
            container_id: container_id.into(),
            netns,
            ifname: ifname.into(),
            bridge: "weave".to_owned(),
            mtu: None,
            addresses: Vec::new(),
            gateways: Vec::new(),
            routes: Routes::Default,
            hairpin: true,
        }
    }

    /// Nothing in here can reach the kernel as something else than it was meant.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_container_id(&self.container_id)?;
        for name in [&self.ifname, &self.bridge] {
            check_name(name)?;
        }
        match self.mtu {
            Some(mtu) if !(68..=65535).contains(&mtu) => Err(Error::Mtu { mtu }),
            _ => Ok(()),
        }
    }

    /// The routes to set, in order: every next hop is reachable by what comes before it.
    pub(super) fn route_list(&self) -> Vec<Route> {
        let default = |via: IpAddr| Route {
            dst: default_of(via),
            via: Some(via),
        };
        let wanted: Vec<Route> = match &self.routes {
            Routes::Default => [true, false]
                .into_iter()
                .filter_map(|is_v4| self.gateway(is_v4))
                .map(default)
                .collect(),
            Routes::List(list) => list.iter().map(|route| self.with_gateway(*route)).collect(),
        };
        let mut routes: Vec<Route> = Vec::new();
        for route in wanted {
            if let Some(via) = route.via {
                let hop = Route {
                    dst: IpNet::from(via),
                    via: None,
                };
                let in_subnet = self.addresses.iter().any(|net| net.contains(&via));
                if !in_subnet && !routes.contains(&hop) {
                    routes.push(hop);
                }
            }
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        routes
    }

    fn with_gateway(&self, route: Route) -> Route {
        // The kernel refuses destinations with host bits set.
        Route {
            dst: route.dst.trunc(),
            via: route
                .via
                .or_else(|| self.gateway(route.dst.addr().is_ipv4())),
        }
    }

    fn gateway(&self, is_v4: bool) -> Option<IpAddr> {
        let mut gateways = self.gateways.iter();
        gateways.find(|via| via.is_ipv4() == is_v4).copied()
    }

    /// Whether the pod has IPv6 addresses.
    pub(super) fn has_v6(&self) -> bool {
        self.addresses.iter().any(|net| net.addr().is_ipv6())
    }
}

pub(super) fn check_container_id(id: &str) -> Result<(), Error> {
    let valid = id.len() <= ALIAS_LIMIT
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if valid {
        Ok(())
    } else {
        Err(Error::ContainerId { id: id.to_owned() })
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    if netlink::is_interface_name(name) {
        Ok(())
    } else {
        Err(Error::Name {
            name: name.to_owned(),
        })
    }
}

fn default_of(via: IpAddr) -> IpNet {
    let any: IpAddr = match via {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNet::new_assert(any, 0)
}

/// Longest interface alias in bytes (`IFALIASZ - 1`, `linux/if.h`).
const ALIAS_LIMIT: usize = 255;
