//! The MTU of the network follows that of the underlay while daemons run.

use std::time::{Duration, Instant};

use weave_datapath::netlink::Netlink;
use weave_datapath::netns::{Namespace, named_path};

use crate::bed::{Lab, can_run};

/// Longer than the time between two looks of a daemon.
const LIMIT: Duration = Duration::from_secs(20);

fn with<T>(namespace: &str, work: impl AsyncFnOnce(Netlink) -> T) -> T {
    let namespace = Namespace::open(named_path(namespace)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { work(Netlink::open_in(&namespace).unwrap()).await })
}

fn mtu(namespace: &str, name: &str) -> u32 {
    with(namespace, async |netlink| {
        netlink.require_link(name).await.unwrap().mtu
    })
}

/// Gives both hosts' ends of their cables an MTU.
fn set_underlay(lab: &Lab, mtu: u32) {
    for host in ["1", "2"] {
        with(&lab.namespace(host), async |netlink| {
            let cable = netlink.require_link("eth0").await.unwrap();
            netlink.set_mtu(cable.index, mtu).await.unwrap();
        });
    }
}

fn until(lab: &Lab, wanted: u32) -> Duration {
    let begun = Instant::now();
    for host in ["1", "2"] {
        let bridge = || mtu(&lab.namespace(host), "weave");
        while bridge() != wanted {
            let now = bridge();
            assert!(begun.elapsed() < LIMIT, "host {host}: {now}, not {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    begun.elapsed()
}

#[test]
fn bridge_and_new_pods_follow_the_underlay() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("narrow");
    lab.ok(&["up", "--hosts", "2", "--pods", "1"]);
    until(&lab, 1376);

    set_underlay(&lab, 1300);
    let took = until(&lab, 1300 - 86);

    println!("narrower after {took:?}");
    lab.ok(&["add-pod", "1"]);
    assert_eq!(mtu(&lab.namespace("1-pod-2"), "eth0"), 1300 - 86);
    assert_eq!(
        mtu(&lab.namespace("1-pod-1"), "eth0"),
        1376,
        "as it was attached"
    );
    // The pod of before is told what the way carries.
    let words = ["stream", "1/1", "2/1", "--seconds", "2", "--json"];
    let flow: serde_json::Value = serde_json::from_str(&lab.ok(&words)).unwrap();
    assert!(flow["bytes"].as_u64().unwrap() > 1_000_000, "{flow}");

    set_underlay(&lab, 1500);
    println!("as before after {:?}", until(&lab, 1376));
}

#[test]
fn an_mtu_that_was_given_stays_whatever_the_underlay_carries() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("given");
    lab.ok(&["up", "--hosts", "2", "--pods", "1", "--mtu", "1250"]);
    until(&lab, 1250);

    set_underlay(&lab, 1280);

    let told = "it stays 1250, as it was given";
    let log = || std::fs::read_to_string(lab.state_dir().join("host-1/daemon.log")).unwrap();
    let begun = Instant::now();
    while !log().contains(told) {
        assert!(begun.elapsed() < LIMIT, "{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(mtu(&lab.namespace("1"), "weave"), 1250);
    lab.ok(&["add-pod", "1"]);
    assert_eq!(mtu(&lab.namespace("1-pod-2"), "eth0"), 1250);
}
