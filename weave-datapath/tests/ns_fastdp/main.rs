//! The fast path on the real kernel: hosts and pods are network namespaces, frames cross in VXLAN.
#![cfg(feature = "bpf")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod capture;
mod daemon;
#[cfg(feature = "sleeve")]
mod flows;
mod lab;
mod learning;
mod mesh;
#[cfg(feature = "sleeve")]
mod mixed;
mod ports;
mod repair;
mod restart;
mod toobig;
mod traffic;
mod wire;

use std::time::Duration;

use lab::Lab;
use traffic::{Pings, broadcast, round_trip, stream};
use weave_datapath::arp;
use weave_datapath::bpf::{Counter, Counters, Opened};

/// Whether the test can run; says so if not.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn counters(lab: &Lab, host: usize) -> Counters {
    lab.daemon(host).ask(|device, _| device.counters().unwrap())
}

#[test]
fn pods_on_two_hosts_reach_each_other() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 2);

    for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (a, b) = (&lab.hosts[0].pods[a], &lab.hosts[1].pods[b]);
        assert!(round_trip(a, b).is_some());
        assert!(round_trip(b, a).is_some());
    }

    let first = counters(&lab, 0);
    assert!(first.get(Counter::Sent) > 0 && first.get(Counter::Delivered) > 0);
    assert!(first.get(Counter::Flooded) > 0, "ARP requests");
    assert_eq!(first.get(Counter::DropError), 0);
    assert_eq!(first.get(Counter::DropConflict), 0);
}

/// The kernel answers a request that came through a tunnel with a frame that has tunnel metadata.
#[test]
fn a_host_answers_address_requests_of_pods_elsewhere() {
    if !root() {
        return;
    }
    let lab = Lab::new(3, &[(0, 1), (1, 2)], 1);
    let address = std::net::Ipv4Addr::new(10, 32, 200, 1);
    lab.hosts[0].scratch.with(|netlink| async move {
        let bridge = netlink.link_by_name("weave").await.unwrap().unwrap();
        let address = ipnet::IpNet::new(address.into(), 16).unwrap();
        netlink.add_address(bridge.index, address).await.unwrap();
    });

    for pod in lab.hosts.iter().map(|host| &host.pods[0]) {
        let ask = || arp::request("eth0", address, Duration::from_secs(2)).unwrap();
        let answers = pod.scratch.namespace.run(ask).unwrap();

        assert_eq!(answers, [[0x02, 0, 0, 0, 0xb0, 0]]);
    }
}

#[test]
fn a_host_between_relays_in_the_kernel() {
    if !root() {
        return;
    }
    let lab = Lab::new(3, &[(0, 1), (1, 2)], 1);
    let [a, b, c] = [0, 1, 2].map(|host| &lab.hosts[host].pods[0]);

    assert!(round_trip(a, b).is_some() && round_trip(b, c).is_some());
    assert!(
        round_trip(a, c).is_some(),
        "there is no underlay between them"
    );

    let before = counters(&lab, 1).get(Counter::Relayed);
    for _ in 0..10 {
        assert!(round_trip(a, c).is_some());
    }
    let relayed = counters(&lab, 1).get(Counter::Relayed) - before;
    assert!(relayed >= 20, "ten requests and ten answers, not {relayed}");
}

#[test]
fn a_stream_crosses_in_super_packets_and_arrives_whole() {
    if !root() {
        return;
    }
    let lab = Lab::new(3, &[(0, 1), (1, 2)], 1);
    let [a, c] = [0, 2].map(|host| &lab.hosts[host].pods[0]);
    let before = counters(&lab, 0).get(Counter::Sent);
    let len = 32 << 20;

    let received = stream(a, c, len);

    assert_eq!(received, len);
    let frames = counters(&lab, 0).get(Counter::Sent) - before;
    let segments = u64::try_from(len).unwrap() / 1324;
    println!("{frames} frames for {segments} segments");
    assert!(
        frames < segments / 2,
        "segmentation happens behind the tunnel"
    );
}

#[test]
fn a_broadcast_reaches_every_pod_exactly_once() {
    if !root() {
        return;
    }
    let graphs: [(usize, &[(usize, usize)]); 3] = [
        (3, &[(0, 1), (1, 2), (0, 2)]),
        (4, &[(0, 1), (1, 2), (2, 3)]),
        (4, &[(0, 1), (0, 2), (1, 3), (2, 3)]),
    ];
    for (hosts, graph) in graphs {
        let lab = Lab::new(hosts, graph, 2);
        let pods: Vec<_> = lab.hosts.iter().flat_map(|host| &host.pods).collect();
        for (number, from) in pods.iter().enumerate() {
            let mut others = pods.clone();
            others.remove(number);
            assert_eq!(
                broadcast(from, &others),
                vec![1; others.len()],
                "from pod {number} in {graph:?}"
            );
        }
    }
}

#[test]
fn frames_flow_while_the_daemon_between_is_dead_and_when_it_returns() {
    if !root() {
        return;
    }
    let mut lab = Lab::new(3, &[(0, 1), (1, 2)], 1);
    let [a, b, c] = [0, 1, 2].map(|host| &lab.hosts[host].pods[0]);
    assert!(round_trip(a, c).is_some() && round_trip(a, b).is_some());
    let through = Pings::start(a, c);
    let into = Pings::start(c, b);
    let pause = || std::thread::sleep(Duration::from_millis(300));
    pause();
    let tables = lab.daemon(1).ask(|device, _| device.tables().clone());

    lab.kill(1);
    pause();
    lab.start(1);
    assert_eq!(lab.daemon(1).opened, Opened::Adopted);
    assert_eq!(
        lab.daemon(1).ask(|device, _| device.tables().clone()),
        tables
    );
    pause();
    lab.connect((0, 1));
    lab.connect((1, 2));
    let settled = lab.settle();
    pause();

    let (sent, received) = through.stop();
    println!("through the dead daemon: {received} of {sent}; settled again in {settled:?}");
    assert_eq!(received, sent);
    let (sent, received) = into.stop();
    assert_eq!(received, sent);
    assert_eq!(
        lab.daemon(1).ask(|device, _| device.tables().clone()),
        tables
    );
}
