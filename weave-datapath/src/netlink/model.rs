//! What netlink objects look like to the rest of the crate.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

/// A network interface as the kernel reports it (`RTM_NEWLINK`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Link {
    /// Interface index, unique within the namespace.
    pub index: u32,
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// Hardware address, when it is an Ethernet one.
    pub mac: Option<[u8; 6]>,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// Ready to carry packets (`IF_OPER_UP`): up, with carrier, queueing discipline in place.
    pub running: bool,
    /// Driver kind: `bridge`, `veth`, `vxlan`, …; physical devices have none.
    pub kind: Option<String>,
    /// Index of the bridge (or other master) this is a port of.
    pub master: Option<u32>,
    /// Index of the other end of a veth pair, within the namespace that end is in.
    pub peer_index: Option<u32>,
    /// The namespace that the other end of a veth pair is in, by the number this one gives it
    /// (`IFLA_LINK_NETNSID`); `None` when it is this one. See [`Netlink::namespace_id`].
    ///
    /// [`Netlink::namespace_id`]: super::Netlink::namespace_id
    pub peer_namespace: Option<i32>,
    /// Free text set by `ip link set alias`.
    pub alias: Option<String>,
    /// Root queueing discipline: `noqueue`, `noop` (down), `pfifo_fast`, …
    pub qdisc: Option<String>,
    /// Spanning tree runs on this bridge; `None` for other kinds.
    pub stp: Option<bool>,
    /// Hairpin flag of this bridge port; `None` when it is no port.
    pub hairpin: Option<bool>,
    /// Whether this bridge port gets broadcast, multicast or unknown unicast frames; `None` when it
    /// is no port.
    pub flood: Option<bool>,
}

impl Link {
    /// Whether the driver kind is `kind`.
    #[must_use]
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Whether the other end of a veth pair is in another namespace.
    #[must_use]
    pub fn peer_elsewhere(&self) -> bool {
        self.peer_namespace.is_some()
    }
}

/// A unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination; `0.0.0.0/0` or `::/0` for the default route.
    pub dst: IpNet,
    /// Next hop; `None` for a directly connected destination.
    pub via: Option<IpAddr>,
    /// Index of the outgoing interface; `None` for multipath routes.
    pub dev: Option<u32>,
    /// How far the destination is; IPv6 knows only [`Scope::Universe`].
    pub scope: Scope,
}

impl Route {
    /// A route to `dst` over a next hop.
    #[must_use]
    pub fn via(dst: IpNet, via: IpAddr, dev: u32) -> Self {
        Self {
            dst,
            via: Some(via),
            dev: Some(dev),
            scope: Scope::Universe,
        }
    }

    /// A route to destinations that are directly on the link.
    #[must_use]
    pub fn on_link(dst: IpNet, dev: u32) -> Self {
        Self {
            dst,
            via: None,
            dev: Some(dev),
            scope: Scope::Link,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = self.dev {
            write!(f, " dev {dev}")?;
        }
        Ok(())
    }
}

/// Distance of a route's destination (`rtnetlink(7)`, `rtm_scope`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Through a gateway.
    Universe,
    /// Directly on the link.
    Link,
    /// An address of this host.
    Host,
    /// Any other value.
    Other(u8),
}

/// A hardware address as people write it: `aa:bb:cc:dd:ee:ff`.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// Whether the kernel takes `name` as an interface name, and it cannot be confused with the
/// directories `all` and `default` beside the interfaces under `/proc/sys/net`.
///
/// Source: `dev_valid_name`, `net/core/dev.c`.
#[must_use]
pub fn is_interface_name(name: &str) -> bool {
    let reserved = [".", "..", "all", "default"].contains(&name);
    let forbidden =
        |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    !name.is_empty() && name.len() <= NAME_LIMIT && !reserved && !name.contains(forbidden)
}

/// Longest interface name in bytes (`IFNAMSIZ - 1`, `linux/if.h`).
pub const NAME_LIMIT: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_written_with_colons_and_leading_zeros() {
        assert_eq!(
            mac_text([0x02, 0, 0x0a, 0xff, 1, 0x10]),
            "02:00:0a:ff:01:10"
        );
    }

    #[test]
    fn interface_names_follow_the_kernel_and_avoid_sysctl_directories() {
        for good in ["eth0", "vethwepl1234567", "a.b", "x-1_y@z"] {
            assert!(is_interface_name(good), "{good:?}");
        }
        for bad in [
            "",
            "0123456789abcdef",
            "a/b",
            "a b",
            "a:b",
            "..",
            "all",
            "default",
            "a%d",
        ] {
            assert!(!is_interface_name(bad), "{bad:?}");
        }
    }
}
