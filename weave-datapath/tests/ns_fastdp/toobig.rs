//! Frames that the path to the next hop does not carry: their senders are told.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use weave_datapath::bpf::Counter;

use crate::{
    counters,
    lab::{Lab, MTU, Pod},
    root,
    traffic::{round_trip, stream, stream_to},
};

/// Bytes of IP packet that the underlay carries: less than the overlay's 1376 and 50 more.
const NARROW: u32 = 1400;
/// Enough for many packets of full size.
pub(crate) const LEN: usize = 1 << 20;

/// Makes the underlay of `host` towards `next` narrow.
pub(crate) fn narrow(lab: &Lab, host: usize, next: usize) {
    let name = format!("u{next}");
    lab.hosts[host].scratch.with(|netlink| async move {
        let link = netlink.require_link(&name).await.unwrap();
        netlink.set_mtu(link.index, NARROW).await.unwrap();
    });
}

pub(crate) fn told(lab: &Lab, host: usize) -> u64 {
    counters(lab, host).get(Counter::TooBig)
}

#[test]
fn a_stream_crosses_a_path_narrower_than_the_overlay() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    narrow(&lab, 0, 1);

    assert_eq!(stream(a, b, LEN), LEN);

    let told = told(&lab, 0);
    assert!((1..100).contains(&told), "once a connection, not {told}");
    assert_eq!(counters(&lab, 0).get(Counter::DropOwn), 0);
    let learned = lab.daemon(0).ask(|device, _| device.macs().unwrap());
    let of_b = learned.iter().find(|learned| learned.mac.0 == b.mac);
    assert!(of_b.unwrap().peer.is_some(), "an answer teaches nothing");
}

#[test]
fn a_sender_behind_another_host_is_told_as_well() {
    if !root() {
        return;
    }
    let lab = Lab::new(3, &[(0, 1), (1, 2)], 1);
    let [a, c] = [0, 2].map(|host| &lab.hosts[host].pods[0]);
    assert!(round_trip(a, c).is_some());
    narrow(&lab, 1, 2);

    assert_eq!(stream(a, c, LEN), LEN);

    assert_eq!(told(&lab, 0), 0);
    assert!(told(&lab, 1) >= 1);
    let learned = lab.daemon(0).ask(|device, _| device.macs().unwrap());
    let of_c = learned.iter().find(|learned| learned.mac.0 == c.mac);
    assert_eq!(of_c.unwrap().peer, Some(crate::mesh::short_id(2)));
}

/// Gives a pod the address `fd00::NUMBER`.
fn with_ipv6(pod: &Pod, number: u16) -> IpAddr {
    let address = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number));
    pod.scratch.with(|netlink| async move {
        let link = netlink.require_link("eth0").await.unwrap();
        let network = ipnet::IpNet::new(address, 64).unwrap();
        netlink.add_address(link.index, network).await.unwrap();
    });
    // Until duplicates have been looked for, the address cannot be used.
    let deadline = Instant::now() + Duration::from_secs(10);
    let bind = || std::net::UdpSocket::bind((address, 0)).is_ok();
    while !pod.scratch.namespace.run(bind).unwrap() {
        assert!(Instant::now() < deadline, "{address} stays tentative");
        std::thread::sleep(Duration::from_millis(20));
    }
    address
}

#[test]
fn ipv6_packets_are_answered_too() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    with_ipv6(a, 1);
    let target = SocketAddr::new(with_ipv6(b, 2), 7016);
    narrow(&lab, 0, 1);

    assert_eq!(stream_to(a, b, target, LEN), LEN);

    assert!(told(&lab, 0) >= 1);
}

#[test]
fn answers_are_limited() {
    if !root() {
        return;
    }
    let lab = Lab::new(2, &[(0, 1)], 1);
    let [a, b] = [0, 1].map(|host| &lab.hosts[host].pods[0]);
    narrow(&lab, 0, 1);
    let packet = full_size(a, b);
    let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)));
    let socket = a.scratch.namespace.run(open).unwrap().unwrap();
    let target = SocketAddr::from((b.address, 0)).into();

    let begun = Instant::now();
    for _ in 0..2000 {
        socket.send_to(&packet, &target).unwrap();
    }
    let elapsed = begun.elapsed();

    let (told, withheld) = (told(&lab, 0), counters(&lab, 0).get(Counter::DropAnswer));
    println!("{told} answers, {withheld} withheld in {elapsed:?}");
    // Each processor gives 32 in 25 ticks, which are 25 ms at the least.
    let processors = std::thread::available_parallelism().unwrap().get();
    let windows = elapsed.as_millis() / 25 + 2;
    let most = 32 * u128::try_from(processors).unwrap() * windows;
    assert!(told >= 1 && u128::from(told) <= most);
    assert!(told + withheld >= 1990);
    assert!(withheld > 0 || most > 2000, "too slow to be limited");
}

/// An IPv4 packet with DF that is as large as the pods' interfaces allow. Sent through a raw socket, it
/// leaves whatever the kernel has been told about the path.
fn full_size(from: &Pod, to: &Pod) -> Vec<u8> {
    // The kernel fills in length, identification and checksum.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    packet.extend(from.address.octets());
    packet.extend(to.address.octets());
    packet.resize(usize::from(MTU), 0);
    packet
}

/// A protocol number of linux/in.h: the sender gives the IP header.
const IPPROTO_RAW: i32 = 255;
