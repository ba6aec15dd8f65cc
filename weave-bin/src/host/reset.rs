//! Removing every trace of the pod network from this host.
//!
//! Invariant: what cannot be removed does not keep the rest from being removed, and is told.

use std::path::Path;

use weave_datapath::leftover;
use weave_datapath::netlink::{Link, Netlink};
use weave_npc::netlink::{Keeper, Nft};
use weave_npc::ruleset::{Family, Name, TableId};

use super::backend::Backend;
use super::foreign::{Foreign, Forward};
use super::old::{self, Part};
use super::table;

/// What was removed, and what could not be, both in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is gone.
    pub done: Vec<String>,
    /// What is left, and why.
    pub left: Vec<String>,
}

impl Removed {
    /// Notes the outcome of one removal; `None` is nothing to remove.
    pub fn note<E: std::fmt::Display>(&mut self, what: &str, outcome: Result<bool, E>) {
        match outcome {
            Ok(true) => self.done.push(what.to_owned()),
            Ok(false) => {}
            Err(error) => self.left.push(format!("{what}: {error}")),
        }
    }
}

/// How much of it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every trace.
    All,
    /// The bridge and what joins it to other hosts: a Weave Net that is started then makes its own.
    /// Rules and the interfaces of pods stay.
    Bridge,
}

/// Removes rules, links and kernel programs of ours and of a Weave Net; the daemon must not run.
pub async fn remove(bridge: &str, bpf_dir: &Path, extent: Extent) -> Removed {
    let mut removed = Removed::default();
    if extent == Extent::All {
        remove_rules(bridge, &mut removed);
        for (name, outcome) in old::destroy_sets(Part::All) {
            removed.note(&format!("IP set {name}"), outcome);
        }
    }
    match Netlink::open() {
        Ok(netlink) => {
            remove_programs(&netlink, bpf_dir, &mut removed).await;
            remove_links(&netlink, bridge, extent, &mut removed).await;
        }
        Err(error) => removed.left.push(format!("links: {error}")),
    }
    removed
}

fn remove_rules(bridge: &str, removed: &mut Removed) {
    let policies = Name::new("weave-npc").expect("invariant: a name");
    let (guard, _) = weave_npc::compile::guard([]);
    for id in [table::id(), TableId::new(Family::Inet, policies), guard] {
        let what = format!("table {id}");
        let outcome = Nft::open().and_then(|nft| Keeper::new(nft, id).remove());
        removed.note(&what, outcome.map(|report| report.changes > 0));
    }
    let mut foreign = match Foreign::open() {
        Ok(foreign) => foreign,
        Err(error) => return removed.left.push(format!("iptables rules: {error}")),
    };
    for backend in [Backend::Nft, Backend::Legacy] {
        for (family, of) in [(Family::Ip, ""), (Family::Ip6, " of IPv6")] {
            let accepts = foreign.ensure(backend, family, &[]);
            let what = format!("accepts in FORWARD{of} ({backend})");
            removed.note(&what, accepts.map(|done| done == Forward::Written));
        }
        let old = foreign.remove_old(backend, bridge, Part::All);
        let what = format!("iptables rules of Weave Net ({backend})");
        removed.note(&what, old.map(|count| count > 0));
    }
}

#[cfg(feature = "bpf")]
async fn remove_programs(netlink: &Netlink, dir: &Path, removed: &mut Removed) {
    use weave_datapath::bpf;

    if !dir.exists() {
        return;
    }
    let config = bpf::Config::new(dir, "vethwe-datapath");
    let outcome = bpf::remove(&config, netlink).await;
    let what = format!("kernel programs in {}", dir.display());
    removed.note(&what, outcome.map(|()| true));
}

#[cfg(not(feature = "bpf"))]
async fn remove_programs(_: &Netlink, _: &Path, _: &mut Removed) {}

async fn remove_links(netlink: &Netlink, bridge: &str, extent: Extent, removed: &mut Removed) {
    let links = match netlink.links().await {
        Ok(links) => links,
        Err(error) => return removed.left.push(format!("links: {error}")),
    };
    let index = links.iter().find(|link| link.name == bridge);
    let index = index.map(|link| link.index);
    let goes = |link: &&Link| {
        is_weave(link, bridge, index) && (extent == Extent::All || !is_of_pod(&link.name))
    };
    for link in links.iter().filter(goes) {
        let what = format!("interface {}", link.name);
        if link.is_kind("openvswitch") {
            removed.note(&what, leftover::delete_datapath(&link.name));
            continue;
        }
        let outcome = match netlink.delete_link(link.index).await {
            // Its other end was deleted before, and took it along.
            Err(error) if error.is_missing() => Ok(true),
            other => other.map(|()| true),
        };
        removed.note(&what, outcome);
    }
}

/// Whether a link is one that we or a Weave Net made: the bridge, what has `vethwe` in its name, what
/// the Docker plugin joined to the bridge, the tunnel, and the Open vSwitch data path.
fn is_weave(link: &Link, bridge: &str, index: Option<u32>) -> bool {
    let is_port = index.is_some() && link.master == index;
    let by_name = link.name.contains("vethwe");
    let is_bridge = link.name == bridge && (link.is_kind("bridge") || link.is_kind("openvswitch"));
    let is_docker = is_port && link.name.starts_with("vethwl");
    let is_tunnel = is_port && link.is_kind("vxlan");
    let is_datapath = link.name == "datapath" && link.is_kind("openvswitch");
    by_name || is_bridge || is_docker || is_tunnel || is_datapath
}

/// Whether a link is the host's end of a pod's interface: of CNI or docker attach, or of the Docker
/// plugin.
fn is_of_pod(name: &str) -> bool {
    name.starts_with("vethwepl") || name.starts_with("vethwl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, kind: &str, master: Option<u32>) -> Link {
        let mut link = Link::default();
        link.name = name.to_owned();
        link.kind = Some(kind.to_owned());
        link.master = master;
        link
    }

    #[test]
    fn only_links_of_weave_go() {
        let goes =
            |name: &str, kind: &str, master| is_weave(&link(name, kind, master), "weave", Some(7));

        assert!(goes("weave", "bridge", None));
        assert!(goes("vethwepl1234567", "veth", Some(7)));
        assert!(goes("vethwe-sleeve", "tun", None));
        assert!(goes("vethwl123456789", "veth", Some(7)));
        assert!(goes("vxlan-6784", "vxlan", Some(7)));
        assert!(goes("datapath", "openvswitch", None));
        assert!(!goes("weave", "veth", None));
        assert!(!goes("eth0", "veth", Some(7)));
        assert!(!goes("flannel.1", "vxlan", None));
        assert!(!goes("vethwl123456789", "veth", Some(9)));
        assert!(!goes("datapath", "veth", None));
    }
}
