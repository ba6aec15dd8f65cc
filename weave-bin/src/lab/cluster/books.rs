//! What the daemons' books say about a cluster: pure.

use std::collections::BTreeSet;

use crate::lab::record::Pod;
use crate::status::model::Report;

/// How many different rings daemons know. Versions are left out: an owner raises its own with every
/// address it gives out, and tells the others only now and then.
pub(super) fn rings<'a>(reports: impl IntoIterator<Item = &'a Report>) -> usize {
    let rings: BTreeSet<_> = reports.into_iter().map(ring).collect();
    rings.len()
}

/// First addresses and owners; empty while there is no ring.
fn ring(report: &Report) -> Vec<(std::net::IpAddr, &str)> {
    let entries = report.ipam.iter().flat_map(|ipam| &ipam.entries);
    entries
        .map(|entry| (entry.token, entry.peer.as_str()))
        .collect()
}

/// Whether the daemon knows a ring in which `peer` owns nothing.
pub(super) fn is_without(report: &Report, peer: &str) -> bool {
    let ring = ring(report);
    !ring.is_empty() && ring.iter().all(|(_, owner)| *owner != peer)
}

/// What the node of `report` still lacks to serve pods in a cluster of `nodes` nodes.
pub(super) fn lack(report: &Report, nodes: usize) -> Option<String> {
    let Some(cluster) = &report.cluster else {
        return Some("has no cluster side".to_owned());
    };
    if let Some((what, why)) = cluster.problems.iter().next() {
        return Some(format!("has a problem with {what}: {why}"));
    }
    if let Some(lost) = cluster.lost.first() {
        return Some(format!("waits for what was lost: {lost}"));
    }
    if cluster.exposed.is_none() {
        return Some("has no bridge address".to_owned());
    }
    if !cluster.available {
        return Some("is not reported as available".to_owned());
    }
    if ring(report).is_empty() {
        return Some("knows no ring".to_owned());
    }
    let routes = report.router.unicast_routes.len();
    (routes != nodes).then(|| format!("has routes to {routes} of {nodes} nodes"))
}

/// Addresses in the daemons' books, as host, container and address, of pods that are not there.
pub(super) fn leaks(pods: &[Pod], owned: &[(usize, String, String)]) -> Vec<String> {
    let is_there = |host: usize, id: &str| {
        pods.iter()
            .any(|pod| pod.host == host && pod.container_id == id)
    };
    let leaked = owned
        .iter()
        // What has a colon is no container: the bridge's address is weave:expose's.
        .filter(|(host, id, _)| !id.contains(':') && !is_there(*host, id));
    leaked
        .map(|(host, id, address)| format!("{address} of {id:.12} on node-{host}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(host: usize, id: &str) -> Pod {
        Pod {
            host,
            number: 1,
            namespace: String::new(),
            container_id: id.to_owned(),
            address: "10.32.0.2/12".parse().unwrap(),
            address6: None,
            mac: String::new(),
        }
    }

    #[test]
    fn an_address_leaked_when_its_pod_is_not_on_that_host() {
        let book = |host: usize, id: &str| (host, id.to_owned(), "10.32.0.2/12".to_owned());
        let owned = [
            book(1, "here"),
            book(1, "weave:expose"),
            book(2, "here"),
            book(1, "gone"),
        ];

        let leaks = leaks(&[pod(1, "here")], &owned);

        assert_eq!(
            leaks,
            [
                "10.32.0.2/12 of here on node-2",
                "10.32.0.2/12 of gone on node-1"
            ]
        );
    }
}
