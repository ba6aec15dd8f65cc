//! What another network plugin left on this host.

use crate::doctor::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    OTHERS
        .iter()
        .filter_map(|other| found(evidence, other))
        .collect()
}

/// A plugin, and what it is known by.
struct Other {
    name: &'static str,
    /// Names of interfaces; `*` at the end stands for any rest.
    links: &'static [&'static str],
    /// Beginnings of names of chains.
    chains: &'static [&'static str],
}

const OTHERS: &[Other] = &[
    Other {
        name: "Flannel",
        links: &["flannel.*", "flannel-v6.*"],
        chains: &["FLANNEL-"],
    },
    Other {
        name: "Calico",
        links: &["cali*", "vxlan.calico"],
        chains: &["cali-"],
    },
    Other {
        name: "Cilium",
        links: &["cilium_*", "lxc_health"],
        chains: &["CILIUM_"],
    },
    Other {
        name: "kube-router",
        links: &["kube-bridge", "kube-dummy-if"],
        chains: &["KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-"],
    },
    Other {
        name: "Antrea",
        links: &["antrea-gw0", "antrea-tun0"],
        chains: &["ANTREA-"],
    },
    Other {
        name: "the bridge plugin",
        links: &["cni0", "cbr0"],
        chains: &[],
    },
];

fn found(evidence: &Evidence, other: &Other) -> Option<Finding> {
    let links: Vec<&str> = evidence
        .links
        .iter()
        .map(|link| link.name.as_str())
        .filter(|name| other.links.iter().any(|pattern| fits(pattern, name)))
        .collect();
    let chains: Vec<_> = evidence
        .filter
        .iter()
        .flat_map(|filter| &filter.chains)
        .filter(|chain| {
            other
                .chains
                .iter()
                .any(|start| chain.name.starts_with(start))
        })
        .collect();
    if links.is_empty() && chains.is_empty() {
        return None;
    }
    let mut shown: Vec<String> = Vec::new();
    let mut fixes: Vec<String> = Vec::new();
    for link in &links {
        shown.push(format!("the interface {link}"));
        fixes.push(format!("ip link delete {link}"));
    }
    if let Some(chain) = chains.first() {
        shown.push(match chains.len() {
            1 => format!("the chain {}", chain.name),
            count => format!("{count} chains such as {}", chain.name),
        });
    }
    let mut programs: Vec<&str> = chains.iter().map(|chain| chain.program()).collect();
    programs.sort_unstable();
    programs.dedup();
    for program in programs {
        let (save, restore) = (format!("{program}-save"), format!("{program}-restore"));
        let starts = other.chains.join("|");
        fixes.push(format!("{save} | grep -Ev '{starts}' | {restore}"));
    }
    let finding = Finding::warning(
        "foreign",
        format!("{} has left {}", other.name, shown.join(", ")),
    )
    .why("its interfaces and rules take packets of pods that are not its own any more")
    .fix(fixes.join(" && "));
    Some(finding)
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}
