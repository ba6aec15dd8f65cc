//! The name server's part of the report and of the metrics.

use std::fmt::Write as _;

use super::model::{Dns, DnsEntry};
use crate::dns::server::Service;

/// The part of the report at this moment.
pub(super) fn collect(service: &Service) -> Dns {
    let servers = service.upstream.servers();
    Dns {
        domain: service.zone.text().to_owned(),
        upstream: servers
            .iter()
            .map(|server| server.ip().to_string())
            .collect(),
        address: service.address.to_string(),
        ttl: service.zone.ttl(),
        entries: service.names.read(|store| {
            let entries = store.iter().map(|(key, life)| DnsEntry {
                hostname: key.hostname.to_string(),
                origin: key.origin.to_string(),
                container_id: key.container.to_string(),
                address: key.address.to_string(),
                version: life.version,
                tombstone: life.tombstone,
            });
            entries.collect()
        }),
        counters: Some(service.names.counters().read()),
    }
}

/// The families of the name server of the peer `us`; Weave Net has the first of them.
pub(super) fn measures(page: &mut String, dns: &Dns, us: &str) {
    let is_own = |entry: &&DnsEntry| entry.origin == us && entry.tombstone == 0;
    let own = dns.entries.iter().filter(is_own).count();
    let name = "weave_dns_entries";
    let _ = writeln!(
        page,
        "# HELP {name} Number of DNS entries.\n# TYPE {name} gauge"
    );
    let _ = writeln!(page, "{name} {own}");
    let Some(counters) = &dns.counters else {
        return;
    };
    family(
        page,
        "weave_dns_questions_total",
        "Number of DNS messages, by what came of them.",
        &[
            ("busy", counters.busy),
            ("failed", counters.failed),
            ("forwarded", counters.forwarded),
            ("local", counters.local),
            ("malformed", counters.malformed),
        ],
    );
    family(
        page,
        "weave_dns_gossip_refused_total",
        "Number of messages or entries about DNS names from peers that were not used.",
        &[
            ("clock", counters.gossip_skewed),
            ("entry", counters.gossip_refused),
            ("queue", counters.gossip_dropped),
        ],
    );
}

fn family(page: &mut String, name: &str, help: &str, values: &[(&str, u64)]) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
    for (result, value) in values {
        let _ = writeln!(page, "{name}{{result=\"{result}\"}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::model::{DnsCounters, Report};

    #[test]
    fn entries_are_counted_as_recorded() {
        let report: Report = serde_json::from_str(include_str!(
            "../../tests/vectors/daemon/08-dns-host0/report.json"
        ))
        .unwrap();
        let recorded = include_str!("../../tests/vectors/daemon/08-dns-host0/metrics.txt");
        let mut page = String::new();

        measures(&mut page, report.dns.as_ref().unwrap(), &report.router.name);

        assert!(page.contains("weave_dns_entries 62\n"), "{page}");
        assert!(recorded.contains(&page), "{page}");
    }

    #[test]
    fn what_became_of_questions_is_told_by_result() {
        let dns = Dns {
            domain: "weave.local.".to_owned(),
            upstream: Vec::new(),
            address: "0.0.0.0:53".to_owned(),
            ttl: 1,
            entries: Vec::new(),
            counters: Some(DnsCounters {
                local: 7,
                gossip_skewed: 3,
                ..DnsCounters::default()
            }),
        };
        let mut page = String::new();

        measures(&mut page, &dns, "00:00:00:00:00:01");

        assert!(page.contains("weave_dns_questions_total{result=\"local\"} 7\n"));
        assert!(page.contains("weave_dns_gossip_refused_total{result=\"clock\"} 3\n"));
    }
}
