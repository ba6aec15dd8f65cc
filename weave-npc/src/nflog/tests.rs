use super::*;
use crate::nfnetlink::wire::nested;

/// A message of the kernel about one packet.
fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let attributes = nested(attributes);
    let len = u32::try_from(20 + attributes.len()).unwrap();
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(PACKET.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend([2, 0, 0, 86]);
    bytes.extend(attributes);
    bytes
}

/// An IPv4 packet of 20 bytes without options, with what follows.
fn v4(proto: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, proto, 0, 0, 10, 32, 0, 7, 10, 32, 0, 11]);
    packet.extend(rest);
    packet
}

fn flow_of(payload: Vec<u8>) -> Option<Flow> {
    Logged {
        payload,
        ..Logged::default()
    }
    .flow()
}

fn syn() -> Vec<u8> {
    let mut header = vec![0xdd, 0x08, 0, 80];
    header.extend([0; 9]);
    header.push(0x02);
    header.extend([0; 6]);
    header
}

#[test]
fn a_message_gives_all_that_the_kernel_says() {
    let mut time = 5_u64.to_be_bytes().to_vec();
    time.extend(7_u64.to_be_bytes());
    let packet = v4(6, 0, &syn());
    let bytes = message(&[
        (PACKET_HDR, &[8, 0, 2, 0]),
        (MARK, &[0, 0, 1, 0]),
        (TIMESTAMP, &time),
        (INDEV, &[0, 0, 0, 3]),
        (OUTDEV, &[0, 0, 0, 4]),
        (PHYSINDEV, &[0, 0, 0, 9]),
        (HWADDR, &[0, 6, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0]),
        (PREFIX, b"in 1 \0"),
        (SEQ, &[0, 0, 0, 42]),
        (HWHEADER, &[1, 2, 3]),
        (PAYLOAD, &packet),
    ]);

    let all: Vec<Logged> = parse(&bytes).collect();

    let [logged] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!(
        (logged.group, logged.prefix.as_str(), logged.hook),
        (86, "in 1 ", 2)
    );
    assert_eq!(
        (logged.ether_type, logged.mark, logged.sequence),
        (0x0800, Some(256), Some(42))
    );
    assert_eq!(logged.time, Some(Duration::new(5, 7000)));
    assert_eq!(
        (logged.iif, logged.oif, logged.port),
        (Some(3), Some(4), Some(9))
    );
    assert_eq!(
        (logged.source, logged.header.as_slice()),
        (Some([2, 0, 0, 0, 0, 1]), &[1, 2, 3][..])
    );
    let flow = logged.flow().unwrap();
    assert_eq!(
        (flow.source.to_string(), flow.destination.to_string()),
        ("10.32.0.7".into(), "10.32.0.11".into())
    );
    assert_eq!(
        flow.transport,
        Transport::Tcp {
            source: 56584,
            destination: 80,
            flags: 2
        }
    );
    assert!(flow.is_opening());
}

#[test]
fn what_is_too_long_is_cut() {
    let bytes = message(&[
        (PAYLOAD, &[0x45; 60_000]),
        (PREFIX, &[b'x'; 1000]),
        (HWHEADER, &[0; 1000]),
    ]);

    let logged = parse(&bytes).next().unwrap();

    assert_eq!(
        (
            logged.payload.len(),
            logged.prefix.len(),
            logged.header.len()
        ),
        (2048, 127, 64)
    );
}

#[test]
fn other_messages_and_torn_ones_give_nothing() {
    let whole = message(&[(PREFIX, b"x\0")]);
    for len in 0..whole.len() {
        assert_eq!(parse(&whole[..len]).count(), 0, "{len} bytes");
    }
    let mut other = whole.clone();
    other[5] = 5;
    assert_eq!(parse(&other).count(), 0);
}

#[test]
fn a_later_fragment_has_no_ports() {
    assert_eq!(
        flow_of(v4(6, 1, &syn())).unwrap().transport,
        Transport::Unknown
    );
    assert!(flow_of(v4(6, 0x2000, &syn())).unwrap().is_opening());
}

#[test]
fn a_reply_is_no_opening() {
    let mut header = syn();
    header[13] = 0x12;
    assert!(!flow_of(v4(6, 0, &header)).unwrap().is_opening());
}

#[test]
fn ports_behind_ipv6_extensions_are_found() {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, HOP, 64];
    packet.extend([0xfd; 16]);
    packet.extend([0xfe; 16]);
    packet.extend([44, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend([17, 0, 0, 1, 0, 0, 0, 0]);
    packet.extend([0, 53, 1, 0, 0, 0, 0, 0]);

    let flow = flow_of(packet.clone()).unwrap();

    assert_eq!(
        (flow.proto, flow.transport),
        (
            17,
            Transport::Ports {
                source: 53,
                destination: 256
            }
        )
    );
    packet[50] = 1;
    assert_eq!(flow_of(packet).unwrap().transport, Transport::Unknown);
}

#[test]
fn every_cut_of_a_packet_is_read_without_fault() {
    let packet = v4(6, 0, &syn());
    for len in 0..packet.len() {
        let flow = flow_of(packet[..len].to_vec());
        assert_eq!(flow.is_some(), len >= 20);
    }
    for len in 0..60 {
        assert_eq!(flow_of([0x60; 64][..len].to_vec()).is_some(), len >= 40);
    }
}

const HOP: u8 = 0;
