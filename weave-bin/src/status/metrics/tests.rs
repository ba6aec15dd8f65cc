//! Pages of recorded reports beside the recorded pages, and what dashboards and alerts ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::host::view::View;
use crate::status::model::{Donated, Gossip};
use crate::status::strict::{self, Family};

fn scenes() -> Vec<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/daemon");
    let entries = std::fs::read_dir(root).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert_eq!(found.len(), 18);
    found
}

fn report(scene: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(scene.join("report.json")).unwrap()).unwrap()
}

/// The families of a page whose names Weave Net has.
fn old(page: &str) -> BTreeMap<String, Family> {
    let is_old = |name: &str| {
        name.starts_with("weave_")
            && ![
                "weave_build_info",
                "weave_flows",
                "weave_ipam_conflicts",
                "weave_ipam_held_ranges",
            ]
            .contains(&name)
    };
    let families = strict::parse(page).into_iter();
    families.filter(|(name, _)| is_old(name)).collect()
}

/// The recorded page of the first scene with two peers has the families of the Go runtime too.
#[test]
fn names_types_labels_and_values_are_the_recorded_ones() {
    let mut compared = 0;
    for scene in scenes() {
        let Ok(recorded) = std::fs::read_to_string(scene.join("metrics.txt")) else {
            continue;
        };
        if recorded.is_empty() {
            continue;
        }

        let page = page(&report(&scene));

        assert_eq!(old(&page), old(&recorded), "{}", scene.display());
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}

/// Help texts are shown by dashboards.
#[test]
fn help_texts_are_the_recorded_ones() {
    let scene = &scenes()[12];
    let recorded = std::fs::read_to_string(scene.join("metrics.txt")).unwrap();
    let page = page(&report(scene));

    for line in recorded
        .lines()
        .filter(|line| line.starts_with("# HELP weave_"))
    {
        assert!(page.lines().any(|ours| ours == line), "{line}");
    }
}

/// Scraping a daemon without address allocation ended Weave Net's.
#[test]
fn a_daemon_without_addresses_is_scraped_too() {
    let families = strict::parse(&page(&report(&scenes()[17])));

    assert!(families.contains_key("weave_connection_terminations_total"));
    assert!(!families.contains_key("weave_max_ips"));
}

/// A report that has everything there may be.
fn full() -> Report {
    let mut full = report(&scenes()[12]);
    let gossip = Gossip {
        messages_sent: 1,
        bytes_sent: 2,
        messages_received: 3,
        bytes_received: 4,
    };
    full.router
        .gossip
        .insert("topology \"\\\n".to_owned(), gossip);
    let counters = weave_mesh::node::Counters::default();
    full.router.dropped_messages = crate::status::drops::messages(&counters);
    full.router.lost_connections = crate::status::drops::connections(&counters);
    full.router.overlay_diagnostics = BTreeMap::from([
        (
            "fastdp".to_owned(),
            json!({ "Counters": { "sent": 7, "drop_stp": 0, "repairs": 2 } }),
        ),
        (
            "switches".to_owned(),
            json!({ "Counts": [{ "To": "sleeve", "Cause": "silent", "Count": 2 }] }),
        ),
    ]);
    let donated = Donated {
        ranges: 1,
        addresses: 1 << 20,
    };
    full.ipam.as_mut().unwrap().donated = Some(donated);
    full.host = Some(crate::status::collect::host(&View::default()));
    full.cluster = Some(Cluster::default());
    full.pods = Some(Counts::default());
    full
}

#[test]
fn a_full_page_is_valid_and_tells_what_the_old_one_lacked() {
    let page = page(&full());
    let families = strict::parse(&page);

    for (name, label) in [
        ("weave_datapath_drops_total", "reason"),
        ("weave_overlay_switches_total", "cause"),
        ("weave_gossip_bytes_total", "channel"),
        ("weave_mesh_dropped_messages_total", "reason"),
        ("weave_mesh_lost_connections_total", "reason"),
        ("weave_repairs_total", "of"),
        ("weave_ips_given_back_total", "reason"),
        ("weave_dns_entries", ""),
        ("weave_flows", ""),
        ("weave_ipam_donations_total", ""),
        ("weave_kube_reclaimed_peers_total", ""),
        ("process_resident_memory_bytes", ""),
    ] {
        let family = families.get(name).unwrap_or_else(|| panic!("{name}"));
        assert!(label.is_empty() || family.labels.contains(label), "{name}");
    }
    assert!(
        page.contains("weave_ipam_donated_ips_total 1.048576e+06\n"),
        "{page}"
    );
    assert!(
        page.contains("weave_repairs_total{of=\"datapath\"} 2\n"),
        "{page}"
    );
    let share = &families["weave_dns_entries"];
    assert!(share.samples["weave_dns_entries"] > 0.0);
}

// ===== what is deployed beside =====

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// Every name that may be asked for: the families, and the parts of those that have parts.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut families = strict::parse(&page(&full()));
    families.extend(strict::parse(&crate::npc::controller::sample_metrics()));
    let mut known = BTreeMap::new();
    for (name, family) in families {
        let parts: &[&str] = match family.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        for suffix in parts {
            known.insert(format!("{name}{suffix}"), family.labels.clone());
        }
    }
    known
}

