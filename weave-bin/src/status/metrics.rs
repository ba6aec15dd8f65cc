//! The report as metrics, in the text exposition format 0.0.4.
//!
//! Names, help texts and the spelling of numbers are Weave Net's, because alert rules and
//! dashboards go by them. A family is only there when the thing it measures is.

use std::collections::{BTreeMap, BTreeSet};

use super::dns;
use super::model::{Host, Ipam, Report, Router};
use super::page::{Page, number};
use super::process::Process;
use super::traffic;
use crate::kube::state::Cluster;
use crate::pods::Counts;

/// The kind of answer this is, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every family there is a value for.
pub fn page(report: &Report) -> String {
    let mut page = Page::default();
    build(&mut page, "weave_build_info", &report.version);
    traffic::connections(&mut page, &report.router);
    addresses(&mut page, report.ipam.as_ref(), report.ipam6.as_ref());
    if let Some(names) = &report.dns {
        dns::measures(&mut page, names, &report.router.name);
    }
    if let Some(pods) = &report.pods {
        given_back(&mut page, pods);
    }
    traffic::overlays(&mut page, &report.router);
    mesh(&mut page, &report.router);
    repairs(&mut page, report);
    if let Some(cluster) = &report.cluster {
        nodes(&mut page, cluster);
    }
    if let Some(process) = Process::read() {
        process.write(&mut page);
    }
    page.into_text()
}

/// Which program this is.
pub(crate) fn build(page: &mut Page, name: &str, version: &str) {
    page.gauge(name, "1, with the version of the program.")
        .sample(&[("version", version)], 1);
}

/// The second family has the label `family="ipv6"`, the first is as ever.
fn addresses(page: &mut Page, first: Option<&Ipam>, second: Option<&Ipam>) {
    let Some(first) = first else {
        return;
    };
    let (values, others) = (gauges(first), second.map(gauges));
    for (index, (name, help, labels)) in GAUGES.iter().enumerate() {
        let mut family = page.gauge(name, help);
        family.part("", labels, number(values[index]));
        if let Some(others) = others {
            let labels = [labels, IPV6].concat();
            family.part("", &labels, number(others[index]));
        }
    }
    donations(page, first, second);
}

/// Space given to peers.
fn donations(page: &mut Page, first: &Ipam, second: Option<&Ipam>) {
    let Some(given) = &first.donated else {
        return;
    };
    let other = second.and_then(|ipam| ipam.donated.as_ref());
    let help = "Number of ranges given to peers that asked for space.";
    let mut family = page.counter("weave_ipam_donations_total", help);
    family.sample(&[], given.ranges);
    if let Some(other) = other {
        family.sample(IPV6, other.ranges);
    }
    let help = "Number of IP addresses given to peers that asked for space.";
    let mut family = page.counter("weave_ipam_donated_ips_total", help);
    family.part("", &[], number(large(given.addresses)));
    if let Some(other) = other {
        family.part("", IPV6, number(large(other.addresses)));
    }
}

/// The values of [`GAUGES`].
fn gauges(ipam: &Ipam) -> [f64; 8] {
    let unreachable = || ipam.entries.iter().filter(|entry| !entry.is_known_peer);
    let owners: BTreeSet<&str> = unreachable().map(|entry| entry.peer.as_str()).collect();
    let lost: u128 = unreachable().map(|entry| entry.size).sum();
    [
        float(ipam.pending_allocates.len()),
        float(ipam.pending_claims.len()),
        float(owners.len()),
        large(lost) / large(ipam.range_num_ips.max(1)) * 100.0,
        large(ipam.active_ips),
        large(ipam.range_num_ips),
        float(ipam.conflicts.len()),
        float(ipam.held.len()),
    ]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point numbers"
)]
fn large(count: u128) -> f64 {
    count as f64
}

/// Labels of a sample.
type Labels = &'static [(&'static str, &'static str)];

const IPV6: Labels = &[("family", "ipv6")];

