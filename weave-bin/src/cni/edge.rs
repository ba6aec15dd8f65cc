//! What the plugins touch on the host: namespaces, the bridge, the pair of interfaces.
//!
//! [`Edge`] has two implementations: [`Kernel`](super::kernel::Kernel), and a fake that keeps the same promises in
//! the tests. Nothing else in the plugins reaches the kernel.

use std::net::IpAddr;

use ipnet::IpNet;

use super::config::Route;

/// The host as the plugins see it.
pub(super) trait Edge {
    /// An open network namespace.
    type Netns;

    /// Opens the namespace at `path`. The error is the system's reason alone.
    fn open(&self, path: &str) -> Result<Self::Netns, String>;

    /// Whether `netns` is the one the plugin itself runs in.
    fn is_own(&self, netns: &Self::Netns) -> Result<bool, String>;

    /// The bridge called `name`, if there is one.
    async fn bridge(&self, name: &str) -> Result<Option<Bridge>, String>;

    /// Connects a pod. On failure nothing of it is left; an interface that is already there is
    /// completed instead.
    async fn attach(&self, wish: Wish<'_, Self::Netns>) -> Result<Attached, String>;

    /// The interface called `ifname` of a pod, if there is one; `bridge` is where its other end
    /// should be.
    async fn inspect(
        &self,
        netns: &Self::Netns,
        ifname: &str,
        bridge: &str,
    ) -> Result<Option<Seen>, String>;

    /// Removes the pair of `id`; whether there was one. Without `netns` only the host's side is
    /// looked for.
    async fn detach(
        &self,
        id: &str,
        netns: Option<Self::Netns>,
        ifname: &str,
    ) -> Result<bool, String>;
}

/// A bridge of this host.
#[derive(Debug, Clone)]
pub(super) struct Bridge {
    pub(super) addresses: Vec<IpNet>,
}

/// An interface of a pod.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) is_up: bool,
    pub(super) is_on_bridge: bool,
    pub(super) addresses: Vec<IpNet>,
    /// Where the pod's default routes through it lead.
    pub(super) default_routes: Vec<IpAddr>,
}

/// How a pod is to be connected.
#[derive(Debug)]
pub(super) struct Wish<'a, N> {
    pub(super) container_id: &'a str,
    pub(super) netns: N,
    pub(super) ifname: &'a str,
    pub(super) bridge: &'a str,
    /// `None` = the bridge's own.
    pub(super) mtu: Option<u32>,
    pub(super) addresses: Vec<IpNet>,
    /// At most one of each family.
    pub(super) gateways: Vec<IpAddr>,
    /// `None` = a default route through each gateway.
    pub(super) routes: Option<Vec<Route>>,
    pub(super) hairpin: bool,
}

/// The two ends of a pair.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) host: End,
    pub(super) pod: End,
    /// Bytes.
    pub(super) mtu: u32,
}

/// One end of a pair.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) name: String,
    pub(super) mac: String,
}
