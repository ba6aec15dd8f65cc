//! Laws of large frames, named in `ALGORITHM.md`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weave_datapath::{
    gso::{HEADER_LEN, Kind, Offload, coalesce::Coalescer, split::Split},
    packet::checksum::{fold, sum},
};

/// A flow of TCP or UDP: what its large frame is made of.
#[derive(Debug, Clone)]
struct Large {
    kind: Kind,
    frame: Vec<u8>,
    headers: usize,
    size: u16,
}

impl Large {
    fn offload(&self) -> Offload {
        let transport = self.transport();
        let field = if self.kind == Kind::Udp { 6 } else { 16 };
        Offload {
            kind: self.kind,
            size: self.size,
            checksum: Some((u16::try_from(transport).unwrap(), field)),
        }
    }

    fn transport(&self) -> usize {
        if self.frame[14] >> 4 == 4 { 34 } else { 54 }
    }

    fn packets(&self) -> Vec<Vec<u8>> {
        let split = Split::new(self.offload(), &self.frame).unwrap();
        (0..split.count())
            .map(|index| {
                let mut out = vec![0xee];
                split.write(index, &mut out);
                assert_eq!(out.len(), 1 + split.len_of(index));
                out.split_off(1)
            })
            .collect()
    }
}

fn large() -> impl Strategy<Value = Large> {
    let kind = prop_oneof![Just(Kind::Tcp4), Just(Kind::Tcp6), Just(Kind::Udp)];
    let payload = prop::collection::vec(any::<u8>(), 1..6000);
    (
        kind,
        any::<bool>(),
        payload,
        100..1400_u16,
        0..=3_usize,
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(|(kind, udp6, payload, size, options, sequence, push)| {
            let six = kind == Kind::Tcp6 || kind == Kind::Udp && udp6;
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            let protocol = if kind == Kind::Udp { 17 } else { 6 };
            if six {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64]);
                frame.extend(1..=32);
            } else {
                frame.extend([8, 0, 0x45, 0, 0, 0, 0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend([10, 32, 0, 1, 10, 40, 0, 1]);
            }
            frame.extend([0x9c, 0x40, 0x00, 0x50]);
            if kind == Kind::Udp {
                frame.extend([0; 4]);
            } else {
                frame.extend(sequence.to_be_bytes());
                let offset = u8::try_from(5 + options).unwrap() << 4;
                frame.extend([
                    0,
                    0,
                    0,
                    7,
                    offset,
                    if push { 0x18 } else { 0x10 },
                    1,
                    2,
                    0,
                    0,
                    0,
                    0,
                ]);
                frame.extend(vec![1; options * 4]);
            }
            let headers = frame.len();
            frame.extend(payload);
            Large {
                kind,
                frame,
                headers,
                size,
            }
        })
}

/// Checks lengths and checksums of one packet.
fn assert_sound(packet: &[u8]) {
    let len = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (transport, addresses, protocol) = if packet[14] >> 4 == 4 {
        assert_eq!(len(16), packet.len() - 14);
        assert_eq!(fold(sum(0, &packet[14..34])), 0xffff);
        (34, 26..34, packet[23])
    } else {
        assert_eq!(len(18), packet.len() - 54);
        (54, 22..54, packet[20])
    };
    if protocol == 17 {
        assert_eq!(len(transport + 4), packet.len() - transport);
    }
    let pseudo = sum(0, &packet[addresses])
        + u64::from(protocol)
        + u64::try_from(packet.len() - transport).unwrap();
    assert_eq!(fold(sum(pseudo, &packet[transport..])), 0xffff);
}

fn coalesce(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut coalescer = Coalescer::new();
    for packet in packets {
        coalescer.push(7, packet, &mut |mark, frame| {
            assert_eq!(mark, 7);
            out.push(frame.to_vec());
        });
    }
    coalescer.flush(&mut |_, frame| out.push(frame.to_vec()));
    out
}

/// Packets of frames as the kernel would cut them.
fn cut(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for bytes in frames {
        let (header, frame) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
        let split = Split::new(Offload::parse(*header).unwrap(), frame).unwrap();
        for index in 0..split.count() {
            let mut packet = Vec::new();
            split.write(index, &mut packet);
            packets.push(packet);
        }
    }
    packets
}

proptest! {
    /// G1: every packet is sound and no longer than asked; the payloads are the payload.
    #[test]
    fn packets_are_sound_and_complete(large in large()) {
        let packets = large.packets();
        let mut payload = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            assert_sound(packet);
            prop_assert!(packet.len() <= large.headers + usize::from(large.size));
            prop_assert_eq!(&packet[..12], &large.frame[..12]);
            if large.kind != Kind::Udp {
                let at = large.transport();
                let read = |frame: &[u8]| u32::from_be_bytes(frame[at + 4..at + 8].try_into().unwrap());
                let ahead = u32::try_from(payload.len()).unwrap();
                prop_assert_eq!(read(packet), read(&large.frame).wrapping_add(ahead));
                let last = index + 1 == packets.len();
                prop_assert_eq!(packet[at + 13] & 8 != 0, last && large.frame[at + 13] & 8 != 0);
            }
            payload.extend_from_slice(&packet[large.headers..]);
        }
        prop_assert_eq!(&payload, &large.frame[large.headers..]);
    }

    /// G2: what was cut is put together to one frame, and the kernel would cut it the same way.
    #[test]
    fn putting_together_is_the_inverse_of_cutting(large in large()) {
        let packets = large.packets();
        let frames = coalesce(&packets);
        if large.kind != Kind::Udp {
            prop_assert_eq!(frames.len(), 1);
        }
        prop_assert_eq!(cut(&frames), packets);
    }

    /// G3: whatever is mixed, changed or lost, no flow is reordered and no byte changes.
    #[test]
    fn flows_keep_their_bytes_and_their_order(
        flows in prop::collection::vec(large(), 1..4),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<Option<prop::sample::Index>>()), 1..60),
    ) {
        let mut queues: Vec<_> = flows.iter().enumerate().map(|(port, flow)| {
            let mut flow = flow.clone();
            let at = flow.transport();
            flow.frame[at] = u8::try_from(port).unwrap();
            flow.packets()
        }).collect();
        let mut arriving = Vec::new();
        for (pick, lose, damage) in picks {
            let at = pick.index(queues.len());
            if queues[at].is_empty() { continue }
            let mut packet = queues[at].remove(0);
            if let Some(damage) = damage {
                let transport = if packet[14] >> 4 == 4 { 34 } else { 54 };
                let at = transport + damage.index(packet.len() - transport);
                packet[at] ^= 0x40;
            }
            if !lose { arriving.push(packet) }
        }
        let leaving = cut(&coalesce(&arriving));
        let by_flow = |packets: &[Vec<u8>]| {
            let mut flows: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
            for packet in packets {
                let ports = if packet[14] >> 4 == 4 { 34..38 } else { 54..58 };
                flows.entry(packet[ports].to_vec()).or_default().push(packet.clone());
            }
            flows
        };
        prop_assert_eq!(by_flow(&leaving), by_flow(&arriving));
    }

    /// G4: any bytes can be offered.
    #[test]
    fn nonsense_does_not_panic(header: [u8; HEADER_LEN], frame in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(offload) = Offload::parse(header)
            && let Ok(split) = Split::new(offload, &frame)
        {
            for index in 0..split.count() {
                split.write(index, &mut Vec::new());
            }
        }
        coalesce(&[frame.clone(), frame]);
    }
}

