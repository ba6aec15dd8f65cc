//! Probing a lab: every pod from every pod, hosts and pods, broadcast and multicast.
//!
//! Sockets are opened inside the namespaces and used from threads of this process: no program is
//! started, so more than a thousand pairs take a second or two. The order is: everyone reaches
//! everyone (concurrently, with repeats), one datagram to all, then times on the quiet network.

pub(crate) mod cast;
pub(crate) mod echo;
pub(crate) mod families;
pub(crate) mod reach;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weave_datapath::netns::Namespace;

use super::args::Target;
use super::outcome::Failure;
use super::render::matrix::{Cell, Pod};
use cast::{Cast, Place};
use reach::{EchoSocket, Reached};

/// Something that sends and answers echo requests.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The pod, or the host's bridge.
    pub(crate) target: Target,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// The namespace it is in.
    pub(crate) namespace: Namespace,
}

/// What probing found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Ordered pairs of pods, with their round trips in milliseconds.
    pub(crate) pods: BTreeMap<(Pod, Pod), Cell>,
    /// Probes between a host and a pod.
    pub(crate) host_pairs: usize,
    /// Those that were answered.
    pub(crate) host_reachable: usize,
    /// Every probe that was not.
    pub(crate) failed: Vec<Failure>,
    /// Whether broadcast works.
    pub(crate) broadcast_ok: bool,
    /// Whether multicast works.
    pub(crate) multicast_ok: bool,
    /// What is wrong with either.
    pub(crate) cast_faults: Vec<String>,
    /// Rounds of broadcast and multicast that were repeated.
    pub(crate) cast_repeats: u64,
    /// From the first request until the last pair had answered.
    pub(crate) settled: Duration,
}

/// Probes everything. Pods as `places` are for broadcast and multicast, `endpoints` are pods and
/// the bridges of hosts. Gives up on a pair after `patience`, and on everything when `stop` is
/// set.
///
/// # Errors
/// When a socket cannot be opened: that is the lab's failure, not the network's.
pub(crate) fn probe(
    endpoints: &[Endpoint],
    places: &[Place],
    token: u64,
    patience: Duration,
    stop: &AtomicBool,
) -> Result<Findings, String> {
    let begun = Instant::now();
    let sockets = endpoints
        .iter()
        .map(|endpoint| EchoSocket::open(&endpoint.namespace, endpoint.address, token))
        .collect::<Result<Vec<_>, _>>()?;
    let reached = reach_all(endpoints, &sockets, begun + patience, stop);
    let settled = begun.elapsed();
    let mut findings = Findings {
        settled,
        ..Findings::default()
    };
    let deadline = begun + patience;
    let (faults, again) = until_clean(deadline, stop, |round| {
        let mut faults: Vec<String> = cast::resolve(places).into_iter().collect();
        faults.extend(cast::everyone(
            places,
            Cast::Broadcast,
            token ^ (2 * round + 1),
        ));
        faults
    });
    findings.broadcast_ok = faults.is_empty();
    findings.cast_faults = faults;
    let (faults, more) = until_clean(deadline, stop, |round| {
        cast::everyone(places, Cast::Multicast, token ^ (2 * round + 2))
    });
    findings.multicast_ok = faults.is_empty();
    findings.cast_faults.extend(faults);
    findings.cast_repeats = again + more;
    let samples = if endpoints.len() <= 100 { 3 } else { 1 };
    for (from, source) in endpoints.iter().enumerate() {
        for (to, target) in targets(endpoints, from) {
            let outcome = &reached[from][&to];
            let pair = (source.target, target.target);
            let rtt = match pair {
                _ if !outcome.answered => None,
                (Target { pod: Some(_), .. }, Target { pod: Some(_), .. }) => {
                    reach::round_trip(&sockets[from], target.address, samples, stop)
                }
                // Hosts are only counted.
                _ => Some(Duration::ZERO),
            };
            findings.add(pair, rtt.map(|rtt| rtt.as_secs_f64() * 1000.0));
            if rtt.is_none() {
                findings.failed.push(Failure {
                    from: source.target.to_string(),
                    to: target.target.to_string(),
                    why: why(source, target, outcome),
                });
            }
        }
    }
    Ok(findings)
}

/// Repeats `round` until it finds no fault, the deadline has passed, or `stop` is set. Returns the
/// faults of the last round and how many were repeated: while hosts change their minds about
/// routes, a datagram may be lost or arrive twice.
fn until_clean(
    deadline: Instant,
    stop: &AtomicBool,
    mut round: impl FnMut(u64) -> Vec<String>,
) -> (Vec<String>, u64) {
    let mut repeats = 0;
    loop {
        let faults = round(repeats);
        let over = Instant::now() > deadline && repeats >= LEAST_REPEATS;
        if faults.is_empty() || over || stop.load(Ordering::Relaxed) {
            return (faults, repeats);
        }
        repeats += 1;
        std::thread::sleep(PAUSE);
    }
}

