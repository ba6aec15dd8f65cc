//! Rings, space and addresses.

use std::collections::{BTreeMap, BTreeSet};

use super::connections;
use crate::doctor::audit;
use crate::doctor::{Evidence, Finding};
use crate::status::model::{Ipam, Report};

pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(report) = evidence.report() {
        let gone = unreachable(report);
        let silent = connections::silent(evidence);
        let forget: Vec<&str> = silent
            .iter()
            .map(|dial| connections::target(report, connections::host_of(&dial.address)))
            .collect();
        // They go together: which of the silent hosts had which addresses is not known any more.
        let forget = match forget.as_slice() {
            [] => String::new(),
            all if all.len() <= gone.len() => format!(" && weave forget {}", all.join(" ")),
            _ => String::new(),
        };
        found.extend(gone.into_iter().map(|owner| space(owner, &forget)));
        found.extend(rings(report));
        found.extend(votes(report));
    }
    let leaked = audit::leaked(evidence);
    if let Some(first) = leaked.first() {
        let ids: Vec<&str> = leaked.iter().map(|owner| short(&owner.id)).collect();
        let addresses: Vec<String> = leaked
            .iter()
            .flat_map(|owner| &owner.addresses)
            .map(|net| net.addr().to_string())
            .collect();
        let what = format!(
            "container {} has {} and no interface",
            ids.join(", "),
            addresses.join(", ")
        );
        let all: Vec<&str> = leaked.iter().map(|owner| owner.id.as_str()).collect();
        let finding = Finding::warning("leaked", what)
            .why(format!(
                "the runtime never said that {} ended; the daemon takes its addresses back after 5 minutes",
                short(&first.id)
            ))
            .fix(format!("weave ipam release {}", all.join(" ")));
        found.push(finding);
    }
    found
}

/// Owners of space that the mesh does not know: name, nickname and addresses.
pub(super) fn unreachable(report: &Report) -> Vec<(String, String, u128)> {
    let mut owners: BTreeMap<&str, (&str, u128)> = BTreeMap::new();
    let rings = report.ipam.iter().chain(&report.ipam6);
    for entry in rings.flat_map(|ipam| &ipam.entries) {
        if !entry.is_known_peer {
            let owner = owners.entry(&entry.peer).or_insert((&entry.nickname, 0));
            owner.1 = owner.1.saturating_add(entry.size);
        }
    }
    owners
        .into_iter()
        .map(|(peer, (nickname, size))| (peer.to_owned(), nickname.to_owned(), size))
        .collect()
}

fn space((peer, nickname, size): (String, String, u128), forget: &str) -> Finding {
    let what = format!("{peer}({nickname}) is gone and has {size} addresses");
    Finding::warning("space", what)
        .why("nobody can give them to a pod; if the host does not come back, another must take them over")
        .fix(format!("weave rmpeer {peer}{forget}"))
}

fn rings(report: &Report) -> Vec<Finding> {
    let rings = report.ipam.iter().chain(&report.ipam6);
    let mut found = Vec::new();
    for ipam in rings {
        found.extend(clash(ipam));
        found.extend(ipam.renumber.iter().map(|words| renumber(words)));
    }
    found
}

fn clash(ipam: &Ipam) -> Option<Finding> {
    let first = ipam.conflicts.first()?;
    let more = match ipam.conflicts.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let what = format!("the rings of two peers clash: {first}{more}");
    let finding = Finding::error("ring", what)
        .why("they were begun apart, by other seeds or ranges: one address may be given twice");
    let reset = "weave reset --force && weave launch";
    // Whoever is alone with a range has the wrong one.
    let owners: BTreeSet<&str> = ipam.entries.iter().map(|entry| &*entry.peer).collect();
    let theirs = first
        .split_once("ranges (received: ")
        .and_then(|(_, rest)| rest.split([',', ')']).next());
    Some(match theirs {
        Some(theirs) if owners.len() < 2 => {
            finding.fix(format!("{reset} --ipalloc-range {theirs}"))
        }
        Some(_) => finding
            .fix(format!("{reset} --ipalloc-range {}", ipam.range))
            .on("the host with the other range"),
        None => finding.fix(reset).on("the host whose pods matter less"),
    })
}

/// An address in use here that another peer owns, in the words of the allocator: `ADDRESS of IDENT
/// belongs to PEER: …`.
fn renumber(words: &str) -> Finding {
    let fix = match words.split_once(" of ") {
        Some((address, rest)) if rest.starts_with("weave:expose ") => {
            format!("weave hide {address} && weave expose")
        }
        Some((_, rest)) => {
            let id = rest.split(' ').next().unwrap_or_default();
            format!("crictl stopp $(crictl pods -q --no-trunc | grep {id})")
        }
        None => "weave ipam audit".to_owned(),
    };
    Finding::error("renumber", words)
        .why("this host had a ring of its own before it met the others: they may give the address too")
        .fix(fix)
}

fn votes(report: &Report) -> Option<Finding> {
    let ipam = report.ipam.iter().chain(&report.ipam6);
    let vote = ipam
        .filter(|ipam| ipam.entries.is_empty())
        // Nobody is waited for before somebody waits.
        .filter(|ipam| !ipam.pending_allocates.is_empty() || !ipam.pending_claims.is_empty())
        .find_map(|ipam| {
            ipam.paxos
                .as_ref()
                .filter(|vote| vote.known_nodes < vote.quorum)
        })?;
    let what = format!(
        "nobody can be given an address: {} of {} hosts that must agree are here",
        vote.known_nodes, vote.quorum
    );
    let finding = Finding::error("consensus", what)
        .why("until enough hosts have met, each might begin a ring of its own")
        .fix("weave connect HOST");
    Some(finding)
}

/// The part of an id that is shown.
fn short(id: &str) -> &str {
    match id.char_indices().nth(12) {
        Some((end, _)) => &id[..end],
        None => id,
    }
}
