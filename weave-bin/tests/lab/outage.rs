//! The port of the fast overlay is blocked between two hosts, and opened again, under traffic.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Lab, can_run};

/// Echo requests a second apart from each other by this many milliseconds.
const INTERVAL_MS: u64 = 10;

#[test]
fn a_blocked_tunnel_costs_three_seconds_and_comes_back_within_ten() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("outage");
    lab.ok(&["up", "--hosts", "3", "--pods", "1"]);
    wait_for(&lab, "fastdp", Duration::from_secs(20));
    let interval = INTERVAL_MS.to_string();
    let words = [
        "ping",
        "1/1",
        "2/1",
        "--count",
        "2500",
        "--interval",
        &interval,
        "--json",
    ];
    let ping = lab.start(&words);
    std::thread::sleep(Duration::from_secs(2));

    lab.ok(&["block", "1", "2"]);
    let away = wait_for(&lab, "sleeve", Duration::from_secs(10));
    let reason = connection(&lab)["Attrs"]["reason"].clone();
    std::thread::sleep(Duration::from_secs(3));
    lab.ok(&["unblock", "1", "2"]);
    let back = wait_for(&lab, "fastdp", Duration::from_secs(10));

    let output = ping.wait_with_output().unwrap();
    let tally: Value = serde_json::from_slice(&output.stdout).unwrap();
    let gap = tally["longest_gap"].as_u64().unwrap() * INTERVAL_MS;
    println!("away after {away:?}, back after {back:?}, longest gap {gap} ms, reason {reason}");
    assert!(gap <= 3000, "{tally}");
    assert!(reason.as_str().unwrap().starts_with("fastdp: "), "{reason}");
    let report = lab.report(1);
    let switches = &report["Router"]["OverlayDiagnostics"]["switches"];
    let causes: Vec<&str> = switches["Counts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|count| count["Cause"].as_str())
        .collect();
    assert!(causes.contains(&"recovered"), "{switches}");
    assert!(
        causes.contains(&"silent") || causes.contains(&"unheard"),
        "{switches}"
    );
}

/// Nothing works between two hosts: their connection ends, and the third relays.
#[test]
fn with_both_ports_blocked_frames_go_by_the_third_host() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("third");
    lab.ok(&["up", "--hosts", "3", "--pods", "1"]);
    wait_for(&lab, "fastdp", Duration::from_secs(20));

    lab.ok(&["block", "1", "2"]);
    lab.ok(&["block", "1", "2", "--port", "6783"]);
    let words = [
        "ping",
        "1/1",
        "2/1",
        "--count",
        "1000",
        "--interval",
        "10",
        "--json",
    ];
    let output = lab.run(&words);

    let tally: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{tally}");
    assert!(tally["received"].as_u64().unwrap() > 500, "{tally}");
    let gap = tally["longest_gap"].as_u64().unwrap() * INTERVAL_MS;
    println!("longest gap {gap} ms");
    assert!(gap <= 3000, "{tally}");
}

/// Waits until host 1 reaches host 2 by `overlay`; how long that took.
pub(crate) fn wait_for(lab: &Lab, overlay: &str, limit: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let connection = connection(lab);
        if connection["Attrs"]["name"] == overlay && connection["State"] == "established" {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < limit, "not by {overlay}: {connection}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Host 1's connection to host 2, as it reports it.
fn connection(lab: &Lab) -> Value {
    let report = lab.report(1);
    let connections = report["Router"]["Connections"].as_array().unwrap();
    let to_second = |one: &&Value| one["Info"].as_str().unwrap_or("").contains("(host-2)");
    connections
        .iter()
        .find(to_second)
        .cloned()
        .unwrap_or(Value::Null)
}
