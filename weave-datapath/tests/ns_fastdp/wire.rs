//! What leaves a host, field by field, and how floods fan out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use weave_datapath::{
    PeerName, ShortId,
    bpf::{Counter, Device},
    fastdp::{Entry, Hop, Path, Route, TableUpdate, Vni, heartbeat},
    packet::{ethernet::Frame, ipv4, udp, vxlan},
};

use crate::{
    capture::Capture,
    counters,
    lab::{Lab, MTU, underlay},
    mesh::short_id,
    root,
    traffic::round_trip,
};

const QUIET: Duration = Duration::from_millis(200);

/// Outer source, outer destination, VNI and inner frame, after checking the constant fields.
pub(crate) fn open(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr, Vni, Vec<u8>) {
    let ip = ipv4::Packet::new_checked(packet).unwrap();
    assert_eq!((ip.ttl(), ip.tos(), ip.protocol()), (64, 0, 17));
    assert!(ip.dont_fragment());
    let udp = udp::Packet::new_checked(ip.payload()).unwrap();
    assert_eq!((udp.destination_port(), udp.checksum()), (6784, 0));
    let tunnel = vxlan::Packet::new_checked(udp.payload()).expect("flags 0x08, reserved zero");
    (
        ip.source(),
        ip.destination(),
        Vni::from_packet(udp.payload()).unwrap(),
        tunnel.payload().to_vec(),
    )
}

fn vni(origin: usize, destination: usize) -> Vni {
    Vni {
        origin: short_id(origin),
        destination: short_id(destination),
    }
}

#[test]
fn packets_have_the_fields_of_open_vswitch() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let (a, b) = (&lab.hosts[0].pods[0], &lab.hosts[1].pods[0]);
    let capture = Capture::start(&lab.hosts[1].scratch.namespace);

    assert!(round_trip(a, b).is_some());

    let packets = capture.packets(QUIET);
    let (local, remote) = underlay(0);
    let mut types = BTreeSet::new();
    for packet in &packets {
        let (source, destination, seen, inner) = open(packet);
        assert_eq!((source, destination), (local, remote));
        assert_eq!(seen, vni(0, 1));
        let frame = Frame::new_checked(inner).unwrap();
        if frame.source().0 == a.mac {
            types.insert(frame.ethertype());
        }
    }
    assert!(
        types.is_superset(&[0x0800, 0x0806].into()),
        "request and ARP: {types:x?}"
    );
}

#[test]
fn heartbeats_have_the_bytes_of_open_vswitch() {
    if !root() {
        return;
    }
    let mut lab = Lab::new(2, &[(0, 1)], 0);
    lab.kill(1);
    let capture = Capture::start(&lab.hosts[1].scratch.namespace);
    lab.start(1);
    lab.connect((0, 1));
    lab.settle();

    let packets = capture.packets(QUIET);
    let heartbeats: Vec<_> = packets
        .iter()
        .filter(|packet| packet.len() == 20 + 8 + 8 + 14 + usize::from(MTU))
        .collect();
    assert!(!heartbeats.is_empty());
    for packet in heartbeats {
        let (source, _, seen, inner) = open(packet);
        assert_eq!((source, seen), (underlay(0).0, vni(0, 1)));
        let uid = u64::from_be_bytes(inner[14..22].try_into().unwrap());
        assert_eq!(inner, heartbeat::frame(uid, MTU));
    }
}

#[test]
fn a_heartbeat_too_large_for_the_path_is_said_to_be() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 0);
    let (local, remote) = underlay(0);
    let send = |mtu| {
        let payload = heartbeat::payload(vni(0, 1), 7, mtu);
        let send = move |device: &mut Device| device.send(local, remote, 6784, &payload);
        lab.daemon(0).ask(move |device, _| send(device))
    };

    send(1450).unwrap();
    let error = send(1451).unwrap_err();

    assert!(error.is_too_big(), "{error}");
    send(1450).unwrap();
}

