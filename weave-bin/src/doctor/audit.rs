//! Every address that this host's daemon gave out, whose it is, and what is wrong with it.
//!
//! Four sources are laid beside each other: what the allocator holds, the interfaces on the bridge, what
//! container runtimes cached, and the ring. Invariant: an address is called leaked only if the plugin
//! `weave-net` asked for it, since only its pods have a link on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;
use weave_datapath::attach::host_names;

use super::evidence::{Evidence, Link, Owner};
use crate::pods::Plugin;
use crate::status::model::Ipam;

/// The whole audit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Audit {
    /// Whether nothing is off.
    pub clean: bool,
    /// Addresses in order.
    pub addresses: Vec<Row>,
    /// Who owns how much of the ring, of each family, the largest first.
    pub ring: Vec<Share>,
    /// What the allocator itself says is wrong, in words.
    pub faults: Vec<String>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// The address.
    pub address: IpAddr,
    /// Who has it: a container, `weave:expose`, or another name; empty: nobody whom the allocator knows.
    pub owner: String,
    /// `NAMESPACE/POD` where a runtime told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The end of its link on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// How it is with it.
    pub state: State,
}

/// How it is with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its pod or namespace has an interface here.
    Attached,
    /// It is on the bridge.
    Bridge,
    /// Somebody claimed it or another interface plugin uses it: whether it is in use is not known here.
    Claimed,
    /// The plugin asked for it, and the pod has no interface any more.
    Leaked,
    /// It is in use, and the allocator does not know by whom: it may give it again.
    Unknown,
    /// Two have it.
    Doubled,
}

impl State {
    /// Whether somebody has to look at it.
    #[must_use]
    pub fn is_off(self) -> bool {
        matches!(self, Self::Leaked | Self::Unknown | Self::Doubled)
    }
}

/// A peer's part of a ring.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Share {
    /// The range of the ring.
    pub range: String,
    /// The peer.
    pub peer: String,
    /// Its nickname.
    pub nickname: String,
    /// Addresses it owns.
    pub addresses: u128,
    /// Pieces they are in.
    pub fragments: usize,
    /// Their part of the range, in percent.
    pub percent: f64,
    /// Whether the mesh knows the peer; if not, nobody can give them.
    pub is_reachable: bool,
}

/// Holders whose pods have gone without a word: asked for by `weave-net`, and without a link.
#[must_use]
pub fn leaked(evidence: &Evidence) -> Vec<&Owner> {
    if evidence.links.is_empty() {
        return Vec::new();
    }
    evidence
        .owners
        .iter()
        .filter(|owner| is_pod(owner) && link_of(evidence, &owner.id).is_none())
        .collect()
}

/// Lays everything beside each other.
#[must_use]
pub fn audit(evidence: &Evidence) -> Audit {
    let mut rows = held(evidence);
    let known: BTreeSet<IpAddr> = rows.iter().map(|row| row.address).collect();
    rows.extend(strays(evidence, &known));
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.address).or_default() += 1;
    }
    for row in &mut rows {
        if counts[&row.address] > 1 {
            row.state = State::Doubled;
        }
    }
    rows.sort_by(|a, b| (a.address, &a.owner).cmp(&(b.address, &b.owner)));
    let rings = || {
        let report = evidence.report().into_iter();
        report.flat_map(|report| report.ipam.iter().chain(&report.ipam6))
    };
    let ring: Vec<Share> = rings().flat_map(shares).collect();
    let faults: Vec<String> = rings()
        .flat_map(|ipam| {
            ipam.conflicts
                .iter()
                .chain(&ipam.renumber)
                .chain(&ipam.held)
        })
        .cloned()
        .collect();
    let is_whole = rings().all(covers);
    let mut all_faults = faults;
    if !is_whole {
        all_faults.push("the ring does not cover its range".to_owned());
    }
    Audit {
        clean: all_faults.is_empty()
            && !rows.iter().any(|row| row.state.is_off())
            && ring.iter().all(|share| share.is_reachable),
        addresses: rows,
        ring,
        faults: all_faults,
    }
}

fn is_pod(owner: &Owner) -> bool {
    owner
        .mark
        .as_ref()
        .is_some_and(|mark| mark.plugin == Plugin::Net)
}

fn link_of<'a>(evidence: &'a Evidence, id: &str) -> Option<&'a Link> {
    let veths = || {
        let links = evidence.links.iter();
        links.filter(|link| link.kind.as_deref() == Some("veth"))
    };
    let named = || {
        let names: Vec<String> = host_names(id).collect();
        veths().find(|link| link.alias.is_none() && names.contains(&link.name))
    };
    veths()
        .find(|link| link.alias.as_deref() == Some(id))
        .or_else(named)
}

fn held(evidence: &Evidence) -> Vec<Row> {
    let exposed: BTreeSet<&str> = evidence
        .report()
        .and_then(|report| report.host.as_ref())
        .into_iter()
        .flat_map(|host| &host.exposed)
        .filter_map(|one| one.address.split('/').next())
        .collect();
    let cached = evidence.cached.as_ref();
    let mut rows = Vec::new();
    for owner in &evidence.owners {
        let link = link_of(evidence, &owner.id);
        for net in &owner.addresses {
            let address = net.addr();
            let state = if exposed.contains(address.to_string().as_str()) {
                State::Bridge
            } else if link.is_some() {
                State::Attached
            } else if is_pod(owner) && !evidence.links.is_empty() {
                State::Leaked
            } else {
                State::Claimed
            };
            rows.push(Row {
                address,
                owner: owner.id.clone(),
                pod: cached
                    .and_then(|cached| cached.get(&owner.id))
                    .and_then(|cached| cached.pod.clone()),
                link: link.map(|link| link.name.clone()),
                state,
            });
        }
    }
    rows
}

