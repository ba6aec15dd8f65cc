//! Addresses: who has which, and when one moves.

use std::time::{Duration, Instant};

use weave_datapath::{arp, bpf::Counter, packet::ethernet::Mac};

use crate::{
    counters,
    lab::{Lab, Pod},
    mesh::short_id,
    root,
    traffic::round_trip,
};

/// The peer a host believes `mac` to be behind; `None`: nowhere; `Some(None)`: itself.
fn whereabouts(lab: &Lab, host: usize, mac: [u8; 6]) -> Option<Option<u16>> {
    let macs = lab.daemon(host).ask(|device, _| device.macs().unwrap());
    let found = macs.into_iter().find(|learned| learned.mac == Mac(mac))?;
    Some(found.peer.map(u16::from))
}

/// Gives `to` the hardware and IP address of `from`, which goes down, as a pod that moves.
fn move_pod(from: &Pod, to: &Pod) {
    let (address, mac) = (from.address, from.mac);
    from.scratch.with(|netlink| async move {
        let link = netlink.link_by_name("eth0").await.unwrap().unwrap();
        netlink.set_down(link.index).await.unwrap();
    });
    to.scratch.with(|netlink| async move {
        let link = netlink.link_by_name("eth0").await.unwrap().unwrap();
        netlink.set_down(link.index).await.unwrap();
        netlink.set_mac(link.index, mac).await.unwrap();
        netlink.set_up(link.index).await.unwrap();
        let address = ipnet::IpNet::new(address.into(), 16).unwrap();
        netlink.add_address(link.index, address).await.unwrap();
    });
}

#[test]
fn a_pod_that_moves_is_found_at_its_new_host() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 2);
    let moving = &lab.hosts[0].pods[0];
    let target = &lab.hosts[1].pods[0];
    assert!(round_trip(moving, target).is_some());
    let remote = Some(Some(u16::from(short_id(0))));
    assert_eq!(whereabouts(&lab, 0, moving.mac), Some(None));
    assert_eq!(whereabouts(&lab, 1, moving.mac), remote);

    move_pod(moving, target);
    let socket = target.udp(0);
    // The old owner has to be silent for a second; every peer is told by the same frame.
    let there = Some(Some(u16::from(short_id(1))));
    let begun = Instant::now();
    let moved = loop {
        socket.send_to(b"here I am", ("10.32.255.255", 9)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let is_here = whereabouts(&lab, 1, moving.mac) == Some(None);
        if is_here && whereabouts(&lab, 0, moving.mac) == there {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "not taken over");
    };

    println!("taken over after {moved:?}");
    assert!(counters(&lab, 1).get(Counter::MacMoved) >= 1);
}

/// Announces the address of `owner` from `sender`, with the hardware address of `owner`.
fn announce(sender: &Pod, owner: &Pod) {
    let (address, mac) = (owner.address.into(), owner.mac);
    sender.scratch.with(|netlink| async move {
        let link = netlink.link_by_name("eth0").await.unwrap().unwrap();
        arp::announce(link.index, mac, &[address]).unwrap();
    });
}

#[test]
fn an_announcement_moves_an_address_that_was_in_use_a_moment_ago() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(round_trip(a, b).is_some());
    assert_eq!(
        whereabouts(&lab, 1, a.mac),
        Some(Some(u16::from(short_id(0))))
    );

    // A multicast of the pod's own, which its kernel may send at any time, starts the wait anew.
    let moved = (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(150));
        announce(b, a);
        whereabouts(&lab, 1, a.mac) == Some(None)
    });

    assert!(moved);
    let there = Some(Some(u16::from(short_id(1))));
    let deadline = Instant::now() + Duration::from_secs(5);
    while whereabouts(&lab, 0, a.mac) != there {
        let is_late = Instant::now() > deadline;
        assert!(!is_late, "every peer is told by the same frame");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_frame_that_is_only_reflected_does_not_move_an_address() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(round_trip(a, b).is_some());

    // What the bridge of host 1 would send back with hairpin on: a frame of a remote pod.
    lab.hosts[1].scratch.with(|netlink| async move {
        let port = netlink.link_by_name("vxlan-6784").await.unwrap().unwrap();
        netlink.set_hairpin(port.index, true).await.unwrap();
    });
    for _ in 0..20 {
        a.udp(0).send_to(b"all", ("10.32.255.255", 9)).unwrap();
        announce(a, a);
        std::thread::sleep(Duration::from_millis(5));
    }

    assert_eq!(
        whereabouts(&lab, 1, a.mac),
        Some(Some(u16::from(short_id(0))))
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    while counters(&lab, 1).get(Counter::DropConflict) < 40 {
        assert!(Instant::now() < deadline, "reflections are dropped");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(counters(&lab, 1).get(Counter::MacMoved), 0);
}

#[test]
fn addresses_of_a_peer_with_a_new_short_id_move_along_and_old_ones_are_forgotten() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    assert!(round_trip(a, b).is_some());

    let renamed = lab.daemon(0).ask(|device, engine| {
        let mut next = engine.tables().clone();
        let entry = next.peers.remove(&short_id(1)).unwrap();
        let id = weave_datapath::ShortId::try_from(0x7ff_u16).unwrap();
        next.peers.insert(id, entry);
        let update = device.tables().diff_to(&next);
        device.apply(&update).unwrap();
        u16::from(id)
    });
    assert_eq!(whereabouts(&lab, 0, b.mac), Some(Some(renamed)));

    let none_is_old = lab
        .daemon(0)
        .ask(|device, _| device.sweep(Duration::from_secs(60)).unwrap());
    assert_eq!(none_is_old, 0);
    std::thread::sleep(Duration::from_millis(20));
    let swept = lab
        .daemon(0)
        .ask(|device, _| device.sweep(Duration::from_millis(10)).unwrap());
    assert!(swept >= 2, "both pods' addresses, not {swept}");
    assert_eq!(whereabouts(&lab, 0, b.mac), None);
}

#[test]
fn a_decision_does_not_outlive_what_it_was_made_from() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    let socket = a.udp(0);
    let send = || {
        let before = counters(&lab, 0);
        socket.send_to(b"x", (b.address, 9)).unwrap();
        let after = counters(&lab, 0);
        let more = |counter| after.get(counter) - before.get(counter);
        [Counter::Sent, Counter::Flooded, Counter::DropNoRoute].map(more)
    };
    assert!(round_trip(a, b).is_some());
    assert_eq!(send(), [1, 0, 0]);

    lab.daemon(0).ask(|device, engine| {
        let mut next = engine.tables().clone();
        let entry = next.peers.get_mut(&short_id(1)).unwrap();
        entry.route = weave_datapath::fastdp::Route::Unreachable;
        let update = device.tables().diff_to(&next);
        device.apply(&update).unwrap();
    });
    assert_eq!(send(), [0, 0, 1], "the peer is no longer reached");

    lab.daemon(0).ask(|device, engine| {
        let update = device.tables().diff_to(engine.tables());
        device.apply(&update).unwrap();
    });
    assert_eq!(send(), [1, 0, 0], "and is reached again");

    std::thread::sleep(Duration::from_millis(20));
    lab.daemon(0)
        .ask(|device, _| device.sweep(Duration::from_millis(10)).unwrap());
    assert_eq!(send(), [0, 1, 0], "the address is forgotten");
}
