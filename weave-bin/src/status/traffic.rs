//! Metrics of connections and of what carries frames: which overlay, how often that changed and why,
//! and what became of frames.
//!
//! Names and labels of connections are Weave Net's; what it had no number for begins with
//! `weave_overlay_` or `weave_datapath_`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{Connection, Router};
use super::page::Page;

/// Families about connections.
pub(super) fn connections(page: &mut Page, router: &Router) {
    let help = "Number of peer-to-peer connections terminated.";
    page.counter("weave_connection_terminations_total", help)
        .sample(&[], router.termination_count);
    let mut counts: BTreeMap<(&str, String, String), u64> = BTreeMap::new();
    for connection in &router.connections {
        let kind = kind(connection);
        let encryption = encryption(connection);
        // Both kinds of encryption are there for each kind of connection that is.
        for one in ["", "yes"] {
            let key = (one, connection.state.clone(), kind.clone());
            *counts.entry(key).or_default() += u64::from(one == encryption);
        }
    }
    if counts.is_empty() {
        return;
    }
    let help = "Number of peer-to-peer connections.";
    let mut family = page.gauge("weave_connections", help);
    for ((encryption, state, kind), count) in counts {
        let labels = [
            ("encryption", encryption),
            ("state", &state),
            ("type", &kind),
        ];
        family.sample(&labels, count);
    }
}

/// Families about frames and overlays.
pub(super) fn overlays(page: &mut Page, router: &Router) {
    if let Some(counters) = counters(router) {
        let help = "Frames by what became of them.";
        let mut family = page.counter("weave_datapath_frames_total", help);
        for (what, count) in counters {
            family.sample(&[("what", what)], count.as_u64().unwrap_or(0));
        }
        let help = "Frames that were not carried, by reason.";
        let mut family = page.counter("weave_datapath_drops_total", help);
        for (what, count) in counters {
            if let Some(reason) = what.strip_prefix("drop_") {
                family.sample(&[("reason", reason)], count.as_u64().unwrap_or(0));
            }
        }
        let help = "Number of addresses frames are forwarded to.";
        let flows = u64::try_from(router.macs.len()).unwrap_or(u64::MAX);
        page.gauge("weave_flows", help).sample(&[], flows);
    }
    let switches = router.overlay_diagnostics.get("switches");
    let counts = switches.and_then(|switches| switches["Counts"].as_array());
    if let Some(counts) = counts.filter(|counts| !counts.is_empty()) {
        let help = "Changes of the overlay that carries a connection's frames.";
        let mut family = page.counter("weave_overlay_switches_total", help);
        for one in counts {
            let (to, cause) = (text(&one["To"]), text(&one["Cause"]));
            let count = one["Count"].as_u64().unwrap_or(0);
            family.sample(&[("to", to), ("cause", cause)], count);
        }
    }
}

/// A counter of the data path.
pub(super) fn counter(router: &Router, name: &str) -> Option<u64> {
    counters(router)?.get(name)?.as_u64()
}

fn counters(router: &Router) -> Option<&serde_json::Map<String, Value>> {
    let fastdp = router.overlay_diagnostics.get("fastdp")?;
    let counters = fastdp["Counters"].as_object()?;
    (!counters.is_empty()).then_some(counters)
}

/// The overlay of an established connection.
fn kind(connection: &Connection) -> String {
    let attrs = connection.attrs.as_ref();
    let name = attrs.and_then(|attrs| attrs.get("name")).map(text);
    name.unwrap_or("unknown").to_owned()
}

fn encryption(connection: &Connection) -> &'static str {
    let attrs = connection.attrs.as_ref();
    let is_encrypted = attrs.and_then(|attrs| attrs.get("encrypted")?.as_bool());
    if is_encrypted == Some(true) {
        "yes"
    } else {
        ""
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn router(report: &Path) -> Router {
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        serde_json::from_value(report["Router"].clone()).unwrap()
    }

    fn recordings() -> Vec<std::path::PathBuf> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/daemon");
        let entries = fs::read_dir(directory).unwrap();
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }

    #[test]
    fn connections_are_counted_as_recorded() {
        let mut compared = 0;
        for directory in recordings() {
            let Ok(recorded) = fs::read_to_string(directory.join("metrics.txt")) else {
                continue;
            };
            let about = |line: &&str| line.contains("weave_connection");
            let recorded: Vec<&str> = recorded.lines().filter(about).collect();

            let mut page = Page::default();
            connections(&mut page, &router(&directory.join("report.json")));

            let page = page.into_text();
            let lines: Vec<&str> = page.lines().collect();
            assert_eq!(lines, recorded, "{}", directory.display());
            compared += 1;
        }
        assert!(compared > 10);
    }

    #[test]
    fn switches_of_overlays_have_their_causes() {
        let directory = recordings().swap_remove(0);
        let mut router = router(&directory.join("report.json"));
        let counts = json!({ "Counts": [{ "To": "sleeve", "Cause": "silent", "Count": 2 }] });
        let fastdp = json!({ "Counters": { "sent": 7, "drop_stp": 0 } });
        router.overlay_diagnostics = BTreeMap::from([
            ("switches".to_owned(), counts),
            ("fastdp".to_owned(), fastdp),
        ]);

        let mut page = Page::default();
        overlays(&mut page, &router);

        let page = page.into_text();
        for line in [
            "weave_datapath_drops_total{reason=\"stp\"} 0",
            "weave_datapath_frames_total{what=\"drop_stp\"} 0",
            "weave_datapath_frames_total{what=\"sent\"} 7",
            "weave_overlay_switches_total{to=\"sleeve\",cause=\"silent\"} 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
        assert!(page.contains("# TYPE weave_flows gauge"));
        router.overlay_diagnostics.clear();
        let mut page = Page::default();
        overlays(&mut page, &router);
        assert_eq!(
            page.into_text(),
            "",
            "without a data path there is nothing to count"
        );
    }
}
