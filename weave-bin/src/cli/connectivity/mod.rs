//! `weave connectivity`: tries the ways from this host to its peers, their pods, its own pods and
//! Services, and says what to do where one does not work.
//!
//! ```text
//!   report, neighbours, links ─▶ targets ─▶ reach (sockets) ─▶ judge ─▶ table or JSON
//! ```
//!
//! Exit status 0 when nothing failed, 1 when something did, 7 when the daemon does not answer.
//! Echo requests need root; without it the rest is tried and the echoes are `unknown`.

mod judge;
mod model;
mod reach;
mod targets;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

use super::run::{BRIDGE, Outcome};
use super::{Command, Misuse, echo, names};
use crate::host::attached::{Attached, attached};
use crate::http::client::Client;
use crate::lab::probe::reach::EchoSocket;
use crate::status::Report;
use judge::{Echo, Judged};
use model::{Found, Probe};
use targets::{Link, Target};

/// The command that `words` ask for.
pub(super) fn parse(words: &[String]) -> Result<Command, Misuse> {
    match words {
        [] => Ok(Command::Connectivity { json: false }),
        [flag] if flag == "--json" => Ok(Command::Connectivity { json: true }),
        _ => Err(Misuse::Usage),
    }
}

/// Tries everything.
pub(super) async fn run(client: &Client, json: bool) -> Outcome {
    let client = client.clone().with_limit(PATIENCE);
    let body = match Outcome::of(client.get_json("/report").await).into_body() {
        Ok(body) => body,
        Err(failure) => return failure,
    };
    let report: Report = match serde_json::from_str(&body) {
        Ok(report) => report,
        Err(error) => {
            return Outcome::failure(1, format!("the daemon's answer is no report: {error}"));
        }
    };
    let place = Arc::new(Place::look(&client).await);
    let table = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
    let targets = targets::targets(&report, &targets::neighbours(&table, BRIDGE));
    eprintln!(
        "trying {} peers and {} pods of this host",
        targets.len(),
        place.pods.len()
    );
    let mut probes = peers(&place, targets).await;
    probes.extend(pods(&place).await);
    probes.extend(services(&client, &report).await);
    let code = model::code(&probes);
    let text = if json {
        model::json(&probes)
    } else {
        model::text(&probes)
    };
    Outcome::failure(code, String::new()).with_output(text)
}

/// This host, as far as it matters.
struct Place {
    /// The addresses of the bridge.
    bridge: Vec<IpAddr>,
    /// MTU of the bridge, in bytes.
    mtu: Option<u16>,
    pods: Vec<Attached>,
    /// Whether a policy controller is expected.
    has_policies: bool,
}

impl Place {
    async fn look(client: &Client) -> Self {
        let policy = client.get("/npc").await;
        let mut place = Self {
            bridge: Vec::new(),
            mtu: None,
            pods: attached(BRIDGE).await.unwrap_or_default(),
            has_policies: policy.is_ok_and(|answer| answer.is_success()),
        };
        let Ok(netlink) = Netlink::open() else {
            return place;
        };
        if let Ok(Some(link)) = netlink.link_by_name(BRIDGE).await {
            place.mtu = u16::try_from(link.mtu).ok();
            let addresses = netlink.addresses(link.index).await.unwrap_or_default();
            place.bridge = addresses.iter().map(ipnet::IpNet::addr).collect();
            place.bridge.retain(|address| match address {
                IpAddr::V4(_) => true,
                IpAddr::V6(address) => !address.is_unicast_link_local(),
            });
        }
        place
    }

    /// A socket that asks addresses of `family` in the overlay, and from where: the host if its
    /// bridge has an address, else a pod of this host.
    fn ask(&self, like: IpAddr) -> Result<(String, EchoSocket), String> {
        let is_like = |address: &&IpAddr| address.is_ipv4() == like.is_ipv4();
        if self.bridge.iter().any(|address| is_like(&address)) {
            return Ok(("host".to_owned(), echo::open(like.is_ipv4())?));
        }
        let source = self.pods.iter().find_map(|pod| {
            let mut own = pod.addresses.iter().map(ipnet::IpNet::addr);
            let address = own.find(|address| is_like(&address))?;
            Some((pod, address, pod.process?))
        });
        let Some((pod, address, process)) = source else {
            return Err("neither the bridge nor a pod of this host has an address to ask from; weave expose gives the bridge one".to_owned());
        };
        let namespace = Namespace::open(format!("/proc/{process}/ns/net"));
        let namespace = namespace.map_err(|error| error.to_string())?;
        let socket = EchoSocket::open(&namespace, address, echo::token()?)?;
        Ok((name(pod), socket))
    }
}

