//! Faults planted on real hosts: the doctor names each, with nothing beside it, and its command cures.
//!
//! Several labs at a time, since most of a fault is waiting; each lab has its part of the faults.

use serde_json::Value;
use weave_datapath::netns::Namespace;

use super::bed::{Lab, can_run};

/// Plants `faults` in a lab of their own; all must be named and cured.
fn named_and_cured(test: &str, faults: &[&str]) {
    if !can_run() {
        return;
    }
    let lab = Lab::new(test);
    let mut words = vec!["doctor", "--json"];
    for fault in faults {
        words.extend(["--fault", fault]);
    }

    let output = lab.run(&words);

    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{said}"));
    assert_eq!(found["healthy"], Value::Array(Vec::new()), "{text}");
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), faults.len());
    for row in rows {
        let name = &row["fault"];
        if let Some(program) = row["skipped"].as_str() {
            println!("skipped: {name} needs {program}");
            continue;
        }
        assert_eq!(row["named"], true, "{row:#}");
        let is_replaced = row["cure"] == "replaced";
        let cured = (!is_replaced).then_some(true);
        assert_eq!(row["cured"].as_bool(), cured, "{row:#}");
        assert_eq!(row["typed"], row["cure"] == "typed", "{row:#}");
    }
    assert!(output.status.success(), "{said}");
    lab.assert_gone();
}

/// What `weave ipam audit` of host 1 says, and how it ends.
fn audit(lab: &Lab) -> (Value, Option<i32>) {
    let program = env!("CARGO_BIN_EXE_weave");
    let output = lab.run(&["exec", "1", "--", program, "ipam", "audit", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    (serde_json::from_str(&text).unwrap(), output.status.code())
}

#[test]
fn an_audit_knows_every_address_until_a_pod_goes_without_a_word() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("dx-audit");
    lab.ok(&["up", "--hosts", "1", "--pods", "2"]);

    let (whole, code) = audit(&lab);
    let rows = whole["Addresses"].as_array().unwrap();
    let states: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["State"].as_str())
        .collect();
    // The plugin has put an address on the bridge.
    assert_eq!(states, ["attached", "bridge", "attached"], "{whole:#}");
    assert_eq!(code, Some(0));
    assert_eq!(whole["Ring"][0]["Percent"], 100.0);

    Namespace::delete_named(&lab.namespace("1-pod-2")).unwrap();
    let (leaked, code) = audit(&lab);
    let mut rows = leaked["Addresses"].as_array().unwrap().iter();
    let row = rows.find(|row| row["State"] == "leaked").unwrap();
    assert_eq!((leaked["Clean"].as_bool(), code), (Some(false), Some(1)));
    let id = row["Owner"].as_str().unwrap();
    let program = env!("CARGO_BIN_EXE_weave");
    lab.ok(&["exec", "1", "--", program, "ipam", "release", id]);
    assert_eq!(audit(&lab).1, Some(0));
}

#[test]
fn faults_of_a_host_are_named_and_cured() {
    let faults = [
        "ip-forward-off",
        "forward-drop",
        "input-drop",
        "range-overlap",
        "stale-cni",
        "foreign-conflist",
        "leaked-address",
        "api-unreachable",
        "bridge-nf-off",
        "version-skew",
        "clock-skew",
    ];
    named_and_cured("dx-host", &faults);
}

#[test]
fn faults_between_hosts_are_named_and_cured() {
    let faults = ["udp-blocked", "tcp-blocked", "daemon-down", "dead-peer"];
    named_and_cured("dx-between", &faults);
}

#[test]
fn faults_of_a_machine_that_joins_are_named() {
    let faults = [
        "wrong-password",
        "one-sided-encryption",
        "duplicate-machine-id",
        "connection-limit",
        "mtu-too-large",
    ];
    named_and_cured("dx-joins", &faults);
}

#[test]
fn faults_of_a_machine_by_itself_are_named() {
    let faults = [
        "disk-full",
        "ipv6-off",
        "no-consensus",
        "peer-down",
        "other-range",
        "other-seed",
    ];
    named_and_cured("dx-alone", &faults);
}
