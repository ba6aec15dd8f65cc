//! What is known of a host before anything is concluded from it.
//!
//! Invariant: every part may be missing, and says nothing then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::filter::Filter;
use crate::pods::Mark;
use crate::status::model::Report;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Version of the program that looked.
    pub version: String,
    /// Refusals before this moment are of the past; as the daemon writes moments.
    pub since: String,
    /// What the daemon of this host says.
    pub daemon: Daemon,
    /// Addresses the daemon gave out.
    pub owners: Vec<Owner>,
    /// Settings and abilities of the kernel.
    pub kernel: Kernel,
    /// Interfaces by name.
    pub links: Vec<Link>,
    /// Routes of the main table.
    pub routes: Vec<Route>,
    /// The packet filter; absent where it could not be read.
    pub filter: Option<Filter>,
    /// The file system of the state file.
    pub disk: Option<Disk>,
    /// Configurations of CNI plugins on this host, in the order that runtimes read them.
    pub plugins: Vec<Plugin>,
    /// Containers that runtimes have cached results of, by id; absent where there is no cache.
    pub cached: Option<BTreeMap<String, Cached>>,
    /// Attempts to reach the mesh ports of peers.
    pub dials: Vec<Dial>,
    /// What status pages of peers say.
    pub pages: Vec<Page>,
    /// The API server; absent outside a cluster.
    pub api: Option<Api>,
    /// What could not be looked at, and why, in words.
    pub unseen: Vec<String>,
}

impl Evidence {
    /// The daemon's report, when it answers.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        match &self.daemon {
            Daemon::Up(report) => Some(report),
            Daemon::Down { .. } | Daemon::Unknown => None,
        }
    }

    /// The name of the bridge.
    #[must_use]
    pub fn bridge(&self) -> &str {
        let node = self.report().and_then(|report| report.node.as_ref());
        node.map_or("weave", |node| &node.bridge)
    }

    /// The interface called `name`.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Whether this host is in a cluster.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.api.is_some() || self.report().is_some_and(|report| report.cluster.is_some())
    }
}

/// What the daemon says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Daemon {
    /// Its report.
    Up(Box<Report>),
    /// It does not answer.
    Down {
        /// Where it was asked.
        address: String,
        /// What came instead.
        reason: String,
    },
    /// It was not asked.
    #[default]
    Unknown,
}

/// A holder of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Who.
    pub id: String,
    /// Its addresses with the lengths of their subnets.
    pub addresses: Vec<IpNet>,
    /// The plugin that asked for it, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// Settings and abilities of the kernel, as the files of `/proc/sys` have them; absent: no such file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    /// `net.ipv4.ip_forward`.
    pub forward: Option<u32>,
    /// `net.ipv6.conf.all.forwarding`.
    pub forward6: Option<u32>,
    /// `net.ipv6.conf.all.disable_ipv6`.
    pub no_ipv6: Option<u32>,
    /// `net.bridge.bridge-nf-call-iptables`.
    pub bridge_calls: Option<u32>,
    /// What the fast overlay stands on and this kernel does not have, with its words.
    pub lacks: Vec<Lack>,
    /// Why the kernel's packet filter cannot be used at all.
    pub no_filter: Option<String>,
}

/// A part of the kernel that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// What it is called.
    pub part: String,
    /// What was said when it was tried.
    pub reason: String,
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its driver, such as `bridge` or `veth`; physical ones have none.
    pub kind: Option<String>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// Whom it was made for, when it says so.
    pub alias: Option<String>,
    /// Addresses of the interface at the other end, where that was found in another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Vec<IpNet>>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub to: IpNet,
    /// The next hop, if there is one.
    pub via: Option<IpAddr>,
    /// The interface, if it is one.
    pub dev: Option<String>,
}

/// The file system that the state file is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The directory.
    pub directory: String,
    /// Bytes that may still be written.
    pub free: u64,
    /// Files that may still be made; absent where the file system does not count them.
    pub files: Option<u64>,
    /// Whether it is mounted for reading only.
    pub read_only: bool,
}

/// A configuration of a CNI plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The file.
    pub file: String,
    /// The kinds of plugins it calls, in order.
    pub kinds: Vec<String>,
}

impl Plugin {
    /// Whether it is a Weave network's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.kinds.iter().any(|kind| kind == "weave-net")
    }
}

/// What a runtime keeps of an ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// The network of the configuration.
    pub network: String,
    /// `NAMESPACE/POD` where the runtime told.
    pub pod: Option<String>,
    /// The addresses of the result.
    pub addresses: Vec<IpNet>,
}

/// An attempt to reach a peer's mesh port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// Address and port.
    pub address: String,
    /// What came of it.
    pub outcome: Reach,
}

/// What came of an attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// A connection.
    Open,
    /// The host is there, and says that nobody listens.
    Refused,
    /// Nothing.
    Silent,
    /// A reason, in the words of the system.
    Failed(String),
}

/// What a peer's status page says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The peer's address.
    pub address: IpAddr,
    /// Its version.
    pub version: Option<String>,
    /// Seconds that its clock is before ours; negative: behind.
    pub ahead: Option<i64>,
}

/// The cluster's API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Api {
    /// Its address and port.
    pub address: String,
    /// What came of an attempt to connect.
    pub outcome: Reach,
}