/// Addresses of the ranges that are in use or thought to be, and that the allocator does not hold.
fn strays(evidence: &Evidence, known: &BTreeSet<IpAddr>) -> Vec<Row> {
    let ranges: Vec<ipnet::IpNet> = evidence
        .report()
        .into_iter()
        .flat_map(|report| report.ipam.iter().chain(&report.ipam6))
        .filter_map(|ipam| ipam.range.parse().ok())
        .collect();
    let is_ours = |address: &IpAddr| {
        ranges.iter().any(|range| range.contains(address)) && !known.contains(address)
    };
    let mut rows: BTreeMap<(IpAddr, String), Row> = BTreeMap::new();
    for link in &evidence.links {
        let inside = link.inside.iter().flatten().map(ipnet::IpNet::addr);
        for address in inside.filter(is_ours) {
            let owner = link.alias.clone().unwrap_or_default();
            let row = Row {
                address,
                owner: owner.clone(),
                pod: None,
                link: Some(link.name.clone()),
                state: State::Unknown,
            };
            rows.insert((address, owner), row);
        }
    }
    for (id, cached) in evidence.cached.iter().flatten() {
        // A result of a pod that has gone may stay in the cache of a runtime that was killed.
        if link_of(evidence, id).is_none() {
            continue;
        }
        for address in cached
            .addresses
            .iter()
            .map(ipnet::IpNet::addr)
            .filter(is_ours)
        {
            let row = rows.entry((address, id.clone())).or_insert_with(|| Row {
                address,
                owner: id.clone(),
                pod: None,
                link: None,
                state: State::Unknown,
            });
            row.pod.clone_from(&cached.pod);
        }
    }
    rows.into_values().collect()
}

fn shares(ipam: &Ipam) -> Vec<Share> {
    let mut owners: BTreeMap<&str, Share> = BTreeMap::new();
    for entry in &ipam.entries {
        let share = owners.entry(&entry.peer).or_insert_with(|| Share {
            range: ipam.range.clone(),
            peer: entry.peer.clone(),
            nickname: entry.nickname.clone(),
            addresses: 0,
            fragments: 0,
            percent: 0.0,
            is_reachable: true,
        });
        share.addresses = share.addresses.saturating_add(entry.size);
        share.fragments += 1;
        share.is_reachable &= entry.is_known_peer;
    }
    let mut shares: Vec<Share> = owners.into_values().collect();
    for share in &mut shares {
        share.percent = percent(share.addresses, ipam.range_num_ips);
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.addresses));
    shares
}

/// Whether the parts make up the whole; a ring that is not there yet has none.
fn covers(ipam: &Ipam) -> bool {
    let sizes = ipam.entries.iter().map(|entry| entry.size);
    ipam.entries.is_empty() || sizes.fold(0_u128, u128::saturating_add) == ipam.range_num_ips
}

/// In steps of a hundredth.
fn percent(part: u128, whole: u128) -> f64 {
    // The steps are whole numbers up to 10 000, so that nothing is lost on the way.
    let steps = part
        .checked_mul(10_000)
        .map_or_else(|| part / (whole / 10_000).max(1), |all| all / whole.max(1));
    f64::from(u32::try_from(steps).unwrap_or(u32::MAX)) / 100.0
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Attached => "attached",
            Self::Bridge => "bridge",
            Self::Claimed => "claimed",
            Self::Leaked => "LEAKED",
            Self::Unknown => "UNKNOWN",
            Self::Doubled => "DOUBLED",
        })
    }
}

/// The audit for people.
#[must_use]
pub fn text(audit: &Audit) -> String {
    let mut text = String::new();
    for row in &audit.addresses {
        let owner = if row.owner.is_empty() {
            "-"
        } else {
            &row.owner
        };
        let owner: String = owner.chars().take(12).collect();
        let pod = row.pod.as_deref().unwrap_or("-");
        let link = row.link.as_deref().unwrap_or("-");
        let (address, state) = (row.address.to_string(), row.state);
        text += &format!("{address:<15} {state:<8} {owner:<12} {link:<15} {pod}\n");
    }
    for share in &audit.ring {
        let Share {
            range,
            peer,
            nickname,
            addresses,
            fragments,
            percent,
            is_reachable,
        } = share;
        let reach = if *is_reachable { "" } else { " UNREACHABLE" };
        text += &format!(
            "{range} {peer}({nickname}) {addresses} addresses in {fragments} parts, {percent:.2} %{reach}\n"
        );
    }
    for fault in &audit.faults {
        text += &format!("WRONG: {fault}\n");
    }
    let off = audit.addresses.iter().filter(|row| row.state.is_off());
    let lost = audit.ring.iter().filter(|share| !share.is_reachable);
    text + &format!(
        "addresses: {}, off: {}, owners that are gone: {}, faults of the ring: {}\n",
        audit.addresses.len(),
        off.count(),
        lost.count(),
        audit.faults.len()
    )
}

#[cfg(test)]
mod tests;
