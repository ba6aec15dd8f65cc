//! Pods with addresses of two families: real packets, restarts, and hosts without IPv6.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use weave_bin::http::client::Client;
use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

use super::bed::{Lab, can_run};

/// Whether the kernel of this machine has IPv6; says so if not.
fn has_ipv6() -> bool {
    let found = std::path::Path::new("/proc/sys/net/ipv6").exists();
    if !found {
        println!("skipped: needs IPv6");
    }
    found
}

/// What the daemon of host `number` says at `path`.
fn ask(lab: &Lab, number: usize, path: &str) -> String {
    let namespace = named_path(&lab.namespace(&number.to_string()));
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(Client::from_env().get(path))
    };
    let answer = Namespace::open(namespace).unwrap().run(ask).unwrap();
    answer.unwrap().body
}

fn open(lab: &Lab, place: &str) -> Namespace {
    Namespace::open(named_path(&lab.namespace(place))).unwrap()
}

/// The address by which somebody beyond host 1 sees its first pod, who has no route to pods.
fn seen_from_outside(lab: &Lab) -> String {
    let (host, pod) = (open(lab, "1"), open(lab, "1-pod-1"));
    let out = Namespace::create_named(&lab.namespace("out")).unwrap();
    let wire = async {
        let netlink = Netlink::open_in(&host).unwrap();
        let made = netlink.create_veth_into("out", "out", &out, 1500);
        made.await.unwrap();
        for (at, address) in [(&host, "fd00:99::1/64"), (&out, "fd00:99::2/64")] {
            let netlink = Netlink::open_in(at).unwrap();
            let index = netlink.require_link("out").await.unwrap().index;
            let added = netlink.add_address(index, address.parse().unwrap());
            added.await.unwrap();
            netlink.set_up(index).await.unwrap();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(wire);
    let forward = || std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    host.run(forward).unwrap().unwrap();
    let listener = out.run(|| TcpListener::bind("[fd00:99::2]:0"));
    let listener = listener.unwrap().unwrap();
    let there = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&there, Duration::from_secs(5));
    let _connected = pod.run(connect).unwrap().unwrap();
    let (_, seen) = listener.accept().unwrap();
    Namespace::delete_named(&lab.namespace("out")).unwrap();
    seen.ip().to_string()
}

#[test]
fn pods_of_three_hosts_reach_each_other_over_both_families() {
    if !can_run() || !has_ipv6() {
        return;
    }
    let lab = Lab::new("dual");

    let text = lab.ok(&["run", "--dual-stack", "--pods", "1", "--json", "--keep"]);

    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["reachable"], 6, "{text}");
    let families =
        json!({"pods": 3, "pairs": 6, "reachable": 6, "tcp_pairs": 12, "tcp_reachable": 12});
    assert_eq!(found["families"], families, "{text}");
    assert_eq!(found["duplicate_addresses"], 0);
    assert_eq!(found["rings_equal"], true);

    assert_eq!(seen_from_outside(&lab), "fd00:99::1", "masqueraded");

    // What a pod has outlives its daemon, and its DEL frees both.
    let before = ask(&lab, 2, "/ip");
    assert!(
        before.contains("/12") && before.contains("fd00:10:32:"),
        "{before}"
    );
    lab.ok(&["kill", "2"]);
    lab.ok(&["start", "2"]);
    assert_eq!(ask(&lab, 2, "/ip"), before);
    lab.ok(&["probe"]);
    lab.ok(&["del-pod", "2/1"]);
    let left: Value = serde_json::from_str(&ask(&lab, 2, "/ip")).unwrap();
    let holders = left["owned"].as_array().unwrap();
    let names: Vec<&str> = holders
        .iter()
        .filter_map(|one| one["containerid"].as_str())
        .collect();
    assert_eq!(names, ["weave:expose"]);
    assert_eq!(holders[0]["addrs"].as_array().unwrap().len(), 2);
    lab.ok(&["down"]);
    lab.assert_gone();
}

#[test]
fn a_host_without_ipv6_goes_on_with_ipv4() {
    if !can_run() || !has_ipv6() {
        return;
    }
    let lab = Lab::new("off6");
    lab.ok(&["up", "--dual-stack", "--hosts", "2", "--pods", "1"]);
    let off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";

    lab.ok(&["kill", "1"]);
    lab.ok(&["exec", "1", "--", "sh", "-c", off]);
    lab.ok(&["start", "1"]);

    let report = lab.report(1);
    assert_eq!(report["IPAM"]["Range"], "10.32.0.0/12");
    assert!(report.get("IPAM6").is_none());
    let left_out = &report["IPAM6LeftOut"];
    assert_eq!(left_out["Range"], "fd00:10:32::/64");
    let reason = left_out["Reason"].as_str().unwrap();
    assert!(
        reason.contains("net.ipv6.conf.all.disable_ipv6=1"),
        "{reason}"
    );
    let page = ask(&lab, 1, "/status");
    assert!(
        page.contains("Service: ipam6\n         Status: off: IPv6 is"),
        "{page}"
    );
    let added = lab.ok(&["add-pod", "1"]);
    assert_eq!(added.trim().split(' ').count(), 2, "IPv4 alone: {added}");
    lab.ok(&["ping", "1/2", "2/1", "--count", "20"]);
    // What the pods of before have is kept for them.
    lab.ok(&["kill", "1"]);
    lab.ok(&["exec", "1", "--", "sh", "-c", &off.replace('1', "0")]);
    lab.ok(&["start", "1"]);
    assert!(ask(&lab, 1, "/ip").contains("fd00:10:32:"));
}