impl Findings {
    fn add(&mut self, (from, to): (Target, Target), cell: Cell) {
        if let (Some(from_pod), Some(to_pod)) = (from.pod, to.pod) {
            self.pods
                .insert(((from.host, from_pod), (to.host, to_pod)), cell);
        } else {
            self.host_pairs += 1;
            self.host_reachable += usize::from(cell.is_some());
        }
    }
}

/// Whom endpoint `from` is to reach: everyone else, but no host another host.
fn targets(
    endpoints: &[Endpoint],
    from: usize,
) -> impl Iterator<Item = (usize, &Endpoint)> + Clone {
    let host = endpoints[from].target.pod.is_none();
    endpoints
        .iter()
        .enumerate()
        .filter(move |(to, target)| *to != from && !(host && target.target.pod.is_none()))
}

/// [`reach::reach`] from every endpoint, some at a time.
fn reach_all(
    endpoints: &[Endpoint],
    sockets: &[EchoSocket],
    deadline: Instant,
    stop: &AtomicBool,
) -> Vec<BTreeMap<usize, Reached>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![BTreeMap::new(); endpoints.len()]);
    std::thread::scope(|scope| {
        for _ in 0..endpoints.len().min(THREADS) {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(1, Ordering::Relaxed);
                    if from >= endpoints.len() {
                        return;
                    }
                    let (numbers, addresses): (Vec<usize>, Vec<Ipv4Addr>) =
                        targets(endpoints, from)
                            .map(|(to, target)| (to, target.address))
                            .unzip();
                    // Everyone has a fair time, also those that come late.
                    let own = deadline.max(Instant::now() + LEAST);
                    let found = reach::reach(&sockets[from], &addresses, own, stop);
                    let map = numbers.into_iter().zip(found).collect();
                    results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)[from] = map;
                }
            });
        }
    });
    results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What can be said about a pair that did not answer.
fn why(source: &Endpoint, target: &Endpoint, outcome: &Reached) -> String {
    if outcome.answered {
        return "answered at first, then no longer".to_owned();
    }
    if let Some(complaint) = &outcome.complaint {
        return format!("cannot send: {complaint}");
    }
    let address = target.address;
    let table = source
        .namespace
        .run(|| std::fs::read_to_string("/proc/thread-self/net/arp"));
    let table = table.ok().and_then(Result::ok).unwrap_or_default();
    let sent = outcome.sent;
    if resolved(&table, address) {
        format!("{sent} echo requests to {address} unanswered, ARP answered")
    } else {
        format!("no answer to ARP for {address}")
    }
}

/// Whether the neighbour table, as `/proc/net/arp` shows it, has a complete entry for `address`.
fn resolved(table: &str, address: Ipv4Addr) -> bool {
    let address = address.to_string();
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|fields| {
            // Flag ATF_COM of linux/if_arp.h.
            let digits = fields.get(2).and_then(|flags| flags.strip_prefix("0x"));
            let flags = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            fields.first() == Some(&address.as_str()) && flags.is_some_and(|flags| flags & 2 != 0)
        })
}

/// Sources that probe at the same time.
const THREADS: usize = 8;
/// Between rounds of broadcast and multicast.
const PAUSE: Duration = Duration::from_millis(100);
/// A datagram may be lost on a busy machine.
const LEAST_REPEATS: u64 = 2;
/// Least time a source has.
const LEAST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_neighbour_entry_is_told_from_an_incomplete_one() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
            10.32.0.2        0x1         0x2         02:00:00:00:00:02     *        eth0\n\
            10.32.0.3        0x1         0x0         00:00:00:00:00:00     *        eth0\n";

        assert!(resolved(table, "10.32.0.2".parse().unwrap()));
        assert!(!resolved(table, "10.32.0.3".parse().unwrap()));
        assert!(!resolved(table, "10.32.0.4".parse().unwrap()));
    }

    #[test]
    fn hosts_reach_pods_and_pods_reach_everyone() {
        let namespace = Namespace::current().unwrap();
        let endpoint = |host: usize, pod: Option<usize>| Endpoint {
            target: Target { host, pod },
            address: Ipv4Addr::LOCALHOST,
            namespace: namespace.clone(),
        };
        let all = [
            endpoint(1, None),
            endpoint(2, None),
            endpoint(1, Some(1)),
            endpoint(2, Some(1)),
        ];

        let count = |from: usize| targets(&all, from).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [2, 2, 3, 3]);
    }
}
