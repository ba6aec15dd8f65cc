//! Policies in a lab: the tables that real packets draw are those that `decide` gives.

use serde_json::Value;

use crate::bed::{Lab, can_run};

/// Two nodes, four pods, and policies of both directions.
const WORLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/policy.yaml");
/// A change of labels, a cluster policy, and a case with steps of its own.
const STEPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/policy-steps.yaml");

/// What became of every connection of a state.
fn seen(step: &Value) -> Vec<&Value> {
    let answers = step["answers"].as_array().unwrap();
    answers.iter().map(|answer| &answer["observed"]).collect()
}

/// How many connections of a state were open, and how many closed.
fn count(step: &Value) -> (usize, usize) {
    let all = seen(step);
    let of = |what: &str| all.iter().filter(|seen| **seen == what).count();
    (of("open"), of("closed"))
}

#[test]
fn real_packets_draw_the_table_that_decide_gives_also_while_manifests_change() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("policy");

    let text = lab.ok(&[
        "policy",
        "-f",
        WORLD,
        "--steps",
        STEPS,
        "--ports",
        "80/TCP,53/UDP,9003/SCTP",
        "--restarts",
        "4",
        "--json",
    ]);

    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["passed"], true, "{text}");
    let steps = found["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(names[0], "start");
    assert_eq!(&names[2..], ["open-again step 0", "open-again step 1"]);
    // Three ports, two families, twelve pairs of pods.
    for step in &steps[..3] {
        let (open, closed) = count(step);
        assert_eq!(open + closed, 72, "{step}");
        assert!(open > 10 && closed > 10, "{open} open, {closed} closed");
    }
    assert_ne!(
        seen(&steps[0]),
        seen(&steps[1]),
        "the step changes something"
    );
    assert_eq!(count(&steps[3]), (72, 0), "no policy is left");
    let storm = &found["storm"];
    assert_eq!(storm["restarts"], 4);
    assert_eq!(storm["leaked"], 0);
    assert_eq!(storm["allowed_lost"], 0);
    assert!(storm["allowed_sent"].as_u64().unwrap() > 100, "{storm}");
    let streams = &storm["streams"];
    // One port, two families, twelve pairs of pods.
    assert_eq!(streams["opened"], 24, "{storm}");
    assert_eq!(
        (&streams["broken"], &streams["lost"]),
        (&0.into(), &0.into())
    );
    assert!(streams["sent"].as_u64().unwrap() > 100, "{storm}");
    lab.assert_gone();
}

#[test]
fn a_manifest_that_cannot_be_used_is_named_and_nothing_is_left() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("nopolicy");

    let output = lab.run(&["policy", "-f", "/nonexistent.yaml", "--ports", "80/TCP"]);

    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(words.contains("/nonexistent.yaml"), "{words}");
    lab.assert_gone();
}
