//! Calls recorded from Weave Net 2.9.0, replayed in order.
//!
//! What the reference printed must be in what we print. Where it did worse, the case is listed in
//! [`improved`] with the better behaviour and the reason.

use serde::Deserialize;
use serde_json::{Value, json};

use super::fake::{FakeDaemon, Host, nowhere};
use super::play;
use crate::cni::{Plugin, Reply};

#[derive(Deserialize)]
struct Recording {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    plugin: String,
    env: std::collections::BTreeMap<String, String>,
    stdin: String,
    exit: i32,
    stdout: Option<Value>,
    stderr: Vec<String>,
}

impl Case {
    fn command(&self) -> &str {
        &self.env["CNI_COMMAND"]
    }

    fn id(&self) -> &str {
        &self.env["CNI_CONTAINERID"]
    }

    /// The address the reference's daemon gave.
    fn address(&self) -> Option<&str> {
        let stdout = self.stdout.as_ref()?;
        let address = stdout
            .pointer("/ips/0/address")
            .or_else(|| stdout.pointer("/ip4/ip"));
        address?.as_str()
    }
}

/// Cases where we do better than the reference: number, our exit, and parts of our output.
fn improved(index: usize) -> Option<(i32, Value)> {
    Some(match index {
        // CHECK is there, and says what this call lacks.
        3 => (
            1,
            json!({"code": 7, "msg": "prevResult is missing: CHECK compares with it"}),
        ),
        // These two came with 1.1.0, and the configuration is of 1.0.0.
        4 => (
            1,
            json!({"code": 1, "msg": "config version does not allow GC"}),
        ),
        5 => (
            1,
            json!({"code": 1, "msg": "config version does not allow STATUS"}),
        ),
        // 8 is the specification's code for a namespace that cannot be used.
        13 => (
            1,
            json!({"code": 8, "msg":
                "error accessing namespace \"/var/run/netns/nosuch\": no such file or directory"}),
        ),
        // 1.1.0 is spoken.
        18 => (
            0,
            json!({"cniVersion": "1.1.0", "ips": [{"address": "10.32.0.7/12"}]}),
        ),
        19 => (
            1,
            json!({"code": 7, "msg": "Gateway functionality not supported"}),
        ),
        20 => (
            1,
            json!({"code": 7, "msg": "IP Masquerading functionality not supported"}),
        ),
        21 => (
            1,
            json!({"code": 101, "msg": "bridge \"nobr\" not present; did you launch weave?"}),
        ),
        // The words after the colon are our JSON reader's.
        22 | 33 => (1, json!({"code": 6})),
        23 => (
            1,
            json!({"code": 7, "msg": "unable to allocate IP address: failed to find plugin \
                \"nosuch-ipam\" in path [/opt/cni/bin]"}),
        ),
        // A second DEL is no error.
        30 => (0, Value::Null),
        // The runtime is told to try again.
        31 => (
            1,
            json!({"code": 11, "msg": "unable to allocate IP address: Post \
                \"http://NOWHERE/ip/nnnnnnnnn\": dial tcp NOWHERE: connect: connection refused"}),
        ),
        32 => (
            1,
            json!({"code": 11, "msg": "Delete \"http://NOWHERE/ip/nnnnnnnnn\": dial tcp NOWHERE: \
                connect: connection refused"}),
        ),
        _ => return None,
    })
}

#[test]
fn every_recorded_call_is_answered_at_least_as_well() {
    let text = include_str!("../../../tests/vectors/cli/cni-cases.json");
    let recording: Recording = serde_json::from_str(text).unwrap();
    assert_eq!(recording.cases.len(), 34);
    let mut grants: Vec<(&str, &str)> = recording
        .cases
        .iter()
        .filter_map(|case| Some((case.id(), case.address()?)))
        .collect();
    grants.extend([
        ("iiiiiiiiiiiiiiiiiiiii", "10.32.0.7/12"),
        ("nnnnnnnnn", "10.32.0.10/12"),
    ]);
    let daemon = FakeDaemon::start(&grants);
    let host = Host::with_bridge();
    let nowhere = nowhere();

    for (index, case) in recording.cases.iter().enumerate() {
        let address = if case.id() == "nnnnnnnnn" {
            &nowhere
        } else {
            &daemon.address
        };

        let reply = replay(case, &host, address);

        let (exit, expected) =
            improved(index).unwrap_or_else(|| (case.exit, case.stdout.clone().unwrap_or_default()));
        let name = format!("case {index}, {} {}", case.plugin, case.command());
        assert_eq!(i32::from(reply.failed), exit, "{name}: {reply:?}");
        let ours = reply
            .stdout
            .unwrap_or_default()
            .to_string()
            .replace(&nowhere, "NOWHERE");
        let ours: Value = serde_json::from_str(&ours).unwrap();
        assert_contains(&ours, &expected, &name);
        for line in case
            .stderr
            .iter()
            .filter_map(|line| line.strip_prefix("weave-cni: "))
        {
            let line = line.replace("127.0.0.1:6799", &nowhere);
            assert!(
                reply.log.contains(&line),
                "{name}: no {line:?} in {:?}",
                reply.log
            );
        }
    }
}

fn replay(case: &Case, host: &Host, daemon: &str) -> Reply {
    let plugin = match case.plugin.as_str() {
        "weave-net" => Plugin::Net,
        "weave-ipam" => Plugin::Ipam,
        other => panic!("plugin {other}"),
    };
    let mut env: Vec<(&str, &str)> = case
        .env
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    env.push(("CNI_PATH", "/opt/cni/bin"));
    play(plugin, &env, &case.stdin, host, daemon)
}

/// Objects may have more keys and arrays more items than expected, nothing else.
fn assert_contains(ours: &Value, expected: &Value, name: &str) {
    match (ours, expected) {
        (_, Value::Null) => {}
        (Value::Object(ours), Value::Object(expected)) => {
            for (key, value) in expected {
                assert_contains(
                    ours.get(key).unwrap_or(&Value::Null),
                    value,
                    &format!("{name}.{key}"),
                );
                assert!(ours.contains_key(key), "{name}: no {key}");
            }
        }
        (Value::Array(ours), Value::Array(expected)) => {
            assert!(ours.len() >= expected.len(), "{name}: {ours:?}");
            for (ours, expected) in ours.iter().zip(expected) {
                assert_contains(ours, expected, name);
            }
        }
        _ => assert_eq!(ours, expected, "{name}"),
    }
}
