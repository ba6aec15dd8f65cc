//! Talking to the daemons of a lab, and waiting until they are one network.
//!
//! Ready means: every daemon answers, every cable carries an established connection both ways,
//! every daemon knows every peer, and there is a ring.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weave_datapath::netns::Namespace;

use super::error::Error;
use super::outcome::Connection;
use super::process::{CONTROL_ADDRESS, Process, log_tail};
use super::progress::Progress;
use super::record::{Record, StateDir};
use super::underlay;
use crate::http::client::{self, Client, Response};
use crate::status::model::Report;

/// Asks the daemon in `host` for `path`.
///
/// # Errors
/// Why there is no answer.
pub(crate) async fn ask(host: &Namespace, path: &str, limit: Duration) -> Result<Response, String> {
    let path = path.to_owned();
    // The socket belongs to the namespace of the thread that opens it.
    let answer = host
        .run_async(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let client = Client::new(CONTROL_ADDRESS).with_limit(limit);
            runtime.map(|runtime| runtime.block_on(client.get_json(&path)))
        })
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    answer.map_err(|error| match error {
        client::Error::Unreachable { reason, .. } => reason,
        other => other.to_string(),
    })
}

/// The report of the daemon in the namespace `host`, or why there is none.
async fn report(host: &str) -> Result<Report, String> {
    let host = underlay::open(host).map_err(|error| error.to_string())?;
    let answer = ask(&host, "/report", ASK_LIMIT).await?;
    if !answer.is_success() {
        return Err(format!("/report answered {}", answer.status));
    }
    serde_json::from_str(&answer.body).map_err(|error| format!("/report: {error}"))
}

/// The reports of all daemons by host; a daemon that does not answer has its reason instead.
pub(crate) async fn reports(record: &Record) -> BTreeMap<usize, Result<Report, String>> {
    let mut asked = tokio::task::JoinSet::new();
    for host in record.plan.hosts.iter().cloned() {
        asked.spawn(async move { (host.number, report(&host.namespace).await) });
    }
    let mut all = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        all.extend(answered.ok());
    }
    all
}

/// Addresses the daemon of host `number` has given out, by container id.
///
/// # Errors
/// Why they are not known.
pub(crate) async fn owned(
    record: &Record,
    number: usize,
) -> Result<Vec<(String, Vec<String>)>, String> {
    #[derive(serde::Deserialize)]
    struct Page {
        owned: Vec<Owner>,
    }
    #[derive(serde::Deserialize)]
    struct Owner {
        containerid: String,
        addrs: Vec<String>,
    }
    let host = &record.plan.hosts[number - 1].namespace;
    let host = underlay::open(host).map_err(|error| error.to_string())?;
    let answer = ask(&host, "/ip", ASK_LIMIT).await?;
    let page: Option<Page> =
        serde_json::from_str(&answer.body).map_err(|error| format!("/ip: {error}"))?;
    let owners = page.map(|page| page.owned).unwrap_or_default();
    Ok(owners
        .into_iter()
        .map(|owner| (owner.containerid, owner.addrs))
        .collect())
}

/// Waits until the lab is one network.
///
/// # Errors
/// [`Error::Daemon`] when a daemon ends or the time is up, with what is still missing and the end
/// of its log.
pub(crate) async fn wait_ready(
    state: &StateDir,
    record: &Record,
    progress: &Progress,
) -> Result<(), Error> {
    let deadline = Instant::now() + READY_LIMIT;
    let hosts = record.plan.hosts.len();
    loop {
        for number in 1..=hosts {
            if Process::written(&state.pid(number)).is_none() {
                let reason = format!("it ended\n  {}", log_tail(state, number));
                return Err(Error::Daemon {
                    host: number,
                    reason,
                });
            }
        }
        let reports = reports(record).await;
        let missing = missing(record, &reports);
        let Some((host, reason)) = missing.first() else {
            break;
        };
        progress.update(&format!(
            "waiting for {} of {hosts} hosts: host {host} {reason}",
            missing.len()
        ));
        if Instant::now() > deadline {
            let reason = format!("{reason}\n  {}", log_tail(state, *host));
            return Err(Error::Daemon {
                host: *host,
                reason,
            });
        }
        tokio::time::sleep(POLL).await;
    }
    progress.update("waiting for the ring");
    for host in &record.plan.hosts {
        let namespace = underlay::open(&host.namespace)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = ask(&namespace, "/ring", left).await;
        let reason = match answer {
            Ok(answer) if answer.is_success() => continue,
            Ok(answer) => format!("no ring: {} {}", answer.status, answer.body.trim()),
            Err(reason) => format!("no ring: {reason}"),
        };
        let reason = format!("{reason}\n  {}", log_tail(state, host.number));
        return Err(Error::Daemon {
            host: host.number,
            reason,
        });
    }
    Ok(())
}