/// The names of metrics in a query: words that begin as ours do.
fn names(query: &str) -> Vec<&str> {
    let is_part = |one: char| one.is_ascii_alphanumeric() || one == '_';
    let words = query.split(|one: char| !is_part(one));
    words
        .filter(|word| {
            ["weave_", "weavenpc_", "process_"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .collect()
}

/// Labels that every series has from its target.
const TARGET: [&str; 4] = ["instance", "job", "node", "le"];

fn check(query: &str, known: &BTreeMap<String, BTreeSet<String>>) {
    let found = names(query);
    assert!(!found.is_empty(), "asks for nothing of ours: {query}");
    let mut labels = BTreeSet::from(TARGET.map(str::to_owned));
    for name in found {
        labels.extend(
            known
                .get(name)
                .unwrap_or_else(|| panic!("{name} in {query}"))
                .clone(),
        );
    }
    for group in query.split(" by (").skip(1) {
        for label in group.split(')').next().unwrap().split(',') {
            assert!(labels.contains(label.trim()), "{label} in {query}");
        }
    }
    let opened = query.matches('(').count();
    assert_eq!(opened, query.matches(')').count(), "{query}");
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let text = std::fs::read_to_string(format!("{DEPLOY}/grafana.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let known = known();
    let mut asked = 0;
    let mut places = BTreeSet::new();

    for panel in board["panels"].as_array().unwrap() {
        assert!(
            panel["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        let place = &panel["gridPos"];
        assert!(
            places.insert((place["y"].as_u64(), place["x"].as_u64())),
            "{place}"
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            check(target["expr"].as_str().unwrap(), &known);
            asked += 1;
        }
    }

    assert!(asked >= 16, "{asked}");
}

#[test]
fn alerts_ask_for_metrics_that_exist_and_say_what_to_do() {
    let text = std::fs::read_to_string(format!("{DEPLOY}/alerts.yaml")).unwrap();
    let known = known();
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();

    for rule in &rules {
        let line = |start: &str| {
            let found = rule
                .lines()
                .find_map(|line| line.trim().strip_prefix(start));
            found.unwrap_or_else(|| panic!("{start} in {rule}")).trim()
        };
        check(line("expr: "), &known);
        assert!(
            ["warning", "critical"].contains(&line("severity: ")),
            "{rule}"
        );
        assert!(
            line("summary: ").len() > 10 && line("description: ").contains("weave"),
            "{rule}"
        );
        assert!(line("for: ").ends_with('m'), "{rule}");
    }
    assert!(rules.len() >= 10, "{}", rules.len());
    // The expressions of public rules go on working.
    for old in [
        "max(weave_ipam_unreachable_percentage) - min(weave_ipam_unreachable_percentage) > 0",
        "weave_ipam_unreachable_percentage > 25",
        "rate(weave_connection_terminations_total[5m])",
        "weave_ips / weave_max_ips",
        "sum(weave_flows) < 5",
    ] {
        check(old, &known);
    }
}
