//! The lab on the running kernel: it passes its own probes and leaves nothing behind, however it
//! ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod bed;
mod capture;
mod damage;
mod doctor;
mod families;
mod names;
mod narrow;
mod outage;
mod overlays;
mod policy;
mod tracking;
mod watch;

use bed::{Lab, can_run};

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn a_lab_of_two_hosts_passes_its_own_probes() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("run");

    let text = lab.ok(&["run", "--hosts", "2", "--pods", "1", "--json"]);

    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["hosts"], 2);
    assert_eq!(found["pairs"], 2);
    assert_eq!(found["reachable"], 2);
    assert_eq!(found["failed"], Value::Array(Vec::new()));
    assert_eq!(found["broadcast_ok"], true);
    assert_eq!(found["multicast_ok"], true);
    assert_eq!(found["duplicate_addresses"], 0);
    let connections = found["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 2);
    for connection in connections {
        assert_eq!(connection["established"], true);
        assert_eq!(connection["overlay"], "fastdp");
    }
    assert!(found["cni_add_ms"]["p50"].as_f64().unwrap() > 0.0);
    lab.assert_gone();
}

#[test]
fn hosts_in_a_line_relay_for_those_that_are_no_neighbours() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("line");

    let text = lab.ok(&[
        "run",
        "--hosts",
        "3",
        "--pods",
        "1",
        "--topology",
        "line",
        "--json",
    ]);

    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["reachable"], 6);
    // Hosts 1 and 3 have no connection: their frames went through host 2.
    assert_eq!(found["connections"].as_array().unwrap().len(), 4);
}

#[test]
fn a_run_cleans_up_after_one_that_was_killed() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("killed");
    let mut first = lab.start(&["run", "--hosts", "2", "--pods", "1"]);
    lab.wait_for_namespace("2-pod-1");

    signal(&first, Signal::SIGKILL);
    first.wait().unwrap();
    assert!(
        !lab.namespaces().is_empty(),
        "a kill leaves namespaces behind"
    );
    let second = lab.run(&["run", "--hosts", "2", "--pods", "1"]);

    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success(), "{stderr}");
    assert!(
        stderr.contains("removed what an earlier run left behind"),
        "{stderr}"
    );
    lab.assert_gone();
}

#[test]
fn an_interrupt_removes_everything() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("interrupt");
    let child = lab.start(&["run", "--hosts", "2", "--pods", "1"]);
    lab.wait_for_namespace("2");

    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(130));
    lab.assert_gone();
}

#[test]
fn a_cut_separates_hosts_until_it_is_healed() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("cut");
    lab.ok(&["up", "--hosts", "2", "--pods", "1"]);
    lab.ok(&["ping", "1/1", "2/1", "--count", "20"]);

    lab.ok(&["cut", "2"]);
    assert!(
        !lab.run(&["ping", "1/1", "2/1", "--count", "20"])
            .status
            .success()
    );
    lab.ok(&["heal"]);
    lab.ok(&["ping", "1/1", "2/1", "--count", "20"]);
    lab.ok(&["down"]);

    lab.assert_gone();
}

#[test]
fn a_lab_that_is_up_is_not_replaced_and_can_be_used() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("up");
    lab.ok(&["up", "--hosts", "1", "--pods", "1"]);

    let refused = lab.run(&["run"]);
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("is up"), "{stderr}");

    let added = lab.ok(&["add-pod", "1"]);
    let (label, address) = added.trim().split_once(' ').unwrap();
    assert_eq!(label, "1/2");
    let arp = lab.ok(&["exec", "1/2", "--", "cat", "/proc/self/net/fib_trie"]);
    assert!(arp.contains(address.split('/').next().unwrap()), "{arp}");
    lab.ok(&["del-pod", "1/2"]);
    assert!(!lab.run(&["exec", "1/2", "--", "true"]).status.success());
}

/// The acceptance is 20 hosts: `weave lab rotate --hosts 20`. Frames of pods are in clear here, as
/// between hosts that trust their networks; `--untrusted` encrypts them too.
#[test]
fn a_password_is_changed_without_a_lost_ping_or_connection() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("rotate");

    let text = lab.ok(&["rotate", "--hosts", "4", "--settle", "1", "--json"]);

    let found: Value = serde_json::from_str(&text).unwrap();
    let steps = found["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert_eq!(names, ["add", "prefer", "drop"]);
    assert_eq!(found["pairs"], 6);
    assert!(found["sent"].as_u64().unwrap() > 6 * 100, "{text}");
    assert_eq!(found["lost"], 0, "{text}");
    // Each of the six connections has two ends.
    assert_eq!(found["connections"]["before"], 12);
    assert_eq!(found["connections"]["lost"], 0);
    assert_eq!(found["connections"]["ended"], 0);
    assert_eq!(found["old_refused"], true);
    assert_eq!(found["new_accepted"], true);
    lab.assert_gone();
}

#[test]
fn wrong_words_are_answered_in_one_line() {
    let lab = Lab::new("words");
    let cases: [(&[&str], &str); 3] = [
        (&["run", "--host", "3"], "'--hosts'"),
        (&["run", "--topology", "ring"], "full, line, star"),
        (&["run", "--ipalloc-range", "10.32.0.0/33"], "10.32.0.0/33"),
    ];
    for (words, expected) in cases {
        let output = lab.run(words);

        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_made() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("refused");

    let output = lab.run(&["run", "--ipalloc-range", "10.32.0.0/29"]);

    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("room for 6 addresses, the lab needs 9"),
        "{stderr}"
    );
    lab.assert_gone();
}