/// Names, help texts and labels of families about addresses.
const GAUGES: [(&str, &str, Labels); 8] = [
    (
        "weave_ipam_pending_allocates",
        "Number of pending allocates.",
        &[],
    ),
    (
        "weave_ipam_pending_claims",
        "Number of pending claims.",
        &[],
    ),
    (
        "weave_ipam_unreachable_count",
        "Number of unreachable peers.",
        &[],
    ),
    (
        "weave_ipam_unreachable_percentage",
        "Percentage of IP addresses owned  by unreachable peers.",
        &[],
    ),
    (
        "weave_ips",
        "Number of IP addresses.",
        &[("state", "local-used")],
    ),
    (
        "weave_max_ips",
        "Size of IP address space used by allocator.",
        &[],
    ),
    (
        "weave_ipam_conflicts",
        "Number of statements of peers about addresses that cannot be true.",
        &[],
    ),
    (
        "weave_ipam_held_ranges",
        "Number of ranges of this peer that are not given at this time.",
        &[],
    ),
];

/// Weave Net has no such family: there a leak lasts until somebody looks.
fn given_back(page: &mut Page, pods: &Counts) {
    let help = "Number of containers whose IP addresses were freed without a DEL in time.";
    page.counter("weave_ips_given_back_total", help)
        .sample(&[("reason", "leaked")], pods.leaked)
        .sample(&[("reason", "replayed")], pods.replayed)
        .sample(&[("reason", "unlisted")], pods.collected);
}

/// Gossip, and what the mesh dropped or refused.
fn mesh(page: &mut Page, router: &Router) {
    let of =
        |page: &mut Page, name: &str, help: &str, value: fn(&super::model::Gossip) -> [u64; 2]| {
            let mut family = page.counter(name, help);
            for (channel, gossip) in &router.gossip {
                let [sent, received] = value(gossip);
                family
                    .sample(&[("channel", channel), ("direction", "sent")], sent)
                    .sample(&[("channel", channel), ("direction", "received")], received);
            }
        };
    if !router.gossip.is_empty() {
        let help = "Bytes of gossip messages.";
        of(page, "weave_gossip_bytes_total", help, |one| {
            [one.bytes_sent, one.bytes_received]
        });
        let help = "Number of gossip messages.";
        of(page, "weave_gossip_messages_total", help, |one| {
            [one.messages_sent, one.messages_received]
        });
    }
    let reasons = |page: &mut Page, name: &str, help: &str, counts: &BTreeMap<String, u64>| {
        if counts.is_empty() {
            return;
        }
        let mut family = page.counter(name, help);
        for (reason, count) in counts {
            family.sample(&[("reason", reason)], *count);
        }
    };
    let help = "Number of mesh messages that were not passed on, by reason.";
    let name = "weave_mesh_dropped_messages_total";
    reasons(page, name, help, &router.dropped_messages);
    let help = "Number of connections that were refused or broke, by reason.";
    let name = "weave_mesh_lost_connections_total";
    reasons(page, name, help, &router.lost_connections);
}

/// How often somebody changed what is ours, and it was put back.
fn repairs(page: &mut Page, report: &Report) {
    let Some(host) = &report.host else {
        return;
    };
    let Host {
        rule_repairs,
        link_repairs,
        faults,
        ..
    } = host;
    let help = "Number of times rules or devices that others had changed were put back.";
    let mut family = page.counter("weave_repairs_total", help);
    family
        .sample(&[("of", "rules")], *rule_repairs)
        .sample(&[("of", "bridge")], *link_repairs);
    if let Some(count) = traffic::counter(&report.router, "repairs") {
        family.sample(&[("of", "datapath")], count);
    }
    let help = "Number of things on the host that are wrong and could not be repaired.";
    page.gauge("weave_host_faults", help)
        .value(float(faults.len()));
}

/// The cluster side.
fn nodes(page: &mut Page, cluster: &Cluster) {
    let help =
        "Number of peers whose IP addresses this one took over because their nodes are gone.";
    page.counter("weave_kube_reclaimed_peers_total", help)
        .value(float(
            usize::try_from(cluster.reclaimed).unwrap_or(usize::MAX),
        ));
    for (name, help, value) in [
        (
            "weave_kube_lost_peers",
            "Number of peers whose nodes are gone and whose IP addresses are not yet taken over.",
            cluster.lost.len(),
        ),
        (
            "weave_kube_problems",
            "Number of things about the API server that do not work at this time.",
            cluster.problems.len(),
        ),
    ] {
        page.gauge(name, help).value(float(value));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point numbers"
)]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
