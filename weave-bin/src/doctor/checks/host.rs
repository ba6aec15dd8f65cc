//! What the kernel must have and how it must be set.

use crate::doctor::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(forwarding(evidence));
    found.extend(ipv6(evidence));
    found.extend(bridge_calls(evidence));
    found.extend(abilities(evidence));
    found.extend(range(evidence));
    found.extend(bridge(evidence));
    found
}

fn forwarding(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    let families = [
        ("net.ipv4.ip_forward", evidence.kernel.forward, true),
        (
            "net.ipv6.conf.all.forwarding",
            evidence.kernel.forward6,
            evidence
                .report()
                .is_some_and(|report| report.ipam6.is_some()),
        ),
    ];
    for (name, value, is_used) in families {
        if is_used && value == Some(0) {
            let finding = Finding::error("forwarding", format!("{name} is 0"))
                .why("what pods send to other networks, and Services, end at this host")
                .fix(format!("sysctl -w {name}=1"));
            found.push(finding);
        }
    }
    found
}

fn ipv6(evidence: &Evidence) -> Option<Finding> {
    let left = evidence.report()?.left_out.as_ref()?;
    // IPv6 may be on again; the daemon looks when it starts.
    let restart = if evidence.is_in_cluster() {
        "kubectl -n kube-system rollout restart daemonset/weave-net"
    } else {
        "weave stop && weave launch"
    };
    let fix = if evidence.kernel.no_ipv6 == Some(0) {
        restart.to_owned()
    } else {
        format!("sysctl -w net.ipv6.conf.all.disable_ipv6=0 && {restart}")
    };
    let what = format!("the range {} is not used: {}", left.range, left.reason);
    let finding = Finding::warning("ipv6", what)
        .why("pods of this host get IPv4 addresses only, unlike those of others")
        .fix(fix);
    Some(finding)
}

fn bridge_calls(evidence: &Evidence) -> Option<Finding> {
    if !evidence.is_in_cluster() {
        return None;
    }
    let set = "sysctl -w net.bridge.bridge-nf-call-iptables=1";
    let (what, fix) = match evidence.kernel.bridge_calls {
        Some(0) => ("net.bridge.bridge-nf-call-iptables is 0", set.to_owned()),
        None => (
            "the kernel module br_netfilter is not loaded",
            format!("modprobe br_netfilter && {set}"),
        ),
        Some(_) => return None,
    };
    let finding = Finding::error("bridge-nf", what)
        .why("packets between pods of one host pass no policy and reach no Service")
        .fix(fix);
    Some(finding)
}

fn abilities(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(reason) = &evidence.kernel.no_filter {
        let finding = Finding::error("kernel", format!("nf_tables cannot be used: {reason}"))
            .why("nothing is masqueraded, exposed or protected, and no policy is enforced")
            .fix("modprobe nf_tables");
        found.push(finding);
    }
    for lack in &evidence.kernel.lacks {
        let what = format!("{} cannot be used: {}", lack.part, lack.reason);
        let fix = if lack.part.contains("VXLAN") {
            "modprobe vxlan"
        } else if lack.part.contains("file system") {
            "mount -t bpf bpf /sys/fs/bpf"
        } else {
            "uname -r"
        };
        let finding = Finding::warning("kernel", what)
            .why("frames cross in user space (sleeve), several times slower; Linux 5.19 has all of it")
            .fix(fix);
        found.push(finding);
    }
    found
}

fn range(evidence: &Evidence) -> Vec<Finding> {
    let Some(report) = evidence.report() else {
        return Vec::new();
    };
    let bridge = evidence.bridge();
    let mut found = Vec::new();
    for ipam in report.ipam.iter().chain(&report.ipam6) {
        let Ok(range) = ipam.range.parse::<ipnet::IpNet>() else {
            continue;
        };
        let clash = evidence.routes.iter().find(|route| {
            let overlaps = range.contains(&route.to) || route.to.contains(&range);
            let is_other = route.dev.as_deref() != Some(bridge);
            overlaps && is_other && route.to.prefix_len() > 0
        });
        let Some(route) = clash else {
            continue;
        };
        let dev = route.dev.as_ref().map(|dev| format!(" dev {dev}"));
        let dev = dev.unwrap_or_default();
        let what = format!(
            "{range} of the pods and the route {}{dev} overlap",
            route.to
        );
        let finding = Finding::error("range", what)
            .why("this host reaches only one of the two networks, and the daemon will not start again")
            .fix(format!("ip route delete {}{dev}", route.to));
        found.push(finding);
    }
    found
}

fn bridge(evidence: &Evidence) -> Option<Finding> {
    let report = evidence.report()?;
    let name = evidence.bridge();
    // Without a packet filter there is no bridge, or nobody could be asked.
    if report.host.is_none() || evidence.links.is_empty() {
        return None;
    }
    let what = match evidence.link(name) {
        None => format!("there is no interface {name}"),
        Some(link) if !link.up => format!("the interface {name} is down"),
        Some(_) => return None,
    };
    let finding = Finding::error("bridge", what)
        .why(
            "no pod of this host has a network; the daemon repairs this within seconds when it can",
        )
        .fix(format!(
            "ip link set {name} up || weave stop && weave launch"
        ));
    Some(finding)
}