/// The ways to `targets`, some at a time, in their order.
async fn peers(place: &Arc<Place>, targets: Vec<Target>) -> Vec<Probe> {
    let turn = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tried = JoinSet::new();
    for (number, target) in targets.into_iter().enumerate() {
        let (place, turn) = (Arc::clone(place), Arc::clone(&turn));
        tried.spawn(async move {
            let _turn = turn.acquire().await;
            (number, peer(&place, target).await)
        });
    }
    let mut all: Vec<(usize, Vec<Probe>)> = tried.join_all().await;
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().flat_map(|(_, probes)| probes).collect()
}

async fn peer(place: &Arc<Place>, target: Target) -> Vec<Probe> {
    let label = target.label.clone();
    let probe = |by, at: String, judged: Judged| Probe {
        from: "host".to_owned(),
        to: label.clone(),
        by,
        at,
        found: judged.0,
        advice: judged.1,
    };
    let mut probes = Vec::new();
    let at = target
        .mesh
        .map_or_else(|| "-".to_owned(), |mesh| mesh.ip().to_string());
    if let Some(mesh) = target.mesh {
        let tried = reach::connect(mesh).await;
        probes.push(probe("TCP", mesh.to_string(), judge::mesh(mesh, tried)));
    }
    let judged = judge::overlay(&label, target.mesh, &target.link);
    probes.push(probe("overlay", at.clone(), judged));
    if let (Some(mesh), Link::Up { mtu, .. }) = (target.mesh, &target.link) {
        let needed = mtu.map(|mtu| mtu.saturating_add(VXLAN));
        let host = mesh.ip();
        let asked = tokio::task::spawn_blocking(move || {
            let socket = echo::open(host.is_ipv4())?;
            let echo = reach::echo(&socket, host, needed);
            Ok((echo, reach::path_mtu(host)))
        });
        let judged = match flat(asked.await) {
            Ok((echo, path)) => judge::host(&label, echo, path, needed),
            Err(why) => (Found::Unknown { why }, None),
        };
        probes.push(probe("echo", at, judged));
    }
    if !matches!(target.link, Link::Down { .. }) {
        probes.push(overlay(place, target).await);
    }
    probes
}

/// The way to a pod of `target`: the first address that answers, the known ones first.
async fn overlay(place: &Arc<Place>, target: Target) -> Probe {
    let Target {
        label,
        known,
        guessed,
        ..
    } = target;
    let here = Arc::clone(place);
    let is_sure = !known.is_empty();
    let all: Vec<IpAddr> = if is_sure { known } else { guessed };
    let Some(first) = all.first().copied() else {
        let why = "it owns no addresses, and none of its pods is known".to_owned();
        return in_overlay("host", label, "-", (Found::Unknown { why }, None));
    };
    let asked = tokio::task::spawn_blocking(move || {
        let (from, socket) = here.ask(first)?;
        let mut last = (first, Echo::default());
        for at in all.into_iter().filter(|at| at.is_ipv4() == first.is_ipv4()) {
            last = (at, reach::echo(&socket, at, here.mtu));
            if last.1.small.is_some() {
                break;
            }
        }
        Ok((from, last))
    });
    match flat(asked.await) {
        Ok((from, (at, echo))) => {
            let judged = judge::pod(&label, at, echo, is_sure, place.has_policies);
            in_overlay(&from, label, &at.to_string(), judged)
        }
        Err(why) => in_overlay(
            "host",
            label,
            &first.to_string(),
            (Found::Unknown { why }, None),
        ),
    }
}

