//! Connections to peers that are not there, and why.
//!
//! What a peer answered to an attempt is in the words of the mesh; what nobody answered is tried again by
//! the collector ([`Reach`]).

use std::collections::BTreeMap;

use super::firewall::Blocked;
use crate::doctor::evidence::{Dial, Reach};
use crate::doctor::{Evidence, Finding};
use crate::status::model::{Report, Router};

pub(super) fn check(evidence: &Evidence, blocked: &Blocked) -> Vec<Finding> {
    let Some(report) = evidence.report() else {
        return Vec::new();
    };
    let troubles = troubles(&report.router, &evidence.since);
    let mut found = Vec::new();
    let mut named = Vec::new();
    for (host, reason) in &troubles {
        if let Some(finding) = told(evidence, report, host, reason) {
            // One word about a clash of names, however many hosts tell of it.
            let is_said = found.iter().any(|known: &Finding| {
                known.check == finding.check && matches!(&*finding.check, "identity" | "limit")
            });
            if !is_said {
                found.push(finding);
            }
            named.push(host.clone());
        }
    }
    let silent: Vec<&Dial> = silent(evidence)
        .into_iter()
        .filter(|dial| !named.iter().any(|host| host == host_of(&dial.address)))
        .collect();
    // Who is gone and still has addresses is told once, with the addresses.
    if blocked.tcp || silent.len() <= super::addresses::unreachable(report).len() {
        return found;
    }
    found.extend(silent.into_iter().map(|dial| unanswered(report, dial)));
    found
}

/// Attempts to reach peers that came to nothing.
pub(super) fn silent(evidence: &Evidence) -> Vec<&Dial> {
    let Some(report) = evidence.report() else {
        return Vec::new();
    };
    let troubles = troubles(&report.router, &evidence.since);
    let dials = evidence.dials.iter();
    dials
        .filter(|dial| dial.outcome != Reach::Open)
        .filter(|dial| troubles.contains_key(host_of(&dial.address)))
        .collect()
}

/// Attempts without a connection by host, with the words about the last.
fn troubles(router: &Router, since: &str) -> BTreeMap<String, String> {
    let is_up = |host: &str| {
        router.connections.iter().any(|connection| {
            host_of(&connection.address) == host
                && matches!(connection.state.as_str(), "established" | "pending")
        })
    };
    let mut found = BTreeMap::new();
    for connection in &router.connections {
        let is_down = matches!(
            connection.state.as_str(),
            "failed" | "retrying" | "waiting" | "connecting"
        );
        if is_down && connection.outbound && !connection.info.contains("cannot connect to ourself")
        {
            let host = host_of(&connection.address).to_owned();
            found.insert(host, connection.info.clone());
        }
    }
    // Moments are written with a fixed width, so they sort as texts.
    for refused in router
        .refused
        .iter()
        .filter(|one| one.last.as_str() >= since)
    {
        found
            .entry(refused.address.clone())
            .or_insert_with(|| refused.reason.clone());
    }
    found.retain(|host, _| !is_up(host));
    found
}

/// What the words about an attempt mean, if they tell.
fn told(evidence: &Evidence, report: &Report, host: &str, reason: &str) -> Option<Finding> {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&[
        "Unable to decrypt TCP msg",
        "another password",
        "another of the accepted",
    ]) {
        return Some(password(evidence, host));
    }
    if has(&["encrypted connection"]) {
        let (on, off) = if report.router.encryption {
            ("this host", host)
        } else {
            (host, "this host")
        };
        let finding = Finding::error("encryption", format!("{on} encrypts and {off} does not"))
            .why("the two do not connect: all hosts have a password, or none has")
            .fix("weave stop && weave launch --password-file /etc/weave/password");
        return Some(match off {
            "this host" => finding,
            other => finding.on(other),
        });
    }
    if has(&["peer names collision"]) {
        let name = &report.router.name;
        let finding = Finding::error(
            "identity",
            format!("another host is also called {name}: {}", reason.split(", retry").next()?),
        )
        .why("two machines have one identity, as copies of an image do: only one of them can take part")
        .fix(
            "rm -f /etc/machine-id && systemd-machine-id-setup && weave reset --force && weave launch",
        )
        .on(format!("one of the two ({host} or this host)"));
        return Some(finding);
    }
    if has(&["Connection limit reached"]) {
        return Some(limit(evidence, report, host, reason));
    }
    if has(&["incompatible with ours", "protocol header not recognised"]) {
        let finding = Finding::error(
            "protocol",
            format!("{host} speaks another protocol: {reason}"),
        )
        .why("the two do not connect")
        .fix("weave stop && weave launch --min-protocol-version 1");
        return Some(finding);
    }
    has(&["no overlays in common"]).then(|| {
        Finding::error(
            "overlay",
            format!("{host} and this host have no overlay in common"),
        )
        .why("the two do not connect")
        .fix("weave stop && weave launch")
        .on(host)
    })
}

