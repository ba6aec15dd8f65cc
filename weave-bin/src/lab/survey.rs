//! Probes a running lab and puts together what was found.
//!
//! Echo requests say what works; the daemons' own reports say what they believe; both go into one
//! [`Outcome`], and disagreement between daemons is a failure like a lost packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::args::Target;
use super::error::Error;
use super::outcome::Outcome;
use super::probe::cast::Place;
use super::probe::families::{self, Dual};
use super::probe::{Endpoint, Findings, probe};
use super::process::Process;
use super::progress::Progress;
use super::record::{Pod, Record, StateDir};
use super::render::{matrix, ring};
use super::stats::Percentiles;
use super::{daemons, underlay};
use crate::status::model::{Report, RingEntry};

/// What was found, and the pictures of it.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Counts, times, verdict.
    pub(crate) outcome: Outcome,
    /// Round trips of all pairs.
    pub(crate) matrix: String,
    /// Owners of the ring.
    pub(crate) ring: String,
}

/// Probes the lab of `record`.
///
/// # Errors
/// When the lab itself does not allow it; what does not work in the network is in the result.
pub(crate) async fn survey(
    state: &StateDir,
    record: &Record,
    patience: Duration,
    stop: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<Survey, Error> {
    let begun = Instant::now();
    let (endpoints, places) = endpoints(record).await?;
    progress.step(&format!("probing from {} places", endpoints.len()));
    let token = token()?;
    let flag = Arc::clone(stop);
    let duals = duals(record)?;
    let work = move || {
        let mut findings = probe(&endpoints, &places, token, patience, &flag)?;
        let mut both = None;
        if !duals.is_empty() {
            let (found, failed) = families::probe(&duals, token, patience, &flag)?;
            findings.failed.extend(failed);
            both = Some(found);
        }
        Ok::<_, String>((findings, both))
    };
    let (findings, both) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::kernel("probe", error))?
        .map_err(|reason| Error::kernel("probe", reason))?;
    progress.step("comparing the daemons' reports");
    let deadline = begun + patience;
    let reports = settled_reports(record, deadline).await;
    let duplicates = duplicates(record, &owned(record).await);
    let ring = picture(record.plan.range, &reports);
    let pods: Vec<matrix::Pod> = record
        .pods
        .iter()
        .map(|pod| (pod.host, pod.number))
        .collect();
    let matrix = matrix::draw(&pods, &findings.pods);
    let outcome = outcome(state, record, findings, &reports, duplicates);
    Ok(Survey {
        outcome: Outcome {
            families: both,
            ..outcome
        },
        matrix,
        ring,
    })
}

/// Everything that answers echo requests, and the pods for datagrams to everyone.
async fn endpoints(record: &Record) -> Result<(Vec<Endpoint>, Vec<Place>), Error> {
    let mut endpoints = Vec::new();
    let mut places = Vec::new();
    for pod in &record.pods {
        let namespace = underlay::open(&pod.namespace)?;
        endpoints.push(Endpoint {
            target: Target {
                host: pod.host,
                pod: Some(pod.number),
            },
            address: pod.address.addr(),
            namespace: namespace.clone(),
        });
        places.push(Place {
            label: pod.label(),
            host: pod.host,
            namespace,
            address: pod.address,
            mac: pod.mac.clone(),
        });
    }
    for host in &record.plan.hosts {
        let bridge = underlay::bridge_addresses(&host.namespace).await?;
        // A host whose pods never needed a gateway has no address on the overlay.
        let Some(address) = bridge
            .iter()
            .find(|net| record.plan.range.contains(&net.addr()))
        else {
            continue;
        };
        endpoints.push(Endpoint {
            target: Target {
                host: host.number,
                pod: None,
            },
            address: address.addr(),
            namespace: underlay::open(&host.namespace)?,
        });
    }
    Ok((endpoints, places))
}

