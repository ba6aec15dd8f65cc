//! Metrics in the text exposition format 0.0.4.
//!
//! The two families of Weave Net's controller keep their names; labels are bounded.

use std::collections::BTreeMap;

use super::status::Status;
use crate::status::metrics;
use crate::status::page::Page;
use crate::status::process::Process;

/// The page. `blocked` counts connections by protocol and destination port.
pub(super) fn page(status: &Status, blocked: &BTreeMap<(String, String), u64>) -> String {
    let mut page = Page::default();
    metrics::build(&mut page, "weavenpc_build_info", &status.version);
    let help = "Connection attempts blocked by policy controller.";
    let mut family = page.counter("weavenpc_blocked_connections_total", help);
    for ((protocol, port), count) in blocked {
        family.sample(&[("dport", port), ("protocol", protocol)], *count);
    }
    let counts = &status.counts;
    let errors = counts.failed_commits + counts.source_errors;
    let counters = [
        (
            "weavenpc_policy_enforcement_errors",
            "Failures to take over objects or to bring rules into the kernel.",
            errors,
        ),
        (
            "weavenpc_events_total",
            "Events of the sources.",
            counts.events,
        ),
        (
            "weavenpc_commits_total",
            "Batches the kernel took.",
            counts.commits,
        ),
        (
            "weavenpc_failed_commits_total",
            "Batches the kernel refused; they are tried again.",
            counts.failed_commits,
        ),
        (
            "weavenpc_repairs_total",
            "Changes of others to our table that were undone.",
            counts.repairs,
        ),
        (
            "weavenpc_source_errors_total",
            "Times objects could not be read or watched.",
            counts.source_errors,
        ),
        (
            "weavenpc_cut_connections_total",
            "Connections cut because they lost permission.",
            counts.cut_connections,
        ),
        (
            "weavenpc_audited_connections_total",
            "Connections that policies in audit mode would have blocked.",
            counts.audited,
        ),
        (
            "weavenpc_log_suppressed_total",
            "Blocked packets not shown because their flow was shown a moment before.",
            counts.log_suppressed,
        ),
        (
            "weavenpc_log_passed_over_total",
            "Blocked packets that open no connection or cannot be read.",
            counts.log_passed_over,
        ),
        (
            "weavenpc_log_lost_total",
            "Blocked packets that the kernel logged and nobody read.",
            counts.log_lost,
        ),
    ];
    for (name, help, value) in counters {
        page.counter(name, help).sample(&[], value);
    }
    page.summary(
        "weavenpc_commit_seconds",
        "Time the kernel took for batches.",
    )
    .part("_sum", &[], counts.commit_seconds)
    .part("_count", &[], counts.commits);
    counts.latency.write(&mut page);
    // Weave Net's controller has these two of the library that answers for it; one page is made at a time,
    // and without failure.
    let help = "Current number of scrapes being served.";
    page.gauge("promhttp_metric_handler_requests_in_flight", help)
        .sample(&[], 1);
    let help = "Total number of scrapes by HTTP status code.";
    let mut scrapes = page.counter("promhttp_metric_handler_requests_total", help);
    for (code, count) in [("200", counts.scrapes), ("500", 0), ("503", 0)] {
        scrapes.sample(&[("code", code)], count);
    }
    gauges(&mut page, status);
    if let Some(process) = Process::read() {
        process.write(&mut page);
    }
    page.into_text()
}

fn gauges(page: &mut Page, status: &Status) {
    let objects = status.objects;
    let mut family = page.gauge("weavenpc_objects", "Objects known, by kind.");
    for (kind, count) in [
        ("namespace", objects.namespaces),
        ("node", objects.nodes),
        ("pod", objects.pods),
        ("local_pod", objects.local_pods),
        ("network_policy", objects.policies),
        ("cluster_network_policy", objects.cluster_policies),
    ] {
        family.sample(&[("kind", kind)], counted(count));
    }
    let values = [
        (
            "weavenpc_refused_objects",
            "Objects that cannot be used.",
            status.refused.len(),
        ),
        (
            "weavenpc_held_addresses",
            "Addresses closed until a pod is known.",
            status.held.len(),
        ),
        (
            "weavenpc_guarded_ports",
            "Ports held to their addresses.",
            status.guarded.len(),
        ),
        (
            "weavenpc_faults",
            "Things that are not as they should be.",
            status.faults.len(),
        ),
        (
            "weavenpc_synced",
            "1 if every kind of object was listed.",
            usize::from(status.synced),
        ),
        (
            "weavenpc_programmed",
            "1 if the kernel has the rules of everything known.",
            usize::from(status.programmed),
        ),
    ];
    for (name, help, value) in values {
        page.gauge(name, help).sample(&[], counted(value));
    }
    page.gauge("weavenpc_revision", "Changes of the rules so far.")
        .sample(&[], status.revision);
}

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::strict;

    #[test]
    fn the_old_names_are_kept() {
        let key = ("tcp".to_owned(), "80".to_owned());
        let page = page(&Status::default(), &[(key, 3)].into());

        let line = "weavenpc_blocked_connections_total{dport=\"80\",protocol=\"tcp\"} 3\n";
        assert!(page.contains(line), "{page}");
        assert!(page.contains("\nweavenpc_policy_enforcement_errors 0\n"));
        let recorded = include_str!("../../../tests/vectors/cli/npc-metrics.txt");
        let is_series = |line: &&str| !line.starts_with('#') && !line.starts_with("go_");
        for line in recorded.lines().filter(is_series) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }

    #[test]
    fn the_page_is_valid_line_by_line() {
        let key = ("udp".to_owned(), "53".to_owned());

        let families = strict::parse(&page(&Status::default(), &[(key, 1)].into()));

        assert!(families.contains_key("weavenpc_policy_latency_seconds"));
        assert!(families.contains_key("process_resident_memory_bytes"));
    }
}
