//! The text pages, column by column as Weave Net prints them.
//!
//! Scripts cut and grep these pages, so widths, words and trailing blanks are kept. One thing
//! differs on purpose: attributes of a connection are separated by a blank.

use std::fmt::Write as _;

use serde_json::Value;

use crate::kube::state::Cluster;

use super::model::{Connection, Dns, Host, Ipam, Passwords, Refused, Report, Router, VersionCheck};

/// The `/status` page.
pub fn overview(report: &Report) -> String {
    let mut page = String::new();
    line(
        &mut page,
        "Version",
        &version(&report.version, &report.version_check),
    );
    page.push('\n');
    router_block(&mut page, &report.router);
    for (service, ipam) in [("ipam", &report.ipam), ("ipam6", &report.ipam6)] {
        if let Some(ipam) = ipam {
            page.push('\n');
            ipam_block(&mut page, service, ipam);
        }
    }
    if let Some(left_out) = &report.left_out {
        page.push('\n');
        line(&mut page, "Service", "ipam6");
        line(&mut page, "Status", &format!("off: {}", left_out.reason));
        line(&mut page, "Range", &left_out.range);
    }
    if let Some(dns) = &report.dns {
        page.push('\n');
        dns_block(&mut page, dns);
    }
    if let Some(host) = report.host.as_ref().filter(|host| is_worth_telling(host)) {
        page.push('\n');
        host_block(&mut page, host);
    }
    if let Some(cluster) = &report.cluster {
        page.push('\n');
        cluster_block(&mut page, cluster);
    }
    page
}

fn ipam_block(page: &mut String, service: &str, ipam: &Ipam) {
    line(page, "Service", service);
    line(page, "Status", &ipam_state(ipam));
    line(page, "Range", &ipam.range);
    line(page, "DefaultSubnet", &ipam.default_subnet);
    for (label, texts) in [
        ("Held", &ipam.held),
        ("Conflict", &ipam.conflicts),
        ("Renumber", &ipam.renumber),
    ] {
        for text in texts {
            line(page, label, text);
        }
    }
}

/// The page is as Weave Net's as long as nobody touches what is ours.
fn is_worth_telling(host: &Host) -> bool {
    host.rule_repairs + host.link_repairs > 0 || !host.faults.is_empty()
}

fn host_block(page: &mut String, host: &Host) {
    line(page, "Service", "host");
    let Host {
        iptables,
        rule_repairs,
        link_repairs,
        ..
    } = host;
    line(page, "Iptables", iptables);
    let repairs = format!("{rule_repairs} of rules, {link_repairs} of the bridge");
    line(page, "Repairs", &repairs);
    if let (Some(text), Some(at)) = (&host.last_repair, &host.last_repair_at) {
        line(page, "LastRepair", &format!("{at} {text}"));
    }
    for fault in &host.faults {
        line(page, "Fault", fault);
    }
}

/// The `/status/connections` page: one line per connection or target.
pub fn connections(report: &Report) -> String {
    let mut page = String::new();
    for connection in &report.router.connections {
        let direction = arrow(connection.outbound);
        let Connection {
            address,
            state,
            info,
            ..
        } = connection;
        let attributes = attributes(connection);
        let _ = writeln!(
            page,
            "{direction} {address:<21} {state:<11} {info} {attributes}"
        );
    }
    page
}

/// The `/status/peers` page: each peer with its connections.
pub fn peers(report: &Report) -> String {
    let mut page = String::new();
    for peer in &report.router.peers {
        let _ = writeln!(page, "{}({})", peer.name, peer.nick_name);
        for connection in &peer.connections {
            let direction = arrow(connection.outbound);
            let remote = format!("{}({})", connection.name, connection.nick_name);
            let state = if connection.established {
                "established"
            } else {
                "pending"
            };
            let address = &connection.address;
            let _ = writeln!(page, "   {direction} {address:<21} {remote:<37} {state}");
        }
    }
    page
}

/// The `/status/targets` page: one given peer per line.
pub fn targets(report: &Report) -> String {
    report
        .router
        .targets
        .iter()
        .map(|target| format!("{target}\n"))
        .collect()
}

