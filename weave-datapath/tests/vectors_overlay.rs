//! The overlay switch against recordings of Weave Net (`vectors/overlay_switch.json`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use weave_datapath::overlay::{
    Event, Input, Switch, common, control, pace::Silence, split_control,
};

fn load(list: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/overlay_switch.json")).unwrap();
    vectors[list].as_array().unwrap().clone()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_str().unwrap().split_whitespace().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_common_list_has_our_order_and_numbers_the_slots() {
    let cases = load("ordering");
    assert_eq!(cases.len(), 9);
    for case in cases {
        let ours = words(&case["our_overlays"]);
        let names = common(&ours, &words(&case["their_overlays"]));
        if case.get("error").is_some() {
            assert!(names.is_empty(), "{case}");
            continue;
        }
        let switch = Switch::new(Duration::ZERO, &names);
        let best = switch.name(switch.best().unwrap()).unwrap();
        assert_eq!(best, case["initial_best"], "{case}");
        let messages = &case["control_message_for_inner_tag_0x42_payload_dead"];
        let messages = messages.as_object().unwrap();
        assert_eq!(messages.len(), names.len());
        for (name, message) in messages {
            let slot = switch.slot_of(name).unwrap();
            let body = hex(&control(slot, &[0x42, 0xde, 0xad]));
            assert_eq!(format!("tag=7 payload={body}"), *message);
        }
    }
}

#[test]
fn control_messages_reach_their_slot() {
    let switch = Switch::new(Duration::ZERO, &["fastdp", "sleeve"]);
    for case in load("demux") {
        let text = case["payload_hex"].as_str().unwrap();
        let body: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
        let (slot, inner) = split_control(&body).unwrap();
        let name = switch.name(slot.into()).unwrap();
        assert_eq!(name, case["delivered_to"]);
        let (tag, payload) = inner.split_first().unwrap();
        assert_eq!(format!("{tag}:{}", hex(payload)), case["as"][0]);
    }
}

#[test]
fn the_best_slot_is_the_recorded_one_after_each_event() {
    let scenarios = load("selection");
    assert_eq!(scenarios.len(), 10);
    for scenario in scenarios {
        let id = &scenario["id"];
        let mut switch = Switch::new(Duration::ZERO, &["fastdp", "sleeve"]);
        let mut established = false;
        for step in scenario["steps"].as_array().unwrap() {
            let event = step["event"].as_str().unwrap();
            let events = match event.split_once(' ') {
                None if *id == "fastdp-cannot-prepare" => {
                    switch.handle(Duration::ZERO, 0, Input::Failed("x".to_owned()))
                }
                None => Vec::new(),
                Some((kind, name)) => {
                    let slot = switch.slot_of(name).unwrap();
                    let input = match kind {
                        "est" => Input::Established,
                        "unhealthy" => Input::Unhealthy(Silence::There),
                        "healthy" => Input::Healthy,
                        "err" => Input::Failed("x".to_owned()),
                        unknown => panic!("{unknown} is a new event"),
                    };
                    switch.handle(Duration::ZERO, slot.into(), input)
                }
            };
            established |= events.contains(&Event::Established);
            assert_eq!(established, step["connection_established"], "{id}: {step}");
            let broken = events.contains(&Event::NoneWorking);
            assert_eq!(
                broken,
                step.get("connection_error").is_some(),
                "{id}: {step}"
            );
            // When nothing works the reference goes on to name the slot it had before; no frame
            // leaves by it, the connection ends.
            if !broken {
                let best = switch.best().and_then(|slot| switch.name(slot));
                assert_eq!(best, step["best"].as_str(), "{id}: {step}");
            }
        }
    }
}
