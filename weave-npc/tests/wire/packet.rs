//! First packets of connections, made by hand: IPv4 or IPv6 around a TCP SYN, a UDP datagram, an
//! SCTP INIT, an echo request or eight bytes of another protocol, with right checksums, so that
//! connection tracking takes each for the beginning of a connection.

use std::net::IpAddr;

use weave_npc::Flow;
use weave_npc::model::{Protocol, Transport};

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// The packet of `flow`. `number` tells it from others with the same ends.
pub(crate) fn packet(flow: &Flow, number: u16) -> Vec<u8> {
    let (proto, segment) = segment(flow, number);
    let len = u16::try_from(segment.len()).expect("short");
    let mut bytes = match (flow.source, flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut head = vec![0x45, 0];
            head.extend((20 + len).to_be_bytes());
            head.extend(number.to_be_bytes());
            head.extend([0, 0, 64, proto, 0, 0]);
            head.extend(source.octets());
            head.extend(destination.octets());
            let sum = fold(sum(&head));
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            head
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [high, low] = number.to_be_bytes();
            let mut head = vec![0x60, 0, high, low];
            head.extend(len.to_be_bytes());
            head.extend([proto, 64]);
            head.extend(source.octets());
            head.extend(destination.octets());
            head
        }
        _ => panic!("ends of two families"),
    };
    bytes.extend(segment);
    bytes
}

/// The frame that carries `packet`, behind the header that a TAP device wants (all zero: nothing
/// is left to do).
pub(crate) fn frame(to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
    let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let ether_type: u16 = if is_v6 { 0x86dd } else { 0x0800 };
    let mut bytes = vec![0; TAP_HEADER];
    bytes.extend(to);
    bytes.extend(from);
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(packet);
    bytes
}

/// The packet in what a TAP device gave.
pub(crate) fn carried(frame: &[u8]) -> &[u8] {
    frame.get(TAP_HEADER + 14..).unwrap_or_default()
}

fn segment(flow: &Flow, number: u16) -> (u8, Vec<u8>) {
    match flow.transport {
        Transport::Port(protocol, port) => {
            let mut bytes = SOURCE_PORT.to_be_bytes().to_vec();
            bytes.extend(port.to_be_bytes());
            match protocol {
                Protocol::Tcp => tcp(&mut bytes, flow, number),
                Protocol::Udp => udp(&mut bytes, flow, number),
                Protocol::Sctp => sctp(&mut bytes),
            }
            (protocol.number(), bytes)
        }
        Transport::Other(proto) => {
            let [high, low] = number.to_be_bytes();
            let kind = if proto == ICMPV6 { 128 } else { 8 };
            let mut bytes = vec![kind, 0, 0, 0, 0, 1, high, low];
            let sum = match proto {
                ICMP => fold(sum(&bytes)),
                ICMPV6 => checksum(flow, proto, &bytes),
                _ => 0,
            };
            if proto == ICMP || proto == ICMPV6 {
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
            } else {
                // GRE of version 0 without options.
                bytes[..2].fill(0);
            }
            (proto, bytes)
        }
    }
}

/// Behind the ports (RFC 9293): sequence number, acknowledgement, 5 words and SYN, window.
fn tcp(bytes: &mut Vec<u8>, flow: &Flow, number: u16) {
    bytes.extend(u32::from(number).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(flow, 6, bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
}

fn udp(bytes: &mut Vec<u8>, flow: &Flow, number: u16) {
    bytes.extend(10_u16.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(number.to_be_bytes());
    let sum = checksum(flow, 17, bytes);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// Behind the ports (RFC 9260): no tag, CRC-32c, an INIT chunk with its tag, window, one stream
/// each way and its first number.
fn sctp(bytes: &mut Vec<u8>) {
    bytes.extend([0; 8]);
    bytes.extend([1, 0, 0, 20]);
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(65_536_u32.to_be_bytes());
    bytes.extend([0, 1, 0, 1]);
    bytes.extend(7_u32.to_be_bytes());
    let sum = crc32c(bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum over the pseudo-header and `bytes`.
fn checksum(flow: &Flow, proto: u8, bytes: &[u8]) -> u16 {
    let address = |address| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    let len = u32::try_from(bytes.len()).expect("short");
    let all = address(flow.source) + address(flow.destination) + u32::from(proto) + len;
    match fold(all + sum(bytes)) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The sum of 16-bit words; at most 64 KiB of them.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2);
    words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    !u16::try_from(twice).expect("folded")
}

/// CRC-32c (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// `struct virtio_net_hdr`.
const TAP_HEADER: usize = 10;
const SOURCE_PORT: u16 = 40_000;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

#[test]
fn checksums_are_those_of_the_standards() {
    // RFC 1071, section 3, and the check value that catalogues of CRCs give for "123456789".
    assert_eq!(
        fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])),
        !0xddf2
    );
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