/// The `/status/ipam` page: who owns how much; empty without a ring or without IPAM. The second
/// family follows after an empty line.
pub fn ipam(report: &Report) -> String {
    let us = report.router.name.as_str();
    let blocks = [&report.ipam, &report.ipam6]
        .into_iter()
        .flatten()
        .map(|ipam| owners(ipam, us));
    let blocks: Vec<String> = blocks.filter(|block| !block.is_empty()).collect();
    blocks.join("\n")
}

/// One line for each owner, ourselves first.
fn owners(ipam: &Ipam, us: &str) -> String {
    let mut owners: Vec<Owner<'_>> = Vec::new();
    for entry in &ipam.entries {
        if let Some(owner) = owners.iter_mut().find(|owner| owner.name == entry.peer) {
            owner.size += entry.size;
        } else {
            owners.push(Owner {
                name: &entry.peer,
                nickname: &entry.nickname,
                size: entry.size,
                is_known: entry.is_known_peer,
            });
        }
    }
    owners.sort_by_key(|owner| (owner.name != us, owner.name));

    let mut page = String::new();
    for owner in owners {
        let label = format!("{}({})", owner.name, owner.nickname);
        let share = percentage(owner.size, ipam.range_num_ips);
        let remark = if owner.name == us {
            format!("({} active)", ipam.active_ips)
        } else if owner.is_known {
            String::new()
        } else {
            "- unreachable!".to_owned()
        };
        let size = owner.size;
        let _ = writeln!(
            page,
            "{label:<37} {size:>8} IPs ({share:04.1}% of total) {remark}"
        );
    }
    page
}

/// The `/status/dns` page: live names; empty when the name server is off.
pub fn dns(report: &Report) -> String {
    let Some(dns) = &report.dns else {
        return String::new();
    };
    let suffix = format!(".{}", dns.domain);
    let mut page = String::new();
    for entry in dns.entries.iter().filter(|entry| entry.tombstone == 0) {
        let host = entry
            .hostname
            .strip_suffix(&suffix)
            .unwrap_or(&entry.hostname);
        let container: String = entry.container_id.chars().take(12).collect();
        let (address, origin) = (&entry.address, &entry.origin);
        let _ = writeln!(page, "{host:<12} {address:<15} {container:>12} {origin}");
    }
    page
}

struct Owner<'a> {
    name: &'a str,
    nickname: &'a str,
    size: u128,
    is_known: bool,
}

fn line(page: &mut String, label: &str, value: &str) {
    let _ = writeln!(page, "{label:>15}: {value}");
}

fn version(version: &str, check: &VersionCheck) -> String {
    let remark = if !check.enabled {
        "version check update disabled".to_owned()
    } else if !check.new_version.is_empty() {
        format!("version {} available - please upgrade!", check.new_version)
    } else if check.success {
        format!(
            "up to date; next check at {}",
            slashed(&check.next_check_at)
        )
    } else {
        let next = slashed(&check.next_check_at);
        format!("failed to check latest version - see logs; next check at {next}")
    };
    format!("{version} ({remark})")
}

/// An RFC 3339 time as `2006/01/02 15:04:05`.
fn slashed(time: &str) -> String {
    time.chars()
        .take(19)
        .map(|c| if c == '-' { '/' } else { c })
        .collect::<String>()
        .replace('T', " ")
}

fn router_block(page: &mut String, router: &Router) {
    line(page, "Service", "router");
    let (min, max) = (router.protocol_min_version, router.protocol_max_version);
    let versions = if min == max {
        max.to_string()
    } else {
        format!("{min}..{max}")
    };
    line(page, "Protocol", &format!("{} {versions}", router.protocol));
    line(
        page,
        "Name",
        &format!("{}({})", router.name, router.nick_name),
    );
    line(page, "Encryption", on_off(router.encryption));
    line(page, "PeerDiscovery", on_off(router.peer_discovery));
    line(page, "Targets", &router.targets.len().to_string());
    line(page, "Connections", &connection_counts(router));
    line(page, "Peers", &peer_counts(router));
    let trusted = if router.trusted_subnets.is_empty() {
        "none".to_owned()
    } else {
        router.trusted_subnets.join(", ")
    };
    line(page, "TrustedSubnets", &trusted);
    if let Some(passwords) = router.passwords.filter(|passwords| passwords.is_changing()) {
        line(page, "Passwords", &password_use(passwords));
    }
    for host in &router.refused {
        line(page, "Refused", &refusal(host));
    }
}

