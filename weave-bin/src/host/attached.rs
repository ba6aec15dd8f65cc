//! Who is on the bridge: pods and namespaces, seen from this host.
//!
//! A pair of interfaces has one end on the bridge and one in another namespace. The namespaces of all
//! processes and all named ones are looked into for that other end, so no container runtime is asked. It
//! needs the rights of root; a namespace that may not be entered or goes meanwhile is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use ipnet::IpNet;
use weave_datapath::attach::host_names;
use weave_datapath::netlink::{self, Link, Netlink};
use weave_datapath::netns::{self, Namespace};

/// An interface whose other end is on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Who it was made for, when the end on the bridge says so.
    pub id: Option<String>,
    /// Name of the end on the bridge.
    pub host: String,
    /// Hardware address of the interface.
    pub mac: Option<[u8; 6]>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// A process in its namespace, when there is one.
    pub process: Option<i32>,
}

impl Attached {
    /// Whether it was made for `id`: by what it says, or by its name, as a Weave Net's.
    pub fn is_of(&self, id: &str) -> bool {
        match &self.id {
            Some(own) => own == id,
            None => host_names(id).any(|name| name == self.host),
        }
    }
}

/// Everything on the bridge called `bridge`, by the name of the end on it; nothing without a bridge.
///
/// # Errors
/// The links of this host cannot be read.
pub async fn attached(bridge: &str) -> Result<Vec<Attached>, netlink::Error> {
    let netlink = Netlink::open()?;
    let links = netlink.links().await?;
    let Some(bridge) = links.iter().find(|link| link.name == bridge) else {
        return Ok(Vec::new());
    };
    let ports: Vec<&Link> = links
        .iter()
        .filter(|link| link.master == Some(bridge.index) && link.is_kind("veth"))
        .filter(|link| link.peer_elsewhere() && link.peer_index.is_some())
        .collect();
    let mut found = BTreeMap::new();
    for (path, process) in namespaces() {
        if found.len() == ports.len() {
            break;
        }
        // Namespaces come and go while this looks.
        let Ok(inside) = look(&netlink, path, &ports, process).await else {
            continue;
        };
        for one in inside {
            found.entry(one.host.clone()).or_insert(one);
        }
    }
    Ok(found.into_values().collect())
}

/// The namespaces of processes and the named ones, each once, but for our own.
fn namespaces() -> Vec<(PathBuf, Option<i32>)> {
    let inode = |path: &PathBuf| fs::metadata(path).ok().map(|found| found.ino());
    let mut seen: BTreeSet<u64> = inode(&"/proc/self/ns/net".into()).into_iter().collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes: Vec<i32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    processes.sort_unstable();
    let of_processes = processes.into_iter().map(|process| {
        (
            PathBuf::from(format!("/proc/{process}/ns/net")),
            Some(process),
        )
    });
    let named = netns::list_named().unwrap_or_default();
    let named = named
        .into_iter()
        .map(|name| (netns::named_path(&name), None));
    of_processes
        .chain(named)
        .filter(|(path, _)| inode(path).is_some_and(|inode| seen.insert(inode)))
        .collect()
}

async fn look(
    host: &Netlink,
    path: PathBuf,
    ports: &[&Link],
    process: Option<i32>,
) -> Result<Vec<Attached>, Box<dyn std::error::Error>> {
    let namespace = Namespace::open(path)?;
    let mut found = Vec::new();
    let Some(id) = host.namespace_id(&namespace).await? else {
        return Ok(found);
    };
    // An index means an interface within its namespace only.
    let ports = ports.iter().filter(|port| port.peer_namespace == Some(id));
    let ports: BTreeMap<_, _> = ports.map(|port| (port.peer_index, port)).collect();
    if ports.is_empty() {
        return Ok(found);
    }
    let netlink = Netlink::open_in(&namespace)?;
    for link in netlink.links().await? {
        let Some(port) = ports.get(&Some(link.index)) else {
            continue;
        };
        found.push(Attached {
            id: port.alias.clone().filter(|alias| !alias.is_empty()),
            host: port.name.clone(),
            mac: link.mac,
            addresses: netlink.addresses(link.index).await?,
            process,
        });
    }
    Ok(found)
}