/// The pods of a lab of two families; one without its second address is a failure of the lab.
fn duals(record: &Record) -> Result<Vec<Dual>, Error> {
    if record.plan.range6.is_none() {
        return Ok(Vec::new());
    }
    let dual = |pod: &Pod| -> Result<Dual, Error> {
        let six = pod.address6.ok_or_else(|| {
            Error::kernel("probe", format!("pod {} has no IPv6 address", pod.label()))
        })?;
        Ok(Dual {
            label: pod.label(),
            addresses: [pod.address.addr().into(), six.addr().into()],
            namespace: underlay::open(&pod.namespace)?,
        })
    };
    record.pods.iter().map(dual).collect()
}

/// The reports of all daemons, as soon as they agree on the ring or the time is up.
async fn settled_reports(
    record: &Record,
    deadline: Instant,
) -> BTreeMap<usize, Result<Report, String>> {
    loop {
        let reports = daemons::reports(record).await;
        let silent = reports.values().any(Result::is_err);
        if silent || rings_equal(&reports) || Instant::now() > deadline {
            return reports;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether all daemons know the same owners. Versions are left out: an owner raises its own with
/// every address it gives out, and tells the others only now and then.
fn rings_equal(reports: &BTreeMap<usize, Result<Report, String>>) -> bool {
    let essence = |entry: &RingEntry| (entry.token, entry.size, entry.peer.clone());
    let mut rings = reports.values().flatten().map(|report| {
        let rings = [&report.ipam, &report.ipam6].into_iter().flatten();
        let entries = rings.flat_map(|ipam| &ipam.entries);
        entries.map(essence).collect::<Vec<_>>()
    });
    let first = rings.next();
    rings.all(|ring| Some(&ring) == first.as_ref())
}

/// What each daemon says it has given out: host, container id, address.
pub(crate) async fn owned(record: &Record) -> Vec<(usize, String, String)> {
    let mut all = Vec::new();
    for host in &record.plan.hosts {
        // A daemon that does not answer is reported as silent.
        for (id, addresses) in daemons::owned(record, host.number)
            .await
            .unwrap_or_default()
        {
            all.extend(
                addresses
                    .into_iter()
                    .map(|address| (host.number, id.clone(), address)),
            );
        }
    }
    all
}

/// Addresses held by more than one: by the pods as they are, and by the daemons' books.
pub(crate) fn duplicates(record: &Record, owned: &[(usize, String, String)]) -> Vec<String> {
    let mut holders: BTreeMap<IpAddr, BTreeSet<(usize, String)>> = BTreeMap::new();
    for pod in &record.pods {
        let six = pod.address6.map(|net| IpAddr::V6(net.addr()));
        for address in [Some(IpAddr::V4(pod.address.addr())), six] {
            let Some(address) = address else { continue };
            holders
                .entry(address)
                .or_default()
                .insert((pod.host, pod.container_id.clone()));
        }
    }
    for (host, id, address) in owned {
        let plain = address.split('/').next().unwrap_or(address);
        if let Ok(address) = plain.parse() {
            holders
                .entry(address)
                .or_default()
                .insert((*host, id.clone()));
        }
    }
    let several = holders.into_iter().filter(|(_, holders)| holders.len() > 1);
    several
        .map(|(address, holders)| {
            let names: Vec<String> = holders
                .into_iter()
                .map(|(host, id)| format!("{} on host {host}", name_of(record, host, &id)))
                .collect();
            format!("{address} is held by {}", names.join(" and "))
        })
        .collect()
}

/// A container id as the pod it is, where it is one.
fn name_of(record: &Record, host: usize, id: &str) -> String {
    let pod = record
        .pods
        .iter()
        .find(|pod| pod.host == host && pod.container_id == id);
    pod.map_or_else(
        || id.chars().take(12).collect(),
        |pod| format!("pod {}", pod.label()),
    )
}

fn picture(range: Ipv4Net, reports: &BTreeMap<usize, Result<Report, String>>) -> String {
    let mut in_use = BTreeMap::new();
    let mut entries: &[RingEntry] = &[];
    for report in reports.values().flatten() {
        if let Some(ipam) = &report.ipam {
            in_use.insert(report.router.name.clone(), ipam.active_ips);
            if entries.is_empty() {
                entries = &ipam.entries;
            }
        }
    }
    ring::draw(range, entries, &in_use, RING_WIDTH)
}

fn outcome(
    state: &StateDir,
    record: &Record,
    findings: Findings,
    reports: &BTreeMap<usize, Result<Report, String>>,
    duplicates: Vec<String>,
) -> Outcome {
    let hosts = record.plan.hosts.len();
    let rtts = |same: bool| {
        let of_kind = findings
            .pods
            .iter()
            .filter(|((from, to), _)| (from.0 == to.0) == same);
        Percentiles::of(&of_kind.filter_map(|(_, cell)| *cell).collect::<Vec<f64>>())
    };
    let silent = reports.iter().filter_map(|(host, report)| {
        report
            .as_ref()
            .err()
            .map(|reason| format!("host-{host} ({reason})"))
    });
    let resident = (1..=hosts)
        .filter_map(|host| Process::written(&state.pid(host))?.resident_kib())
        .max();
    Outcome {
        hosts,
        pods: record.plan.pods_per_host,
        pods_total: record.pods.len(),
        topology: record.plan.topology,
        pairs: findings.pods.len(),
        reachable: findings.pods.values().flatten().count(),
        host_pairs: findings.host_pairs,
        host_reachable: findings.host_reachable,
        broadcast_ok: findings.broadcast_ok,
        multicast_ok: findings.multicast_ok,
        cast_repeats: findings.cast_repeats,
        connections: reports
            .values()
            .flatten()
            .flat_map(daemons::connections)
            .collect(),
        duplicate_addresses: duplicates.len(),
        duplicates,
        rings_equal: rings_equal(reports),
        silent_daemons: silent.collect(),
        cni_add_ms: Percentiles::of(&record.cni_add_ms),
        cni_adds: record.cni_add_ms.len(),
        rtt_same_host_ms: rtts(true),
        rtt_cross_host_ms: rtts(false),
        daemon_rss_kib: resident,
        settled_s: findings.settled.as_secs_f64(),
        elapsed_s: 0.0,
        failed: findings.failed,
        cast_faults: findings.cast_faults,
        families: None,
    }
}

pub(crate) fn token() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::kernel("random numbers", error))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Cells of the picture of the ring; fits a terminal with the addresses beside it.
const RING_WIDTH: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::{Choice, Plan};

    fn record() -> Record {
        let plan = Plan::new(&Choice::full("lab", 2, 1));
        let mut record = Record::new(plan.unwrap(), "info".to_owned());
        for host in 1..=2 {
            record.pods.push(Pod {
                host,
                number: 1,
                namespace: format!("lab-{host}-pod-1"),
                container_id: format!("c{host}"),
                address: format!("10.32.0.{host}/12").parse().unwrap(),
                address6: format!("fd00:10:32::{host}/64").parse().ok(),
                mac: String::new(),
            });
        }
        record
    }

    fn book(host: usize, id: &str, address: &str) -> (usize, String, String) {
        (host, id.to_owned(), address.to_owned())
    }

    #[test]
    fn a_pod_in_its_own_daemons_book_is_no_duplicate() {
        let books = [book(1, "c1", "10.32.0.1/12"), book(2, "c2", "10.32.0.2/12")];

        assert!(duplicates(&record(), &books).is_empty());
    }

    #[test]
    fn an_address_in_two_books_is_one_duplicate() {
        let books = [
            book(1, "c1", "10.32.0.1/12"),
            book(2, "weave:expose", "10.32.0.1/12"),
        ];

        assert_eq!(
            duplicates(&record(), &books),
            ["10.32.0.1 is held by pod 1/1 on host 1 and weave:expose on host 2"]
        );
    }

    #[test]
    fn two_pods_with_one_address_are_a_duplicate_without_any_book() {
        let mut record = record();
        record.pods[1].address = record.pods[0].address;

        assert_eq!(duplicates(&record, &[]).len(), 1);
        record.pods[1].address6 = record.pods[0].address6;
        assert_eq!(duplicates(&record, &[]).len(), 2);
    }
}