fn password_use(passwords: Passwords) -> String {
    let Passwords {
        accepted,
        with_current,
        with_other,
        with_dropped,
    } = passwords;
    format!(
        "{accepted} accepted; connections: {with_current} with the first, {with_other} with \
         another, {with_dropped} with a dropped one"
    )
}

fn refusal(host: &Refused) -> String {
    let Refused {
        address,
        reason,
        count,
        last,
    } = host;
    format!(
        "{address} {count} times, last at {}: {reason}",
        slashed(last)
    )
}

fn connection_counts(router: &Router) -> String {
    let counts: Vec<String> = CONNECTION_STATES
        .iter()
        .filter_map(|state| {
            let count = router
                .connections
                .iter()
                .filter(|c| c.state == *state)
                .count();
            (count > 0).then(|| format!("{count} {state}"))
        })
        .collect();
    with_remark(router.connections.len(), "", &counts, "")
}

fn peer_counts(router: &Router) -> String {
    let all = router.peers.iter().flat_map(|peer| &peer.connections);
    let established = all
        .clone()
        .filter(|connection| connection.established)
        .count();
    let pending = all.count() - established;
    let counts: Vec<String> = [(established, "established"), (pending, "pending")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    with_remark(router.peers.len(), "with ", &counts, " connections")
}

fn with_remark(total: usize, before: &str, counts: &[String], after: &str) -> String {
    if counts.is_empty() {
        return total.to_string();
    }
    format!("{total} ({before}{}{after})", counts.join(", "))
}

fn ipam_state(ipam: &Ipam) -> String {
    if ipam.entries.is_empty() {
        return match &ipam.paxos {
            Some(paxos) if paxos.elector => {
                let (quorum, known) = (paxos.quorum, paxos.known_nodes);
                format!("awaiting consensus (quorum: {quorum}, known: {known})")
            }
            Some(_) => "priming".to_owned(),
            None => "idle".to_owned(),
        };
    }
    if !ipam.entries.iter().any(|entry| entry.is_known_peer) {
        "all IP ranges owned by unreachable peers - use 'rmpeer' if they are dead".to_owned()
    } else if !ipam.pending_allocates.is_empty() {
        "waiting for IP(s) to become available".to_owned()
    } else {
        "ready".to_owned()
    }
}

fn dns_block(page: &mut String, dns: &Dns) {
    line(page, "Service", "dns");
    line(page, "Domain", &dns.domain);
    let upstream = if dns.upstream.is_empty() {
        "none".to_owned()
    } else {
        dns.upstream.join(", ")
    };
    line(page, "Upstream", &upstream);
    line(page, "TTL", &dns.ttl.to_string());
    let live = dns
        .entries
        .iter()
        .filter(|entry| entry.tombstone == 0)
        .count();
    line(page, "Entries", &live.to_string());
}

fn cluster_block(page: &mut String, cluster: &Cluster) {
    line(page, "Service", "cluster");
    line(page, "Status", cluster.summary());
    line(page, "Node", &cluster.node);
    if let (Some(nodes), Some(peers)) = (cluster.nodes, cluster.peers) {
        line(page, "Nodes", &format!("{nodes} (with {peers} peers)"));
    }
    if let Some(address) = &cluster.exposed {
        line(page, "Bridge", address);
    }
    for lost in &cluster.lost {
        line(page, "Lost", lost);
    }
    for (what, reason) in &cluster.problems {
        line(page, "Problem", &format!("{what}: {reason}"));
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

fn arrow(outbound: bool) -> &'static str {
    if outbound { "->" } else { "<-" }
}

fn attributes(connection: &Connection) -> String {
    let Some(attributes) = &connection.attrs else {
        return String::new();
    };
    let shown: Vec<String> = attributes
        .iter()
        .filter(|(key, _)| key.as_str() != "name")
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}={text}"),
            other => format!("{key}={other}"),
        })
        .collect();
    shown.join(" ")
}

/// Share of `part` in `whole`, in percent.
fn percentage(part: u128, whole: u128) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share printed with one digit")]
    let share = part as f64 / whole as f64;
    share * 100.0
}

const CONNECTION_STATES: [&str; 5] = ["established", "pending", "retrying", "failed", "connecting"];

#[cfg(test)]
mod tests;
