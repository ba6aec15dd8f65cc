//! A pod that the real plugin connects, on a node whose daemon expects a controller.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::node::{Node, reaches};
use crate::{POLICY, WORLD};

/// One call of the plugin; what it printed.
fn plugin(node: &Node, command: &str, pod: &str, netns: &str) -> Result<Value, Value> {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_weave"));
    plugin
        .arg("weave-net")
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", format!("{pod}container"))
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/nowhere")
        .env(
            "CNI_ARGS",
            format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = node.host.run(|| plugin.spawn()).unwrap().unwrap();
    let input = br#"{"cniVersion":"1.0.0","name":"weave","type":"weave-net"}"#;
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    if output.status.success() {
        Ok(printed)
    } else {
        Err(printed)
    }
}

#[test]
fn a_pod_is_never_open_and_is_connected_once_its_policies_are_in_force() {
    let Some(mut node) = Node::new("cni", &[]) else {
        return;
    };
    let [web, other] = ["10.40.0.2", "10.40.0.4"].map(|ip| node.pod(ip));
    let world = WORLD
        .replace("10.32.0.2", "10.40.0.2")
        .replace("10.32.0.4", "10.40.0.4")
        .replace("status: {podIPs: [{ip: 10.32.0.3}]}", "");
    node.write("world.yaml", &world);
    node.write("policy.yaml", POLICY);
    node.start_daemon(&["--expect-npc"]);
    let (db, path) = node.namespace("db");

    // The controller comes late: the plugin waits for it.
    let added = std::thread::scope(|scope| {
        let added = scope.spawn(|| plugin(&node, "ADD", "db", &path));
        std::thread::sleep(Duration::from_millis(700));
        let is_early = added.is_finished();
        node.start(&[]);
        let outcome = added.join().unwrap();
        assert!(!is_early, "{outcome:?}");
        outcome.unwrap()
    });

    let address = added["ips"][0]["address"].as_str().unwrap();
    let address = address.split('/').next().unwrap();
    assert!(
        !reaches(&other, &db, &format!("{address}:80")),
        "{}",
        node.log()
    );
    assert!(
        reaches(&web, &db, &format!("{address}:81")),
        "{}",
        node.log()
    );
    let status = node.status();
    assert_eq!(status["claimed"][0], "shop/db");
    assert_eq!(status["guarded"][0], added["interfaces"][0]["name"]);
    plugin(&node, "DEL", "db", &path).unwrap();
}
