//! The page is well-formed, says what it must, and lets nobody write tags into it.

mod browser;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::status::model::{Connection, Peer, PeerConnection, RingEntry, UnicastRoute};
use crate::status::recorded;

/// A full mesh of `count` peers as the first of them sees it; some links are slow, some broken.
pub(crate) fn large(count: usize) -> Report {
    let mut report = recorded::report("04-three-peers-host0");
    let name = |number: usize| format!("0a:00:00:00:{:02x}:{:02x}", number / 256, number % 256);
    let nick = |number: usize| format!("node-{number}");
    let is_cut = |a: usize, b: usize| a.min(b) > 0 && (a * b) % 97 == 13;
    let peer = |number: usize| Peer {
        name: name(number),
        nick_name: nick(number),
        uid: 1,
        short_id: 1,
        version: 1,
        connections: (0..count)
            .filter(|other| *other != number && !is_cut(number, *other))
            .map(|other| PeerConnection {
                name: name(other),
                nick_name: nick(other),
                address: format!("192.0.2.{}:6783", other % 250),
                outbound: number > other,
                established: (number + other) % 97 != 7,
            })
            .collect(),
    };
    let router = &mut report.router;
    router.name = name(0);
    router.nick_name = nick(0);
    router.peers = (0..count).map(peer).collect();
    router.unicast_routes = (0..count)
        .map(|number| UnicastRoute {
            dest: name(number),
            via: name(number),
        })
        .collect();
    router.connections = (1..count)
        .map(|number| {
            let (state, overlay) = match number % 25 {
                7 => ("pending", "none"),
                11 | 12 => ("established", "sleeve"),
                _ => ("established", "fastdp"),
            };
            let attrs = json!({ "name": overlay, "mtu": 1376, "encrypted": true });
            Connection {
                address: format!("192.0.2.{}:6783", number % 250),
                outbound: number % 2 == 0,
                state: state.to_owned(),
                info: format!("encrypted   {overlay} {}({})", name(number), nick(number)),
                attrs: serde_json::from_value(attrs).unwrap(),
            }
        })
        .collect();
    let ipam = report.ipam.as_mut().unwrap();
    let size = ipam.range_num_ips / (2 * count as u128);
    ipam.entries = (0..2 * count)
        .map(|entry| RingEntry {
            token: std::net::Ipv4Addr::from_bits(
                0x0a20_0000 + u32::try_from(size).unwrap() * u32::try_from(entry).unwrap(),
            )
            .into(),
            size,
            peer: name(entry * 7 % count),
            nickname: nick(entry * 7 % count),
            is_known_peer: entry % 41 != 3,
            version: 1,
            free: Some(u32::try_from(size).unwrap() / (1 + u32::try_from(entry).unwrap() % 4)),
        })
        .collect();
    report
}

fn record() -> Record {
    serde_json::from_value(json!({
        "at_ms": 1_795_211_714_000_u64, "protocol": "TCP", "from": "10.32.0.7", "from_port": 56648,
        "to": "10.32.0.11", "to_port": 80, "from_pod": "shop/web", "to_pod": "shop/db",
        "direction": "ingress", "policies": ["shop/db"], "rule": null,
        "missing": "shop/db rule 0: asks for pod label app=front, has app=web", "audit": false,
        "reason": "shop/db: no rule allows it; asks for pod label app=front, has app=web",
    }))
    .unwrap()
}

fn drawn(report: &Report, policies: &Policies, events: &[Event]) -> String {
    html(&Page {
        report,
        events,
        policies,
        at: Duration::from_secs(1_795_211_714),
    })
}

/// Reads a document strictly: every tag closed, in order; every `&` an entity; attributes quoted.
/// Gives the tags and the text.
fn parse(document: &str) -> (Vec<String>, String) {
    let body = document.strip_prefix("<!DOCTYPE html>\n").unwrap();
    let (mut open, mut tags, mut text) = (Vec::new(), Vec::new(), String::new());
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        text.push_str(&unescaped(&rest[..at]));
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "tags match");
            continue;
        }
        let (inside, is_empty) = match tag.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (tag, false),
        };
        let name = inside.split(' ').next().unwrap().to_owned();
        attributes(&inside[name.len()..]);
        tags.push(name.clone());
        if name == "style" {
            let end = rest.find("</style>").expect("a style ends");
            rest = &rest[end + "</style>".len()..];
        } else if !is_empty {
            open.push(name);
        }
    }
    text.push_str(&unescaped(rest));
    assert!(open.is_empty(), "open at the end: {open:?}");
    (tags, text)
}

fn attributes(mut text: &str) {
    while !text.is_empty() {
        let (name, after) = text.strip_prefix(' ').unwrap().split_once("=\"").unwrap();
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{name}"
        );
        assert!(!name.starts_with("on") && name != "style", "{name}");
        let (value, after) = after.split_once('"').unwrap();
        let _ = unescaped(value);
        text = after;
    }
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
    for part in text.split('&').skip(1) {
        let (entity, _) = part.split_once(';').expect("an entity ends");
        assert!(
            ["amp", "lt", "gt", "quot", "#39"].contains(&entity),
            "{entity}"
        );
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[test]
fn every_recorded_report_gives_a_page() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/daemon");
    for entry in std::fs::read_dir(directory).unwrap() {
        let report = recorded::report(entry.unwrap().file_name().to_str().unwrap());

        let (tags, text) = parse(&drawn(&report, &Policies::NotExpected, &[]));

        assert!(tags.iter().any(|tag| tag == "svg"));
        assert!(text.contains(&report.router.name), "{text}");
        for peer in &report.router.peers {
            assert!(text.contains(&peer.nick_name), "{}", peer.nick_name);
        }
    }
}