/// Waits until the daemon of host `number` answers.
///
/// # Errors
/// [`Error::Daemon`] when it ends or the time is up.
pub(crate) async fn wait_answer(
    state: &StateDir,
    record: &Record,
    number: usize,
) -> Result<(), Error> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let Err(reason) = report(&record.plan.hosts[number - 1].namespace).await else {
            return Ok(());
        };
        let ended = Process::written(&state.pid(number)).is_none();
        if ended || Instant::now() > deadline {
            let reason = if ended { "it ended" } else { reason.as_str() };
            let reason = format!("{reason}\n  {}", log_tail(state, number));
            return Err(Error::Daemon {
                host: number,
                reason,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What each host still lacks.
fn missing(
    record: &Record,
    reports: &BTreeMap<usize, Result<Report, String>>,
) -> Vec<(usize, String)> {
    let mut missing = Vec::new();
    for host in &record.plan.hosts {
        let lack = match reports.get(&host.number) {
            Some(Ok(report)) => lack(record, report),
            Some(Err(reason)) => Some(format!("does not answer: {reason}")),
            None => Some("was not asked".to_owned()),
        };
        missing.extend(lack.map(|lack| (host.number, lack)));
    }
    missing
}

/// What the daemon that made `report` does not know yet. Its own connections are not enough: frames
/// take a connection only when the daemon knows that the other end takes it too.
fn lack(record: &Record, report: &Report) -> Option<String> {
    let peers = &report.router.peers;
    for host in &record.plan.hosts {
        let name = format!("host-{}", host.number);
        let Some(peer) = peers.iter().find(|peer| peer.nick_name == name) else {
            return Some(format!("does not know host {}", host.number));
        };
        for neighbour in &host.neighbours {
            let other = format!("host-{}", neighbour.number);
            let up = peer
                .connections
                .iter()
                .any(|connection| connection.nick_name == other && connection.established);
            if !up {
                return Some(format!("sees no connection from {name} to {other}"));
            }
        }
    }
    let routes = report.router.unicast_routes.len();
    let hosts = record.plan.hosts.len();
    (routes < hosts).then(|| format!("has routes to {routes} of {hosts} hosts"))
}

/// The connections of the daemon that made `report`, by nickname.
pub(crate) fn connections(report: &Report) -> Vec<Connection> {
    let router = &report.router;
    let Some(own) = router.peers.iter().find(|peer| peer.name == router.name) else {
        return Vec::new();
    };
    let overlay_of = |address: &str| {
        let found = router
            .connections
            .iter()
            .find(|connection| connection.address == address);
        let attrs = found.and_then(|connection| connection.attrs.as_ref());
        let name = attrs.and_then(|attrs| attrs.get("name")?.as_str());
        name.unwrap_or("none").to_owned()
    };
    own.connections
        .iter()
        .map(|connection| Connection {
            from: router.nick_name.clone(),
            to: connection.nick_name.clone(),
            overlay: overlay_of(&connection.address),
            established: connection.established,
        })
        .collect()
}

/// Daemons are local; a second is long.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// For the slowest start: many daemons on few cores.
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