fn in_overlay(from: &str, to: String, at: &str, (found, advice): Judged) -> Probe {
    Probe {
        from: from.to_owned(),
        to,
        by: "pod network",
        at: at.to_owned(),
        found,
        advice,
    }
}

/// The ways from this host, or from one of its pods, to the pods of this host.
async fn pods(place: &Arc<Place>) -> Vec<Probe> {
    let here = Arc::clone(place);
    let asked = tokio::task::spawn_blocking(move || {
        let mut probes = Vec::new();
        for pod in here.pods.iter().take(PODS) {
            for at in pod.addresses.iter().map(ipnet::IpNet::addr) {
                if matches!(at, IpAddr::V6(at) if at.is_unicast_link_local()) {
                    continue;
                }
                let (from, judged) = match here.ask(at) {
                    Ok((from, socket)) => {
                        let echo = reach::echo(&socket, at, here.mtu);
                        let label = name(pod);
                        (from, judge::pod(&label, at, echo, true, here.has_policies))
                    }
                    Err(why) => ("host".to_owned(), (Found::Unknown { why }, None)),
                };
                probes.push(in_overlay(&from, name(pod), &at.to_string(), judged));
            }
        }
        probes
    });
    asked.await.unwrap_or_default()
}

/// What this host offers under addresses of its own: the API server in a cluster, the name server.
async fn services(client: &Client, report: &Report) -> Vec<Probe> {
    let mut probes = Vec::new();
    let mut add = |to: &str, by, at: String, (found, advice): Judged| {
        probes.push(Probe {
            from: "host".to_owned(),
            to: to.to_owned(),
            by,
            at,
            found,
            advice,
        });
    };
    let variable = |name| std::env::var(name).ok();
    let service = variable("KUBERNETES_SERVICE_HOST").zip(variable("KUBERNETES_SERVICE_PORT"));
    if let Some((host, port)) = service {
        let address = host.parse().ok().zip(port.parse().ok());
        let tried = match address.map(|(host, port): (IpAddr, u16)| SocketAddr::new(host, port)) {
            Some(address) => reach::connect(address).await,
            None => Err("the variables name no address".to_owned()),
        };
        let name = "Service kubernetes";
        add(
            name,
            "TCP",
            format!("{host}:{port}"),
            judge::service(name, tried),
        );
    }
    if let Some(dns) = &report.dns {
        let begun = std::time::Instant::now();
        let name = format!("connectivity.{}", dns.domain.trim_end_matches('.'));
        // That there is no such name is an answer.
        let tried = match names::ask(client, &name).await {
            Ok(_) => Ok(begun.elapsed().as_secs_f64() * 1000.0),
            Err(failure) => Err(failure.said()),
        };
        add(
            "name server",
            "DNS",
            dns.address.clone(),
            judge::names(tried),
        );
    }
    probes
}

/// What a person calls an interface on the bridge.
fn name(pod: &Attached) -> String {
    let id = pod.id.as_deref().unwrap_or(&pod.host);
    format!("pod {}", id.chars().take(12).collect::<String>())
}

/// A task that was broken off is no answer.
fn flat<T>(joined: Result<Result<T, String>, tokio::task::JoinError>) -> Result<T, String> {
    joined.map_err(|error| error.to_string())?
}

/// The daemon answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Peers that are tried at a time.
const AT_A_TIME: usize = 32;
/// Pods of this host that are tried.
const PODS: usize = 64;
/// Bytes around a frame's payload on the way: Ethernet 14, VXLAN 8, UDP 8, IPv4 20.
const VXLAN: u16 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_few() {
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };

        assert_eq!(parse(&words("")), Ok(Command::Connectivity { json: false }));
        assert_eq!(
            parse(&words("--json")),
            Ok(Command::Connectivity { json: true })
        );
        assert_eq!(parse(&words("host-2")), Err(Misuse::Usage));
    }

    #[test]
    fn a_host_without_addresses_in_the_overlay_says_so() {
        let place = Place {
            bridge: Vec::new(),
            mtu: None,
            pods: Vec::new(),
            has_policies: false,
        };

        let refused = place.ask([10, 32, 0, 1].into()).unwrap_err();

        assert!(refused.contains("weave expose"), "{refused}");
    }
}
