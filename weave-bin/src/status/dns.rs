//! The name server's part of the report and of the metrics.

use super::model::{Dns, DnsEntry};
use super::page::Page;
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
pub(super) fn measures(page: &mut Page, dns: &Dns, us: &str) {
    let is_own = |entry: &&DnsEntry| entry.origin == us && entry.tombstone == 0;
    let own = dns.entries.iter().filter(is_own).count();
    let own = u64::try_from(own).unwrap_or(u64::MAX);
    page.gauge("weave_dns_entries", "Number of DNS entries.")
        .sample(&[], own);
    let Some(counters) = &dns.counters else {
        return;
    };
    page.counter(
        "weave_dns_questions_total",
        "Number of DNS messages, by what came of them.",
    )
    .sample(&[("result", "busy")], counters.busy)
    .sample(&[("result", "failed")], counters.failed)
    .sample(&[("result", "forwarded")], counters.forwarded)
    .sample(&[("result", "local")], counters.local)
    .sample(&[("result", "malformed")], counters.malformed);
    page.counter(
        "weave_dns_gossip_refused_total",
        "Number of messages or entries about DNS names from peers that were not used.",
    )
    .sample(&[("result", "clock")], counters.gossip_skewed)
    .sample(&[("result", "entry")], counters.gossip_refused)
    .sample(&[("result", "queue")], counters.gossip_dropped);
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
        let mut page = Page::default();

        measures(&mut page, report.dns.as_ref().unwrap(), &report.router.name);
        let page = page.into_text();

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
        let mut page = Page::default();

        measures(&mut page, &dns, "00:00:00:00:00:01");
        let page = page.into_text();

        assert!(page.contains("weave_dns_questions_total{result=\"local\"} 7\n"));
        assert!(page.contains("weave_dns_gossip_refused_total{result=\"clock\"} 3\n"));
    }
}
