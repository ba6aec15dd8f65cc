//! What carries the frames of connections that are there.

use std::net::IpAddr;

use serde_json::Value;
use weave_mesh::peer::PeerName;

use super::connections::host_of;
use super::firewall::Blocked;
use crate::doctor::{Evidence, Finding};
use crate::status::model::{Connection, Report};

/// Overlays that are stuck; what [`mtu`] finds explains them all.
pub(super) fn check(evidence: &Evidence, blocked: &Blocked, is_narrow: bool) -> Vec<Finding> {
    let Some(report) = evidence.report() else {
        return Vec::new();
    };
    if blocked.udp || is_narrow {
        return Vec::new();
    }
    let connections = report.router.connections.iter();
    connections
        .filter_map(|connection| stuck(report, connection))
        .collect()
}

fn stuck(report: &Report, connection: &Connection) -> Option<Finding> {
    let host = host_of(&connection.address);
    let port = report.router.port;
    if connection.state == "pending" {
        let finding = Finding::error(
            "udp",
            format!(
                "UDP {port} and {} do not pass to {host}",
                port.saturating_add(1)
            ),
        )
        .why("peers talk, but no frame of a pod crosses")
        .fix(format!(
            "iptables -I INPUT -p udp --dport {port}:{} -j ACCEPT",
            port.saturating_add(1)
        ))
        .on(format!("{host}, and on this host"));
        return Some(finding);
    }
    let reason = silence(report, connection)?;
    let port = port.saturating_add(1);
    let finding = Finding::warning(
        "overlay",
        format!("frames to {host} cross by sleeve because {reason}"),
    )
    .why(format!(
        "UDP {port} does not pass: user space carries the frames, several times slower"
    ))
    .fix(format!("iptables -I INPUT -p udp --dport {port} -j ACCEPT"))
    .on(format!("{host}, and on this host"));
    Some(finding)
}

/// Why sleeve carries the frames of a connection, if it is that nothing was heard, as opposed to what
/// one of the two chose.
fn silence<'a>(report: &'a Report, connection: &Connection) -> Option<&'a str> {
    let words = connection.info.split_whitespace();
    let mut names = words.filter_map(|word| word.split('(').next());
    let peer = names.find(|name| name.parse::<PeerName>().is_ok())?;
    let switches = report.router.overlay_diagnostics.get("switches")?;
    let mut carried = switches["Connections"].as_array()?.iter();
    let one = carried.find(|one| one["Peer"].as_str() == Some(peer))?;
    let reason = one["Reason"].as_str()?;
    let is_silence = SILENT.iter().any(|words| reason.contains(words));
    (one["Overlay"].as_str() == Some("sleeve") && is_silence).then_some(reason)
}

/// An MTU of the pods that the ways to peers do not carry.
pub(super) fn mtu(evidence: &Evidence) -> Vec<Finding> {
    let Some(report) = evidence.report() else {
        return Vec::new();
    };
    let Some(bridge) = evidence.link(evidence.bridge()) else {
        return Vec::new();
    };
    let mut narrowest: Option<(u32, &str)> = None;
    for connection in &report.router.connections {
        let Ok(host) = host_of(&connection.address).parse::<IpAddr>() else {
            continue;
        };
        let live = matches!(connection.state.as_str(), "established" | "pending");
        let Some(link) = towards(evidence, host).filter(|_| live) else {
            continue;
        };
        let room = link.mtu.saturating_sub(overhead(report, connection));
        if room < bridge.mtu && narrowest.is_none_or(|(least, _)| room < least) {
            narrowest = Some((room, &link.name));
        }
    }
    let Some((room, name)) = narrowest else {
        return Vec::new();
    };
    let what = format!(
        "packets of pods have up to {} bytes, and {name} carries {room} of them",
        bridge.mtu
    );
    let fix = if evidence.is_in_cluster() {
        format!("kubectl -n kube-system set env daemonset/weave-net WEAVE_MTU={room}")
    } else {
        format!("weave stop && weave launch --mtu {room}")
    };
    let finding = Finding::error("mtu", what)
        .why("large packets vanish or are cut up: connections between pods open and then hang")
        .fix(fix);
    vec![finding]
}

fn towards(evidence: &Evidence, host: IpAddr) -> Option<&crate::doctor::evidence::Link> {
    let route = evidence
        .routes
        .iter()
        .filter(|route| route.to.contains(&host))
        .max_by_key(|route| route.to.prefix_len())?;
    evidence.link(route.dev.as_deref()?)
}

/// Bytes that an overlay adds to a packet at least: outer IPv4, UDP and VXLAN headers and the inner
/// Ethernet header (RFC 7348, section 5). Sleeve cuts frames up and puts them together again, so it needs
/// none where it was chosen.
fn overhead(report: &Report, connection: &Connection) -> u32 {
    let attrs = connection.attrs.as_ref();
    let name = attrs
        .and_then(|attrs| attrs.get("name"))
        .and_then(Value::as_str);
    match name {
        Some("sleeve") if silence(report, connection).is_none() => 0,
        _ => 50,
    }
}

/// What the overlay says when nothing comes.
const SILENT: [&str; 4] = [
    "no heartbeat",
    "not heard",
    "not been answered",
    "does not hear",
];
