//! Peers whose tunnels have different UDP ports: both directions use that of the side that was dialled.

use weave_datapath::{bpf::Opened, fastdp::Tables};

use crate::{
    lab::Lab,
    root,
    toobig::{LEN, narrow, told},
    traffic::{broadcast, round_trip, stream},
};

fn tunnels(lab: &Lab, host: usize) -> Vec<String> {
    let scratch = &lab.hosts[host].scratch;
    let links = scratch.with(|netlink| async move { netlink.links().await.unwrap() });
    let names = links.into_iter().map(|link| link.name);
    let mut tunnels: Vec<String> = names.filter(|name| name.starts_with("vxlan")).collect();
    tunnels.sort();
    tunnels
}

#[test]
fn hosts_with_different_ports_reach_each_other() {
    if !root() {
        return;
    }
    let lab = Lab::with_ports(&[(0, 1), (1, 2)], &[6784, 7784, 8784]);
    let [a, b, c] = [0, 1, 2].map(|host| &lab.hosts[host].pods[0]);

    assert_eq!(tunnels(&lab, 0), ["vxlan-6784", "vxlan-7784"]);
    assert_eq!(tunnels(&lab, 1), ["vxlan-7784", "vxlan-8784"]);
    assert_eq!(
        tunnels(&lab, 2),
        ["vxlan-8784"],
        "who is dialled needs no other"
    );
    for (from, to) in [(a, b), (b, a), (b, c), (c, b), (a, c), (c, a)] {
        assert!(round_trip(from, to).is_some());
    }
    for (from, others) in [(a, [b, c]), (b, [a, c]), (c, [a, b])] {
        assert_eq!(broadcast(from, &others), [1, 1]);
    }
    assert_eq!(stream(c, a, LEN), LEN);
}

#[test]
fn senders_are_told_what_the_way_by_another_port_carries() {
    if !root() {
        return;
    }
    let lab = Lab::with_ports(&[(0, 1)], &[6784, 7784]);
    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    narrow(&lab, 0, 1);

    assert_eq!(stream(a, b, LEN), LEN);

    assert!(told(&lab, 0) >= 1);
}

#[test]
fn a_daemon_that_returns_finds_the_tunnel_at_the_other_port_again() {
    if !root() {
        return;
    }
    let mut lab = Lab::with_ports(&[(0, 1)], &[6784, 7784]);
    let tables = lab.daemon(0).ask(|device, _| device.tables().clone());

    lab.kill(0);
    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    assert!(round_trip(a, b).is_some(), "nobody is needed for it");
    lab.start(0);

    assert_eq!(lab.daemon(0).opened, Opened::Adopted);
    let adopted = lab.daemon(0).ask(|device, _| device.tables().clone());
    assert_eq!(adopted, tables);
    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    assert!(round_trip(a, b).is_some());
}

#[test]
fn a_device_at_another_port_that_was_deleted_comes_back_and_one_that_nobody_needs_goes() {
    if !root() {
        return;
    }
    let mut lab = Lab::with_ports(&[(0, 1)], &[6784, 7784]);
    lab.daemon(0).ports(None);
    assert_eq!(tunnels(&lab, 0).len(), 2, "frames take it");
    lab.hosts[0].scratch.with(|netlink| async move {
        let side = netlink.require_link("vxlan-7784").await.unwrap();
        netlink.delete_link(side.index).await.unwrap();
    });

    lab.daemon(0).ports(Some(7784));

    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    assert!(round_trip(a, b).is_some());
    // As long as the way is kept for a daemon that may return, so is the device.
    lab.kill(1);
    lab.daemon(0).ports(None);
    assert_eq!(tunnels(&lab, 0).len(), 2);
    lab.daemon(0)
        .ask(|device, _| device.restore(&Tables::default()).unwrap());
    lab.daemon(0).ports(None);
    assert_eq!(tunnels(&lab, 0), ["vxlan-6784"]);
}