fn password(evidence: &Evidence, host: &str) -> Finding {
    let node = evidence.report().and_then(|report| report.node.as_ref());
    let fix = match node.and_then(|node| node.password_file.as_ref()) {
        // The file is read again when it changes, and may hold several.
        Some(file) => format!("echo 'PASSWORD OF THE OTHERS' >> {file}"),
        None if evidence.is_in_cluster() => {
            "kubectl -n kube-system rollout restart daemonset/weave-net".to_owned()
        }
        None => "weave stop && weave launch --password-file /etc/weave/password".to_owned(),
    };
    Finding::error("password", format!("{host} has another password"))
        .why("the two do not connect, so neither do their pods")
        .fix(fix)
}

fn limit(evidence: &Evidence, report: &Report, host: &str, reason: &str) -> Finding {
    let is_ours = !reason.contains("refused: ");
    let digits = reason.rsplit_once('(').map_or("", |(_, rest)| rest);
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    let limit: usize = digits.parse().unwrap_or_default();
    let wanted = limit.saturating_mul(2).max(report.router.peers.len() * 2);
    let fix = if evidence.is_in_cluster() {
        format!("kubectl -n kube-system set env daemonset/weave-net CONN_LIMIT={wanted}")
    } else {
        format!("weave stop && weave launch --conn-limit {wanted}")
    };
    let (who, finding_on) = if is_ours {
        ("this host", None)
    } else {
        (host, Some(host))
    };
    let finding = Finding::warning(
        "limit",
        format!("{who} has reached its limit of {limit} connections"),
    )
    .why("who is refused reaches it through others, or not at all")
    .fix(fix);
    match finding_on {
        Some(on) if !evidence.is_in_cluster() => finding.on(on),
        _ => finding,
    }
}

fn unanswered(report: &Report, dial: &Dial) -> Finding {
    let host = host_of(&dial.address);
    let port = dial
        .address
        .rsplit_once(':')
        .map_or("6783", |(_, port)| port);
    match &dial.outcome {
        Reach::Refused => Finding::error("peer", format!("no daemon runs on {host}"))
            .why("the host is there, and its pods are cut off; if it is to be so, forget it")
            .fix(format!("weave forget {}", target(report, host))),
        Reach::Silent | Reach::Open => Finding::error(
            "port",
            format!("TCP {port} of {host} does not answer"),
        )
        .why("a packet filter on the way drops it, or the host is down: its pods are cut off")
        .fix(format!("iptables -I INPUT -p tcp --dport {port} -j ACCEPT"))
        .on(host),
        Reach::Failed(reason) => {
            Finding::error("route", format!("{host} is not reached: {reason}"))
                .why("there is no way to its pods")
                .fix(format!("ip route get {host}"))
        }
    }
}

/// What a peer was given as, if it was given.
pub(super) fn target<'a>(report: &'a Report, host: &'a str) -> &'a str {
    let mut given = report.router.targets.iter().map(String::as_str);
    given.find(|one| host_of(one) == host).unwrap_or(host)
}

/// The host of `HOST:PORT`.
pub(super) fn host_of(address: &str) -> &str {
    let host = match address.rsplit_once(':') {
        // An IPv6 address without port has several.
        Some((host, _)) if !host.contains(':') || host.ends_with(']') => host,
        _ => address,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}
