//! Both overlays on networks as they are: sealed, mixed, behind NAT, with holes and with losses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Lab, can_run};

/// Runs a lab with `words`; all that it probes must have worked. The overlays its connections use.
fn passes(name: &str, words: &[&str]) -> Option<BTreeSet<String>> {
    if !can_run() {
        return None;
    }
    let lab = Lab::new(name);
    let text = lab.ok(&[&["run", "--json"], words].concat());
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["reachable"], found["pairs"], "{text}");
    assert_eq!(found["host_reachable"], found["host_pairs"], "{text}");
    lab.assert_gone();
    let connections = found["connections"].as_array().unwrap().iter();
    let overlays = connections.map(|one| one["overlay"].as_str().unwrap().to_owned());
    Some(overlays.collect())
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn sleeve_alone_connects_all() {
    let words = ["--hosts", "3", "--pods", "1", "--overlay", "sleeve"];
    let Some(overlays) = passes("sleeve", &words) else {
        return;
    };
    assert_eq!(overlays, set(["sleeve"]));
}

#[test]
fn encrypted_connections_go_by_sleeve() {
    let words = ["--hosts", "3", "--pods", "1", "--password", "secret"];
    let Some(overlays) = passes("sealed", &words) else {
        return;
    };
    assert_eq!(overlays, set(["sleeve"]));
}

#[test]
fn hosts_with_and_without_the_fast_overlay_meet() {
    let words = ["--hosts", "3", "--pods", "1", "--overlay", "mixed"];
    let Some(overlays) = passes("mixed", &words) else {
        return;
    };
    assert_eq!(overlays, set(["fastdp", "sleeve"]));
}

/// The cables of the line let the tunnel through, then not, and so on: hosts 2, 3 and 4 relay
/// between the two overlays, in both directions.
#[test]
fn frames_cross_a_line_whose_overlays_alternate() {
    let words = [
        "--hosts",
        "5",
        "--pods",
        "1",
        "--topology",
        "line",
        "--overlay",
        "mixed",
    ];
    let Some(overlays) = passes("alternate", &words) else {
        return;
    };
    assert_eq!(overlays, set(["fastdp", "sleeve"]));
}

#[test]
fn a_host_behind_nat_reaches_and_is_reached() {
    passes("nat", &["--hosts", "3", "--pods", "1", "--nat", "2"]);
}

/// Full segments arrive although the path swallows what is larger than 1300 bytes, and says nothing.
#[test]
fn a_black_hole_costs_less_than_five_seconds() {
    if !can_run() {
        return;
    }
    for password in [&[][..], &["--password", "secret"]] {
        let lab = Lab::new("hole");
        let words = [
            "up",
            "--hosts",
            "2",
            "--pods",
            "1",
            "--underlay-mtu",
            "1300",
            "--black-hole",
        ];
        lab.ok(&[&words, password].concat());

        let flow = stream(&lab, "1/1", "2/1", "5");

        assert!(flow["first_s"].as_f64().unwrap() < 5.0, "{flow}");
        lab.ok(&["down"]);
    }
}

#[test]
fn losses_slow_tcp_down_and_do_not_make_overlays_flap() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("loss");
    lab.ok(&["up", "--hosts", "2", "--pods", "1", "--loss", "5"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while overlay(&lab) != "fastdp" {
        assert!(Instant::now() < deadline, "never on the fast overlay");
        std::thread::sleep(Duration::from_millis(100));
    }

    let flow = stream(&lab, "1/1", "2/1", "10");

    assert!(flow["bytes"].as_u64().unwrap() > 1_000_000, "{flow}");
    assert_eq!(overlay(&lab), "fastdp");
    let log = std::fs::read_to_string(lab.state_dir().join("host-1/daemon.log")).unwrap();
    let away = "overlay_switch ->";
    let back = log
        .lines()
        .filter(|line| line.contains(away) && line.ends_with("using sleeve"));
    assert!(back.count() <= 1, "{log}");
}

/// What became of a TCP stream from one place to another.
pub(crate) fn stream(lab: &Lab, from: &str, to: &str, seconds: &str) -> Value {
    let text = lab.ok(&["stream", from, to, "--seconds", seconds, "--json"]);
    serde_json::from_str(&text).unwrap()
}

/// The overlay of host 1's connection, as it says itself.
pub(crate) fn overlay(lab: &Lab) -> String {
    let report = lab.report(1);
    let attributes = &report["Router"]["Connections"][0]["Attrs"];
    attributes["name"].as_str().unwrap_or("none").to_owned()
}
