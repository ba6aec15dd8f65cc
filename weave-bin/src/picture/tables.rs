//! The tables beside and below the pictures.

use std::time::Duration;

use super::markup::Markup;
use super::{Policies, head, mesh};
use crate::logging::rfc3339;
use crate::npc::controller::blocked::Record;
use crate::status::events::Event;
use crate::status::links::{Health, Link};
use crate::status::model::{Peer, Router};

/// The connections of this peer.
pub(super) fn connections(markup: &mut Markup, links: &[Link<'_>], router: &Router) {
    if links.is_empty() {
        markup.leaf(
            "p",
            &[],
            "This peer has no connections and is told of no other peers.",
        );
        return;
    }
    let is_troubled = |link: &&Link<'_>| link.health() != Health::Good;
    let troubled: Vec<&Link<'_>> = links.iter().filter(is_troubled).collect();
    let all: Vec<&Link<'_>> = links.iter().collect();
    if links.len() > FOLDED && !troubled.is_empty() {
        links_table(
            markup,
            "Connections that are not at their best",
            &troubled,
            router,
        );
    }
    links_table(markup, "Connections of this peer", &all, router);
}

fn links_table(markup: &mut Markup, title: &str, links: &[&Link<'_>], router: &Router) {
    let columns = [
        "Connection",
        "Peer",
        "State",
        "Overlay",
        "#MTU",
        "Encrypted",
        "#Changes",
        "Why",
    ];
    let caption = format!("{title}: {}", links.len());
    let is_whole = links.len() <= FOLDED || title.contains("best");
    table(markup, &caption, is_whole, &columns, |markup| {
        for link in links {
            link_row(markup, link, router);
        }
    });
}

fn link_row(markup: &mut Markup, link: &Link<'_>, router: &Router) {
    let connection = link.connection;
    let direction = if connection.outbound { "to" } else { "from" };
    let nickname = link.peer.and_then(|name| {
        let mut peers = router.peers.iter();
        let peer = peers.find(|peer| peer.name == name)?;
        Some(peer.nick_name.as_str())
    });
    markup.element("tr", &[], |markup| {
        cell(markup, "", &format!("{direction} {}", connection.address));
        cell(markup, "", nickname.or(link.peer).unwrap_or("\u{2013}"));
        let class = format!("{}-word", mesh::class_of(link.health()));
        cell(markup, &class, &connection.state);
        cell(markup, &class, link.overlay.unwrap_or("\u{2013}"));
        let mtu = link.mtu.map(|mtu| mtu.to_string());
        cell(markup, "number", mtu.as_deref().unwrap_or("\u{2013}"));
        cell(markup, "", if link.is_encrypted { "yes" } else { "no" });
        cell(markup, "number", &link.switched.to_string());
        let is_up = connection.state == "established";
        let why = link
            .reason
            .or_else(|| (!is_up).then_some(connection.info.as_str()));
        cell(markup, "", why.unwrap_or(""));
    });
}

/// Everybody in the mesh.
pub(super) fn peers(markup: &mut Markup, router: &Router) {
    let mut peers: Vec<&Peer> = router.peers.iter().collect();
    peers.sort_by_cached_key(|peer| (super::natural(&peer.nick_name), &peer.name));
    let caption = format!("Peers: {}", peers.len());
    table(
        markup,
        &caption,
        peers.len() <= FOLDED,
        &["Peer", "Name", "#Connections", "Reached"],
        |markup| {
            for peer in peers {
                let up = peer
                    .connections
                    .iter()
                    .filter(|one| one.established)
                    .count();
                markup.element("tr", &[], |markup| {
                    cell(markup, "", &peer.nick_name);
                    markup.element("td", &[], |markup| markup.leaf("code", &[], &peer.name));
                    let count = peer.connections.len();
                    let class = if up < count {
                        "number bad-word"
                    } else {
                        "number"
                    };
                    cell(markup, class, &format!("{up} of {count}"));
                    let (class, text) = reached(router, peer);
                    cell(markup, class, &text);
                });
            }
        },
    );
}

fn reached(router: &Router, peer: &Peer) -> (&'static str, String) {
    let route = router
        .unicast_routes
        .iter()
        .find(|route| route.dest == peer.name);
    match route {
        _ if peer.name == router.name => ("", "this peer".to_owned()),
        None => ("bad-word", "not at all".to_owned()),
        Some(route) if route.via == peer.name => ("", "directly".to_owned()),
        Some(route) => {
            let mut peers = router.peers.iter();
            let via = peers.find(|one| one.name == route.via);
            let via = via.map_or(&route.via, |via| &via.nick_name);
            ("slow-word", format!("through {via}"))
        }
    }
}

/// Connections that policies blocked, the last one first.
pub(super) fn blocked(markup: &mut Markup, policies: &Policies) {
    let records = match policies {
        Policies::NotExpected => {
            let text = "No policy controller is expected on this host (--expect-npc).";
            return markup.leaf("p", &[], text);
        }
        Policies::NotShown => {
            let text = "Not shown on an address that other hosts reach. Look at the control address, \
                        or ask weave npc blocked.";
            return markup.leaf("p", &[], text);
        }
        Policies::Silent(why) => {
            let text = format!("The policy controller does not answer: {why}");
            return markup.leaf("p", &[("class", "bad-word")], &text);
        }
        Policies::Known(known) => &known.records,
    };
    if records.is_empty() {
        return markup.leaf("p", &[], "None in the last hour.");
    }
    let text = match records.len() {
        1 => "1 connection in the last hour".to_owned(),
        count => format!("{count} connections in the last hour, the last ones first"),
    };
    let columns = ["Time (UTC)", "From", "To", "Protocol", "Policies", "Reason"];
    table(markup, &text, true, &columns, |markup| {
        for record in records.iter().rev().take(MOST) {
            record_row(markup, record);
        }
    });
}

fn record_row(markup: &mut Markup, record: &Record) {
    let end = |address: std::net::IpAddr, port: Option<u16>, pod: &Option<String>| {
        let address = match port {
            Some(port) => std::net::SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let pod = pod.as_ref().map(|pod| format!("{pod} "));
        format!("{}{address}", pod.unwrap_or_default())
    };
    markup.element("tr", &[], |markup| {
        cell(
            markup,
            "time",
            &clock(&rfc3339(Duration::from_millis(record.at_ms))),
        );
        cell(
            markup,
            "",
            &end(record.from, record.from_port, &record.from_pod),
        );
        cell(markup, "", &end(record.to, record.to_port, &record.to_pod));
        cell(markup, "", &record.protocol);
        cell(markup, "", &record.policies.join(", "));
        let audit = if record.audit {
            "passed, in audit mode: "
        } else {
            ""
        };
        cell(markup, "", &format!("{audit}{}", record.reason));
    });
}

/// What happened, the last first.
pub(super) fn events(markup: &mut Markup, events: &[Event]) {
    if events.is_empty() {
        return markup.leaf("p", &[], "None are known.");
    }
    let columns = ["Time (UTC)", "Level", "What", "#Times"];
    table(
        markup,
        "The last first; like lines are one",
        true,
        &columns,
        |markup| {
            for event in events.iter().rev() {
                markup.element("tr", &[], |markup| {
                    cell(markup, "time", &clock(&event.time));
                    let class = match &*event.level {
                        "info" => "level",
                        "warning" => "level slow-word",
                        _ => "level bad-word",
                    };
                    cell(markup, class, &event.level);
                    cell(markup, "", &event.text);
                    cell(markup, "number", &event.count.to_string());
                });
            }
        },
    );
}

/// `2026-11-20T21:55:14.347372Z` as people read it.
fn clock(time: &str) -> String {
    let second: String = time.chars().take(19).collect();
    second.replace('T', " ")
}

/// A table; one that is not `open` is folded under its caption until somebody opens it.
pub(super) fn table(
    markup: &mut Markup,
    caption: &str,
    open: bool,
    columns: &[&str],
    rows: impl FnOnce(&mut Markup),
) {
    let draw = |markup: &mut Markup| {
        markup.element("div", &[("class", "scroll")], |markup| {
            markup.element("table", &[], |markup| {
                markup.leaf("caption", &[], caption);
                head(markup, columns);
                markup.element("tbody", &[], rows);
            });
        });
    };
    if open {
        return draw(markup);
    }
    markup.element("details", &[], |markup| {
        markup.leaf("summary", &[], caption);
        draw(markup);
    });
}

fn cell(markup: &mut Markup, class: &str, text: &str) {
    if class.is_empty() {
        markup.leaf("td", &[], text);
    } else {
        markup.leaf("td", &[("class", class)], text);
    }
}

/// Tables with more rows than this are folded.
pub(super) const FOLDED: usize = 25;
/// Blocked connections that are shown.
const MOST: usize = 200;