#[test]
fn a_partial_checksum_is_completed() {
    let mut frame = vec![0; 42 + 3];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[40..42].copy_from_slice(&0x1234_u16.to_be_bytes());
    frame[42..].copy_from_slice(&[1, 2, 3]);
    let offload = Offload {
        checksum: Some((34, 6)),
        ..Offload::NONE
    };
    let mut out = Vec::new();
    Split::new(offload, &frame).unwrap().write(0, &mut out);
    let expected = !fold(0x1234 + 0x0102 + 0x0300);
    assert_eq!(out[40..42], expected.to_be_bytes());
}

#[test]
fn frames_of_different_origins_stay_apart() {
    let packet = |sequence: u32| {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend([10, 32, 0, 1, 10, 40, 0, 1, 1, 1, 2, 2]);
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0, 1, 2, 3, 4]);
        let header = !fold(sum(0, &frame[14..34]));
        frame[24..26].copy_from_slice(&header.to_be_bytes());
        let pseudo = sum(0, &frame[26..34]) + 6 + 24;
        let transport = !fold(sum(pseudo, &frame[34..]));
        frame[50..52].copy_from_slice(&transport.to_be_bytes());
        frame
    };
    for (marks, expected) in [([1, 1], 1), ([1, 2], 2)] {
        let mut coalescer = Coalescer::new();
        let mut out = 0;
        coalescer.push(marks[0], &packet(0), &mut |_, _| out += 1);
        coalescer.push(marks[1], &packet(4), &mut |_, _| out += 1);
        coalescer.flush(&mut |_, _| out += 1);
        assert_eq!(out, expected);
    }
}
