//! The status page: one HTML document that says how this host and its mesh are.
//!
//! ```text
//!   report + events + blocked connections ─▶ Page ─▶ html()      (pure, same input, same bytes)
//! ```
//!
//! The document needs nothing from anywhere else and has no script; [`policy`] forbids a browser to
//! load or run anything for it. What peers call themselves is written as text only.

mod markup;
mod mesh;
mod ring;
mod tables;
mod trouble;

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::logging::rfc3339;
use crate::npc::controller::blocked::Record;
use crate::status::Report;
use crate::status::events::Event;
use crate::status::links::{Link, links};
use crate::status::model::Ipam;
pub(crate) use markup::is_unfit;
use markup::{Attributes, Markup};

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The report of the daemon.
    pub report: &'a Report,
    /// The last events, oldest first.
    pub events: &'a [Event],
    /// What the policy controller of this host says.
    pub policies: &'a Policies,
    /// When, since 1970.
    pub at: Duration,
}

/// What the policy controller of this host says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policies {
    /// Nobody expects one.
    NotExpected,
    /// It is not asked, since everybody who reaches this address would see the answer.
    NotShown,
    /// It does not answer, and why.
    Silent(String),
    /// It answers.
    Known(Blocked),
}

/// What the policy controller told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Connections that were blocked lately, oldest first.
    pub(crate) records: Vec<Record>,
    /// What keeps policies from being as they should be, in words.
    pub(crate) faults: Vec<String>,
}

/// The document.
pub fn html(page: &Page<'_>) -> String {
    let mut markup = Markup::default();
    let router = &page.report.router;
    let title = format!(
        "{} \u{2013} Weave",
        shown_name(&router.nick_name, &router.name)
    );
    markup.element("html", &[("lang", "en")], |markup| {
        markup.element("head", &[], |markup| {
            markup.empty("meta", &[("charset", "utf-8")]);
            let allowed = policy();
            let attributes = [
                ("http-equiv", "Content-Security-Policy"),
                ("content", &*allowed),
            ];
            markup.empty("meta", &attributes);
            let attributes = [
                ("name", "viewport"),
                ("content", "width=device-width, initial-scale=1"),
            ];
            markup.empty("meta", &attributes);
            markup.leaf("title", &[], &title);
            // Without it browsers ask for an icon.
            markup.empty("link", &[("rel", "icon"), ("href", "data:,")]);
            markup.style(STYLE);
        });
        markup.element("body", &[], |markup| body(markup, page));
    });
    markup.into_document()
}

/// What a browser may do for the page: show it, with its own style and no other. Holds for the
/// header and for the document itself.
pub fn policy() -> String {
    let digest = Sha256::digest(STYLE.as_bytes());
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        base64(&digest)
    )
}

fn body(markup: &mut Markup, page: &Page<'_>) {
    let report = page.report;
    let links = links(&report.router);
    header(markup, page);
    markup.element("main", &[], |markup| {
        trouble::draw(markup, page, &links);
        facts(markup, report, &links);
        section(markup, "Mesh", |markup| {
            mesh::draw(markup, &report.router, &links);
            tables::connections(markup, &links, &report.router);
            tables::peers(markup, &report.router);
        });
        for (ipam, name) in [(&report.ipam, "ring"), (&report.ipam6, "ring6")] {
            if let Some(ipam) = ipam {
                addresses(markup, ipam, name);
            }
        }
        section(markup, "Blocked connections", |markup| {
            tables::blocked(markup, page.policies);
        });
        section(markup, "Events", |markup| {
            tables::events(markup, page.events);
        });
    });
    markup.element("footer", &[], |markup| {
        markup.leaf(
            "p",
            &[],
            "The same as text: weave status, weave report, weave npc blocked.",
        );
    });
}

fn header(markup: &mut Markup, page: &Page<'_>) {
    let report = page.report;
    let router = &report.router;
    markup.element("header", &[], |markup| {
        markup.leaf("h1", &[], &shown_name(&router.nick_name, &router.name));
        markup.element("p", &[], |markup| {
            markup.leaf("code", &[], &router.name);
            let time: String = rfc3339(page.at).chars().take(19).collect();
            markup.text(&format!(
                " \u{b7} weave {} \u{b7} {} UTC",
                report.version,
                time.replace('T', " ")
            ));
        });
    });
}

/// The few numbers that are looked at first.
fn facts(markup: &mut Markup, report: &Report, links: &[Link<'_>]) {
    let router = &report.router;
    let established = links
        .iter()
        .filter(|link| link.connection.state == "established");
    let encryption = if router.encryption { "on" } else { "off" };
    let mut facts = vec![
        ("Peers", router.peers.len().to_string()),
        (
            "Connections",
            format!("{} of {}", established.count(), links.len()),
        ),
        ("Encryption", encryption.to_owned()),
    ];
    for ipam in [&report.ipam, &report.ipam6].into_iter().flatten() {
        facts.push(("Range", ipam.range.clone()));
        facts.push(("Addresses in use here", number_of(ipam.active_ips)));
    }
    if let Some(dns) = &report.dns {
        let living = dns
            .entries
            .iter()
            .filter(|entry| entry.tombstone == 0)
            .count();
        facts.push(("Names", living.to_string()));
    }
    if let Some(cluster) = &report.cluster {
        let nodes = cluster
            .nodes
            .map_or_else(|| "?".to_owned(), |nodes| nodes.to_string());
        facts.push(("Nodes", nodes));
    }
    markup.element("dl", &[("class", "facts")], |markup| {
        for (name, value) in facts {
            markup.element("div", &[], |markup| {
                markup.leaf("dt", &[], name);
                markup.leaf("dd", &[], &value);
            });
        }
    });
}

fn addresses(markup: &mut Markup, ipam: &Ipam, name: &str) {
    section(markup, "Addresses", |markup| {
        markup.element("div", &[("class", "pair")], |markup| {
            markup.element("div", &[], |markup| ring::draw(markup, ipam, name));
            markup.element("div", &[], |markup| ring::table(markup, ipam));
        });
    });
}

fn section(markup: &mut Markup, title: &str, inside: impl FnOnce(&mut Markup)) {
    markup.element("section", &[], |markup| {
        markup.leaf("h2", &[], title);
        inside(markup);
    });
}

/// The head of a table; columns that begin with `#` hold numbers.
fn head(markup: &mut Markup, columns: &[&str]) {
    markup.element("thead", &[], |markup| {
        markup.element("tr", &[], |markup| {
            for column in columns {
                let number: &Attributes<'_> = &[("scope", "col"), ("class", "number")];
                match column.strip_prefix('#') {
                    Some(column) => markup.leaf("th", number, column),
                    None => markup.leaf("th", &[("scope", "col")], column),
                }
            }
        });
    });
}

fn shown_name(nickname: &str, name: &str) -> String {
    if nickname.is_empty() {
        name.to_owned()
    } else {
        nickname.to_owned()
    }
}

/// `text`, cut to `most` characters.
fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "\u{2026}"
}

/// A number with its thousands apart.
fn number_of(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn percent(part: u128, whole: u128) -> String {
    format!("{:.1} %", ring::share(part, whole) * 100.0)
}

/// A key by which `node-2` comes before `node-10`.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, u64)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|one: char| one.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after
            .find(|one: char| !one.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// The standard alphabet with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(three);
        for place in 0..4u32 {
            let index = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let is_there = usize::try_from(place).is_ok_and(|place| place <= chunk.len());
            text.push(if is_there {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests;
