//! Pods that are being made, pods that borrow addresses, and what a Weave Net left.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use weave_datapath::netlink::Netlink;

use crate::node::{Node, block_on, reaches};
use crate::{POLICY, WORLD};

#[test]
fn a_pod_is_closed_until_it_is_known_and_then_as_its_policies_say() {
    let Some(mut node) = Node::new("place", &[]) else {
        return;
    };
    let [web, other] = ["10.32.0.2", "10.32.0.4"].map(|ip| node.pod(ip));
    let without = WORLD.replace("status: {podIPs: [{ip: 10.32.0.3}]}", "");
    let unknown = WORLD.split("---").next().unwrap();
    node.write("world.yaml", unknown);
    node.write("policy.yaml", POLICY);
    node.start(&[]);
    let form = |wait| {
        [
            ("namespace", "shop"),
            ("name", "db"),
            ("address", "10.32.0.3"),
            ("wait", wait),
        ]
    };

    let refused = node.post("/pod", &form("1"));
    assert_eq!(refused.status.as_u16(), 504, "{}", refused.body);
    assert_eq!(refused.body, "pod shop/db is not known\n");
    let db = node.pod("10.32.0.3");
    assert!(!reaches(&web, &db, "10.32.0.3:80"), "nobody passes yet");

    let begun = Instant::now();
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| node.post("/pod", &form("10")));
        std::thread::sleep(Duration::from_millis(300));
        node.write("world.yaml", &without);
        asked.join().unwrap()
    });

    assert!(answer.is_success(), "{}", answer.body);
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(node.status()["claimed"][0], "shop/db");
    assert!(reaches(&web, &db, "10.32.0.3:81"), "{}", node.log());
    assert!(!reaches(&other, &db, "10.32.0.3:82"), "{}", node.log());

    node.kill();
    node.start(&[]);
    assert_eq!(
        node.status()["held"][0],
        "10.32.0.3",
        "its pod shows no address yet"
    );
    assert!(!reaches(&other, &db, "10.32.0.3:83"), "{}", node.log());
    node.write("world.yaml", WORLD);
    node.sync();
    assert!(reaches(&web, &db, "10.32.0.3:84"), "{}", node.log());
    assert!(!reaches(&other, &db, "10.32.0.3:85"), "{}", node.log());
}

#[test]
fn a_static_pod_is_known_by_its_name_after_a_while() {
    let Some(node) = Node::new("static", &[]) else {
        return;
    };
    let without = WORLD.replace("status: {podIPs: [{ip: 10.32.0.3}]}", "");
    node.write("world.yaml", &without);
    node.start(&[]);
    let begun = Instant::now();

    let uid = ("uid", "as-the-kubelet-has-it");
    let pod = [("namespace", "shop"), ("name", "db"), uid];
    let answer = node.post("/pod", &[&pod[..], &[("address", "10.32.0.3")]].concat());

    assert!(answer.is_success(), "{}", answer.body);
    assert!(begun.elapsed() >= Duration::from_secs(3));
}

#[test]
fn a_guarded_pod_cannot_borrow_an_address() {
    let Some(mut node) = Node::new("guard", &[]) else {
        return;
    };
    let [db, other] = ["10.32.0.3", "10.32.0.4"].map(|ip| node.pod(ip));
    node.write("world.yaml", WORLD);
    node.write("policy.yaml", POLICY);
    node.start(&[]);
    // The policy lets 10.32.0.2 pass, which `other` takes for its own.
    let borrowed = || {
        block_on(async {
            let netlink = Netlink::open_in(&other).unwrap();
            let link = netlink.require_link("eth0").await.unwrap().index;
            let _ = netlink
                .add_address(link, "10.32.0.2/12".parse().unwrap())
                .await;
        });
        let server = db.run(|| UdpSocket::bind("10.32.0.3:0")).unwrap().unwrap();
        let patience = Some(Duration::from_millis(700));
        server.set_read_timeout(patience).unwrap();
        let target = server.local_addr().unwrap();
        let client = other
            .run(|| UdpSocket::bind("10.32.0.2:0"))
            .unwrap()
            .unwrap();
        client.send_to(b"x", target).unwrap();
        server.recv_from(&mut [0; 8]).is_ok()
    };
    assert!(
        borrowed(),
        "without a guard it gets through: {}",
        node.log()
    );

    let mac = block_on(async {
        let netlink = Netlink::open_in(&other).unwrap();
        netlink.require_link("eth0").await.unwrap().mac.unwrap()
    });
    let mac = weave_datapath::netlink::mac_text(mac);
    let guarded = |mac: &str, port: &str| {
        let form = [("port", port), ("mac", mac), ("address", "10.32.0.4")];
        node.post("/guard", &form)
    };
    let answer = guarded(&mac, "vethwepl2pod-np");
    assert!(answer.is_success(), "{}", answer.body);

    assert!(!borrowed(), "{}", node.log());
    let own = reaches(&other, &node.host, "10.32.0.1:0");
    assert!(own, "its own address passes: {}", node.log());
    assert_eq!(node.status()["guarded"][0], "vethwepl2pod-np");
}

#[test]
fn the_guard_outlives_the_controller() {
    let Some(mut node) = Node::new("outlive", &[]) else {
        return;
    };
    let _pod = node.pod("10.32.0.4");
    node.write("world.yaml", WORLD);
    node.start(&[]);
    let guard = |port| {
        let mac = ("mac", "02:00:00:00:00:09");
        node.post("/guard", &[("port", port), mac, ("address", "10.32.0.4")])
    };
    assert!(guard("vethwepl1pod-np").is_success());
    let refused = guard("nobody");
    assert_eq!(refused.status.as_u16(), 409);
    assert_eq!(refused.body, "port \"nobody\": there is no such device\n");

    node.kill();
    node.start(&[]);

    node.until("the guard is taken over", |node| {
        let guarded = node.status()["guarded"].clone();
        guarded
            .as_array()
            .is_some_and(|ports| *ports == ["vethwepl1pod-np"])
    });
}

#[test]
fn rules_of_a_weave_net_go_once_ours_are_in_force() {
    let Some(node) = Node::new("old", &["iptables-nft", "ipset"]) else {
        return;
    };
    node.run("ipset create weave-abc hash:ip");
    node.run("iptables-nft -N WEAVE-NPC");
    node.run("iptables-nft -A FORWARD -o weave -j WEAVE-NPC");
    node.run("iptables-nft -A WEAVE-NPC -m set --match-set weave-abc dst -j ACCEPT");
    node.run("iptables-nft -N MINE");
    node.start(&[]);
    let status = node.status();
    assert_eq!(
        status["programmed"], true,
        "an empty directory is an empty world"
    );

    node.until("the old rules are gone", |node| {
        let rules = node.run("iptables-nft -S");
        !rules.contains("WEAVE-NPC") && rules.contains("MINE")
    });
    node.until("the old sets are gone", |node| {
        node.run("ipset list -name").is_empty()
    });
}
