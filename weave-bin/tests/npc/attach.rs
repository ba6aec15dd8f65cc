//! A pod that the real plugin connects, on a node whose daemon expects a controller.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::Namespace;

use crate::node::{Node, block_on, reaches};
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

/// Whether a datagram from `source` in `from` arrives at `target` in `to`.
fn arrives(from: &Namespace, source: IpAddr, to: &Namespace, target: IpAddr) -> bool {
    let bind = |at: &Namespace, ip| at.run(|| UdpSocket::bind((ip, 0))).unwrap().unwrap();
    let (sender, receiver) = (bind(from, source), bind(to, target));
    let there: SocketAddr = receiver.local_addr().unwrap();
    sender.send_to(b"x", there).unwrap();
    let patience = Some(Duration::from_millis(700));
    receiver.set_read_timeout(patience).unwrap();
    receiver.recv(&mut [0; 8]).is_ok()
}

#[test]
fn a_pod_of_two_families_is_judged_and_held_to_both_addresses() {
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        println!("skipped: needs IPv6");
        return;
    }
    let Some(mut node) = Node::new("cni6", &[]) else {
        return;
    };
    let [web, other] = [
        ["10.40.0.2/12", "fd00:32::aa02/64"],
        ["10.40.0.4/12", "fd00:32::aa04/64"],
    ]
    .map(|addresses| node.pod_of(&addresses));
    let world = WORLD
        .replace("10.32.0.2}", "10.40.0.2}, {ip: 'fd00:32::aa02'}")
        .replace("10.32.0.4}", "10.40.0.4}, {ip: 'fd00:32::aa04'}")
        .replace("status: {podIPs: [{ip: 10.32.0.3}]}", "");
    node.write("world.yaml", &world);
    node.write("policy.yaml", POLICY);
    node.start_daemon(&["--expect-npc", "--ipalloc-range=10.32.0.0/12,fd00:32::/64"]);
    let (db, path) = node.namespace("db");
    node.start(&[]);

    let added = plugin(&node, "ADD", "db", &path).unwrap();

    let nets = added["ips"].as_array().unwrap().iter();
    let nets = nets.map(|ip| ip["address"].as_str().unwrap().parse().unwrap());
    let addresses: Vec<IpAddr> = nets.map(|net: ipnet::IpNet| net.addr()).collect();
    assert_eq!(addresses.len(), 2, "{added}");
    for address in &addresses {
        let at = |port| SocketAddr::new(*address, port).to_string();
        assert!(!reaches(&other, &db, &at(80)), "{address}: {}", node.log());
        assert!(reaches(&web, &db, &at(81)), "{address}: {}", node.log());
    }
    // A borrowed address does not leave the pod's port, its own do.
    let borrowed: IpAddr = "fd00:32::bad".parse().unwrap();
    block_on(async {
        let netlink = Netlink::open_in(&db).unwrap();
        let index = netlink.require_link("eth0").await.unwrap().index;
        let net = ipnet::IpNet::new_assert(borrowed, 64);
        netlink.add_address(index, net).await.unwrap();
    });
    for (source, target) in addresses.iter().zip(["10.40.0.2", "fd00:32::aa02"]) {
        let target = target.parse().unwrap();
        assert!(
            arrives(&db, *source, &web, target),
            "{source}: {}",
            node.log()
        );
    }
    let target = "fd00:32::aa02".parse().unwrap();
    assert!(!arrives(&db, borrowed, &web, target), "{}", node.log());
    plugin(&node, "DEL", "db", &path).unwrap();
}