#[test]
fn a_page_has_nothing_that_is_loaded_or_run() {
    let page = drawn(&large(9), &Policies::Known(Blocked::default()), &[]);
    let (tags, _) = parse(&page);

    let tags: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
    for tag in [
        "script",
        "img",
        "iframe",
        "object",
        "a",
        "form",
        "image",
        "use",
        "foreignObject",
    ] {
        assert!(!tags.contains(tag), "{tag}");
    }
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("));
    assert!(policy().starts_with("default-src 'none';") && !policy().contains("unsafe"));
}

#[test]
fn the_policy_names_the_style_by_its_digest() {
    assert_eq!(base64(b""), "");
    assert_eq!(base64(b"f"), "Zg==");
    assert_eq!(base64(b"fo"), "Zm8=");
    assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    assert!(!STYLE.contains("</"), "a style ends where it ends");
}

#[test]
fn blocked_connections_and_events_are_told_with_reasons() {
    let blocked = Policies::Known(Blocked {
        records: vec![record()],
        faults: vec!["Refused: NetworkPolicy shop/x: spec: is missing".to_owned()],
    });
    let events = [Event::new(
        Duration::from_secs(1_795_211_700),
        "warning",
        "->[host-2] <gone>",
    )];

    let (_, text) = parse(&drawn(
        &recorded::report("04-three-peers-host0"),
        &blocked,
        &events,
    ));

    for expected in [
        "shop/web 10.32.0.7:56648",
        "shop/db 10.32.0.11:80",
        "asks for pod label app=front, has app=web",
        "2026-11-20 21:55:14",
        "Refused: NetworkPolicy shop/x: spec: is missing",
        "->[host-2] <gone>",
        "2026-11-20 21:55:00",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn what_is_wrong_stands_at_the_top() {
    let well = drawn(
        &recorded::report("04-three-peers-host0"),
        &Policies::NotExpected,
        &[],
    );
    let stopped = drawn(
        &recorded::report("07-password-host0"),
        &Policies::NotExpected,
        &[],
    );
    let silent = Policies::Silent("connection refused".to_owned());
    let silent = drawn(&recorded::report("01-single-idle"), &silent, &[]);

    assert!(parse(&well).1.contains("Nothing is known to be wrong."));
    let text = parse(&stopped).1;
    assert!(
        text.contains("192.168.77.3:6783 is failed: read tcp"),
        "{text}"
    );
    assert!(
        parse(&silent)
            .1
            .contains("controller does not answer: connection refused")
    );
}

#[test]
fn a_large_mesh_leaves_out_what_is_healthy_and_counts_it() {
    let report = large(120);

    let page = drawn(&report, &Policies::NotExpected, &[]);

    let (tags, text) = parse(&page);
    let lines = tags.iter().filter(|tag| *tag == "line").count();
    assert!(lines < 120 + 400, "{lines}");
    assert!(
        text.contains("healthy connections between other peers are not drawn"),
        "{text}"
    );
    assert!(page.len() < 400_000, "{}", page.len());
    assert_eq!(
        page,
        drawn(&report, &Policies::NotExpected, &[]),
        "same input, same bytes"
    );
}

#[test]
fn nicknames_are_sorted_as_people_count() {
    let mut names = [
        "node-10",
        "node-2",
        "node",
        "a1b2",
        "a1b10",
        "99999999999999999999999",
    ];
    names.sort_by_cached_key(|name| natural(name));

    assert_eq!(
        names,
        [
            "99999999999999999999999",
            "a1b2",
            "a1b10",
            "node",
            "node-2",
            "node-10"
        ]
    );
}

#[test]
fn shares_and_numbers_are_as_people_write_them() {
    assert_eq!(number_of(1_048_576), "1\u{202f}048\u{202f}576");
    assert_eq!(
        (number_of(7).as_str(), number_of(100).as_str()),
        ("7", "100")
    );
    assert_eq!(percent(1, 3), "33.3 %");
    assert_eq!(percent(u128::MAX, u128::MAX), "100.0 %");
    assert_eq!(percent(1, 0), "0.0 %");
    assert_eq!(shorten("abcdef", 4), "abc\u{2026}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nicknames, addresses and reasons come from peers.
    #[test]
    fn nothing_a_peer_says_is_a_tag(said in "\\PC{0,40}|[<>&\"'/ =a-z\u{202e}\n]{0,40}", also in ".{0,20}") {
        let mut report = recorded::report("04-three-peers-host0");
        let plain = parse(&drawn(&report, &Policies::NotExpected, &[])).0;
        report.router.peers[1].nick_name.clone_from(&said);
        report.router.peers[1].connections[0].nick_name.clone_from(&said);
        report.router.connections[0].address.clone_from(&also);
        report.router.connections[0].info.push_str(&said);
        report.ipam.as_mut().unwrap().entries[1].nickname.clone_from(&said);
        let events = [Event::new(Duration::ZERO, &also, &said)];

        let (tags, text) = parse(&drawn(&report, &Policies::NotExpected, &events));

        let kinds = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<String>>();
        prop_assert!(kinds(&tags).is_subset(&kinds(&plain).union(&kinds(&["td".into(), "th".into()])).cloned().collect()));
        let shown: String = said.chars().map(|one| if is_unfit(one) && one != '\n' { '\u{fffd}' } else { one }).collect();
        prop_assert!(text.contains(&shown), "{:?} in {:?}", shown, text);
    }
}
