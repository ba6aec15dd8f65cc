//! What is wrong, in sentences, at the top of the page.

use super::markup::Markup;
use super::{Page, Policies, ring};
use crate::status::links::{Health, Link};
use crate::status::model::Ipam;

/// A box with everything that is wrong, or one that says that nothing is.
pub(super) fn draw(markup: &mut Markup, page: &Page<'_>, links: &[Link<'_>]) {
    let mut found = found(page, links);
    if found.is_empty() {
        let text = "Nothing is known to be wrong.";
        markup.element("div", &[("class", "fine"), ("role", "status")], |markup| {
            markup.text(text);
        });
        return;
    }
    let left_out = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if left_out > 0 {
        found.push(format!("and {left_out} more"));
    }
    markup.element(
        "div",
        &[("class", "trouble"), ("role", "status")],
        |markup| {
            markup.leaf("strong", &[], "Look at this:");
            markup.element("ul", &[], |markup| {
                for text in found {
                    markup.leaf("li", &[], &text);
                }
            });
        },
    );
}

/// What is wrong, the mesh first.
fn found(page: &Page<'_>, links: &[Link<'_>]) -> Vec<String> {
    let report = page.report;
    let mut found = Vec::new();
    if !report.ready {
        found.push("The daemon is not ready.".to_owned());
    }
    for link in links {
        found.extend(of_link(link));
    }
    let router = &report.router;
    for peer in &router.peers {
        if !router
            .unicast_routes
            .iter()
            .any(|route| route.dest == peer.name)
        {
            let (name, nickname) = (&peer.name, &peer.nick_name);
            found.push(format!(
                "No established connection leads to {nickname} ({name})."
            ));
        }
    }
    for host in &router.refused {
        let (address, count, reason) = (&host.address, host.count, &host.reason);
        found.push(format!("{address} was refused {count} times: {reason}"));
    }
    for ipam in [&report.ipam, &report.ipam6].into_iter().flatten() {
        found.extend(of_addresses(ipam));
    }
    if let Some(out) = &report.left_out {
        found.push(format!("{} is not used: {}", out.range, out.reason));
    }
    if let Some(host) = &report.host {
        found.extend(host.faults.iter().cloned());
    }
    if let Some(cluster) = &report.cluster {
        let problems = cluster.problems.iter();
        found.extend(problems.map(|(what, why)| format!("{what}: {why}")));
        found.extend(
            cluster
                .lost
                .iter()
                .map(|lost| format!("Node is gone: {lost}")),
        );
    }
    match page.policies {
        Policies::Silent(why) => {
            found.push(format!("The policy controller does not answer: {why}"));
        }
        Policies::Known(known) => found.extend(known.faults.iter().cloned()),
        Policies::NotExpected | Policies::NotShown => {}
    }
    found
}

fn of_link(link: &Link<'_>) -> Option<String> {
    let connection = link.connection;
    let address = &connection.address;
    match (&*connection.state, link.health()) {
        ("established", Health::Bad) => Some(format!("No overlay works to {address}.")),
        ("established", _) => None,
        // A peer that reaches itself by one of its addresses says so once and goes on.
        (_, _) if connection.info.contains("cannot connect to ourself") => None,
        (state, _) => Some(format!("{address} is {state}: {}", connection.info)),
    }
}

fn of_addresses(ipam: &Ipam) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if let Some(vote) = ipam.paxos.as_ref().filter(|_| ipam.entries.is_empty()) {
        let (known, quorum) = (vote.known_nodes, vote.quorum);
        found.push(format!(
            "No addresses yet: {known} hosts are known, {quorum} are needed."
        ));
    }
    for (what, list) in [
        ("Conflict", &ipam.conflicts),
        ("Not given", &ipam.held),
        ("Renumber", &ipam.renumber),
        ("Waiting for an address", &ipam.pending_allocates),
    ] {
        found.extend(list.iter().map(|text| format!("{what}: {text}")));
    }
    for owner in ring::owners(ipam).values().filter(|owner| !owner.is_known) {
        let (name, size) = (owner.name, super::number_of(owner.size));
        found.push(format!(
            "{name} {} owns {size} addresses and is not in the mesh: if it is gone for good, weave \
             rmpeer {name} takes them over.",
            owner.nickname
        ));
    }
    found
}

/// Sentences that are shown.
const MOST: usize = 30;
