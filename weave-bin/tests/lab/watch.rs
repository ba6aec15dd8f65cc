//! `weave connectivity`, `weave top` and the status page on a host of a lab.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Lab, can_run};

/// A command of the operator on host 1.
fn on_host(lab: &Lab, words: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_weave");
    lab.run(&[&["exec", "1", "--", program], words].concat())
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

/// The results of the probes to `to`, by what they tried.
fn results(found: &Value, to: &str) -> Vec<(String, String)> {
    let probes = found.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    probes
        .filter(|probe| probe["to"] == to)
        .map(|probe| (text(&probe["by"]), text(&probe["result"])))
        .collect()
}

#[test]
fn ways_that_work_and_ways_that_do_not_are_told_apart() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("watch");
    lab.ok(&["up", "--hosts", "3", "--pods", "1"]);
    let well = on_host(&lab, &["connectivity", "--json"]);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    let expected =
        ["TCP", "overlay", "echo", "pod network"].map(|by| (by.to_owned(), "ok".to_owned()));
    assert_eq!(results(&json(&well), "host-2"), expected, "{well:?}");

    lab.ok(&["block", "1", "2"]);
    lab.ok(&["kill", "3"]);
    let begun = Instant::now();
    let found = loop {
        let found = json(&on_host(&lab, &["connectivity", "--json"]));
        if results(&found, "host-2").contains(&("overlay".to_owned(), "slow".to_owned())) {
            break found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{found}");
        std::thread::sleep(Duration::from_millis(200));
    };

    let text = found.to_string();
    assert!(
        text.contains("open UDP 6784 both ways for the fast path"),
        "{text}"
    );
    assert!(
        results(&found, "host-2").contains(&("pod network".to_owned(), "ok".to_owned())),
        "{text}"
    );
    let ill = on_host(&lab, &["connectivity"]);
    assert_eq!(ill.status.code(), Some(1), "{ill:?}");
    let said = String::from_utf8_lossy(&ill.stdout).into_owned();
    assert!(
        said.contains("start weave there, or weave forget 198.18.0.3"),
        "{said}"
    );

    let top = json(&on_host(&lab, &["top", "--once", "--json"]));
    assert!(
        top["node"]["devices"]["vxlan-6784"]["bytes_sent"].is_number(),
        "{top}"
    );
    let rows = top["peers"].as_array().unwrap().iter();
    let slow: Vec<&Value> = rows.filter(|row| row["overlay"] == "sleeve").collect();
    assert_eq!(slow.len(), 1, "{top}");
    assert_eq!(slow[0]["peer"], "host-2");
    assert!(
        slow[0]["ping_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{top}"
    );

    let page = String::from_utf8(on_host(&lab, &["report", "--html"]).stdout).unwrap();
    assert!(
        page.contains("overlay_switch -&gt;["),
        "events are told: {page}"
    );
    assert!(page.contains("class=\"edge slow\""), "{page}");
}
