//! The daemon itself, the API server, versions and clocks.

use crate::doctor::evidence::{Daemon, Page, Reach};
use crate::doctor::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(down(evidence));
    found.extend(api(evidence));
    found.extend(versions(evidence));
    found.extend(clocks(evidence));
    found
}

fn down(evidence: &Evidence) -> Option<Finding> {
    let Daemon::Down { address, reason } = &evidence.daemon else {
        return None;
    };
    let fix = if evidence.is_in_cluster() {
        "kubectl -n kube-system logs -l name=weave-net -c weave --previous --tail 50"
    } else {
        "weave launch"
    };
    let finding = Finding::error(
        "daemon",
        format!("no daemon answers at {address}: {reason}"),
    )
    .why("pods that run keep their network; none can start or end, and what fails stays so")
    .fix(fix);
    Some(finding)
}

fn api(evidence: &Evidence) -> Option<Finding> {
    let api = evidence.api.as_ref()?;
    let reason = match &api.outcome {
        Reach::Open => return None,
        Reach::Refused => "connection refused",
        Reach::Silent => "no answer",
        Reach::Failed(reason) => reason,
    };
    let (host, port) = api
        .address
        .rsplit_once(':')
        .unwrap_or((&api.address, "443"));
    let what = format!("the API server at {} is not reached: {reason}", api.address);
    let finding = Finding::error("api", what)
        .why("peers, policies and Nodes that are gone are not learned; kube-proxy has to serve this address")
        .fix(format!("ip route get {host} && curl -k https://{host}:{port}/livez"));
    Some(finding)
}

fn versions(evidence: &Evidence) -> Option<Finding> {
    let own = &evidence.report()?.version;
    let others: Vec<&Page> = evidence
        .pages
        .iter()
        .filter(|page| page.version.as_ref().is_some_and(|version| version != own))
        .collect();
    let first = others.first()?;
    let shown: Vec<String> = others
        .iter()
        .take(SHOWN)
        .map(|page| {
            format!(
                "{} runs {}",
                page.address,
                page.version.as_deref().unwrap_or("?")
            )
        })
        .collect();
    let what = format!("{}; this host runs {own}", shown.join(", "));
    let fix = if evidence.is_in_cluster() {
        "kubectl -n kube-system rollout status daemonset/weave-net".to_owned()
    } else {
        "weave stop && weave launch".to_owned()
    };
    let finding = Finding::warning("version", what)
        .why("peers use what the oldest of them knows; during an update this passes by itself")
        .fix(fix);
    Some(if evidence.is_in_cluster() {
        finding
    } else {
        finding.on(first.address.to_string())
    })
}

fn clocks(evidence: &Evidence) -> Vec<Finding> {
    let is_skewed = |page: &&Page| {
        page.ahead
            .is_some_and(|ahead| ahead.unsigned_abs() > CLOCKS_APART)
    };
    let skewed: Vec<&Page> = evidence.pages.iter().filter(is_skewed).collect();
    // If most others differ from us, it is our clock.
    let known = evidence.pages.iter().filter(|page| page.ahead.is_some());
    let is_ours = skewed.len() > 1 && skewed.len() == known.count();
    let finding = |what: String| {
        Finding::error("clock", what)
            .why("names of peers whose clocks differ are refused, and logs cannot be compared")
            .fix("timedatectl set-ntp true")
    };
    if let Some(page) = skewed.first().filter(|_| is_ours) {
        let ahead = page.ahead.unwrap_or_default().saturating_neg();
        return vec![finding(format!(
            "the clock of this host is {} that of every peer",
            apart(ahead)
        ))];
    }
    if !skewed.is_empty() {
        let each = skewed.into_iter().map(|page| {
            let ahead = page.ahead.unwrap_or_default();
            let address = page.address.to_string();
            finding(format!("the clock of {address} is {} ours", apart(ahead))).on(address)
        });
        return each.collect();
    }
    let refused = evidence
        .report()
        .and_then(|report| report.dns.as_ref()?.counters)
        .map_or(0, |counters| counters.gossip_skewed);
    match refused {
        0 => Vec::new(),
        count => vec![finding(format!(
            "{count} messages of peers about names were refused because their clocks differ from ours"
        ))],
    }
}

fn apart(ahead: i64) -> String {
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    format!("{} s {side}", ahead.unsigned_abs())
}

/// Seconds from which on clocks count as different: far beyond any delay of an answer, and far below
/// the 900 s from which on names are refused.
const CLOCKS_APART: u64 = 30;
/// Peers that a line names.
const SHOWN: usize = 5;