#[test]
fn a_relayed_frame_keeps_its_vni_and_a_broadcast_names_the_next_hop() {
    if !root() {
        return;
    }
    let lab = Lab::new(3, &[(0, 1), (1, 2)], 1);
    let [a, c] = [0, 2].map(|host| &lab.hosts[host].pods[0]);
    let last = Capture::start(&lab.hosts[2].scratch.namespace);

    assert!(round_trip(a, c).is_some());

    let mut seen = BTreeMap::new();
    for packet in last.packets(QUIET) {
        let (source, destination, vni, inner) = open(&packet);
        assert_eq!((source, destination), underlay(1));
        let frame = Frame::new_checked(inner).unwrap();
        if frame.source().0 == a.mac {
            seen.insert((frame.ethertype(), frame.destination().is_group()), vni);
        }
    }
    assert_eq!(seen[&(0x0800, false)], vni(0, 2));
    assert_eq!(
        seen[&(0x0806, true)],
        vni(0, 2),
        "here the next hop is the last one"
    );

    let between = Capture::start(&lab.hosts[1].scratch.namespace);
    a.udp(0).send_to(b"x", ("10.32.255.255", 9)).unwrap();
    let vnis: BTreeSet<Vni> = between.packets(QUIET).iter().map(|p| open(p).2).collect();
    assert!(
        vnis.contains(&vni(0, 1)),
        "rewritten at every hop: {vnis:?}"
    );
}

/// A tree of `ids`, every hop of which leads to the one real neighbour.
fn wide_tree(ids: std::ops::Range<u16>) -> TableUpdate {
    let (local, remote) = underlay(0);
    let path = Path {
        remote,
        local,
        port: 6784,
    };
    let id = |id: u16| ShortId::try_from(id).unwrap();
    let entry = |name| Entry {
        name,
        route: Route::Fastdp(path),
    };
    TableUpdate {
        peers: ids
            .clone()
            .map(|n| (id(n), Some(entry(PeerName(n.into())))))
            .collect(),
        trees: BTreeMap::from([(short_id(0), ids.map(|n| Hop { id: id(n), path }).collect())]),
        ..TableUpdate::default()
    }
}

#[test]
fn a_broadcast_has_as_many_copies_as_the_tree_has_hops_each_with_its_own_key() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let pod = &lab.hosts[0].pods[0];
    for hops in [1, 64, 200, 512, 600] {
        let daemon = lab.daemon(0);
        daemon.ask(move |device, _| device.apply(&wide_tree(2000..2000 + hops)).unwrap());
        let cut = counters(&lab, 0).get(Counter::DropTree);
        let capture = Capture::start(&lab.hosts[1].scratch.namespace);

        pod.udp(0)
            .send_to(b"flood", ("10.32.255.255", 7005))
            .unwrap();

        let packets = capture.packets(QUIET);
        let mut copies = BTreeMap::new();
        for packet in packets {
            let (_, _, vni, inner) = open(&packet);
            if inner.ends_with(b"flood") {
                *copies.entry(u16::from(vni.destination)).or_insert(0) += 1;
            }
        }
        let expected: BTreeMap<u16, i32> = (2000..2000 + hops.min(512)).map(|id| (id, 1)).collect();
        assert_eq!(copies, expected, "{hops} hops");
        let cut = counters(&lab, 0).get(Counter::DropTree) - cut;
        assert_eq!(cut > 0, hops > 512, "a tree cut short is counted");
    }
}

#[test]
fn a_flood_never_meets_a_half_written_tree() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let socket = lab.hosts[0].pods[0].udp(0);
    let capture = Capture::start(&lab.hosts[1].scratch.namespace);
    let trees = [1000..1040_u16, 2000..2025];
    lab.daemon(0).ask({
        let first = wide_tree(trees[0].clone());
        move |device, _| device.apply(&first).unwrap()
    });
    let sender = std::thread::spawn(move || {
        for number in 0..600_u32 {
            let text = format!("flood {number:8}");
            socket
                .send_to(text.as_bytes(), ("10.32.255.255", 7005))
                .unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut swaps = 0;
    while !sender.is_finished() {
        let next = wide_tree(trees[(swaps + 1) % 2].clone());
        lab.daemon(0)
            .ask(move |device, _| device.apply(&next).unwrap());
        swaps += 1;
    }
    sender.join().unwrap();

    let mut floods: BTreeMap<Vec<u8>, Vec<u16>> = BTreeMap::new();
    for packet in capture.packets(QUIET) {
        let (_, _, vni, inner) = open(&packet);
        let text = inner[inner.len() - 14..].to_vec();
        if text.starts_with(b"flood ") {
            floods.entry(text).or_default().push(vni.destination.into());
        }
    }
    println!("{} floods, {swaps} swaps", floods.len());
    assert_eq!(floods.len(), 600);
    let whole = trees.map(Vec::from_iter);
    for (text, ids) in floods {
        assert!(
            whole.contains(&ids),
            "{}: {ids:?}",
            String::from_utf8_lossy(&text)
        );
    }
    assert!(swaps > 10);
}
