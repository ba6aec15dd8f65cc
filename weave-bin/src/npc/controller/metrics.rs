//! Metrics in the text exposition format 0.0.4.
//!
//! The two families of Weave Net's controller keep their names; labels are bounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::status::Status;

/// The page. `blocked` counts connections by protocol and destination port.
pub(super) fn page(status: &Status, blocked: &BTreeMap<(String, String), u64>) -> String {
    let mut page = String::new();
    let name = "weavenpc_blocked_connections_total";
    head(
        &mut page,
        name,
        "counter",
        "Connection attempts blocked by policy controller.",
    );
    for ((protocol, port), count) in blocked {
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "{name}{{protocol=\"{protocol}\",dport=\"{port}\"}} {count}"
        );
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
        head(&mut page, name, "counter", help);
        let _ = writeln!(page, "{name} {value}");
    }
    let name = "weavenpc_commit_seconds";
    head(
        &mut page,
        name,
        "summary",
        "Time the kernel took for batches.",
    );
    let _ = writeln!(page, "{name}_sum {}", counts.commit_seconds);
    let _ = writeln!(page, "{name}_count {}", counts.commits);
    gauges(&mut page, status);
    page
}

fn gauges(page: &mut String, status: &Status) {
    let objects = status.objects;
    let name = "weavenpc_objects";
    head(page, name, "gauge", "Objects known, by kind.");
    for (kind, count) in [
        ("namespace", objects.namespaces),
        ("node", objects.nodes),
        ("pod", objects.pods),
        ("local_pod", objects.local_pods),
        ("network_policy", objects.policies),
        ("cluster_network_policy", objects.cluster_policies),
    ] {
        let _ = writeln!(page, "{name}{{kind=\"{kind}\"}} {count}");
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
        head(page, name, "gauge", help);
        let _ = writeln!(page, "{name} {value}");
    }
    let name = "weavenpc_revision";
    head(page, name, "gauge", "Changes of the rules so far.");
    let _ = writeln!(page, "{name} {}", status.revision);
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_names_are_kept() {
        let key = ("tcp".to_owned(), "80".to_owned());
        let page = page(&Status::default(), &[(key, 3)].into());

        let line = "weavenpc_blocked_connections_total{protocol=\"tcp\",dport=\"80\"} 3\n";
        assert!(page.contains(line), "{page}");
        assert!(page.contains("\nweavenpc_policy_enforcement_errors 0\n"));
    }

    #[test]
    fn every_value_belongs_to_a_family_that_is_described() {
        let page = page(&Status::default(), &BTreeMap::new());
        let mut family = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line}");
            }
        }
    }
}
