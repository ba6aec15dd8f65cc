//! Cutting a frame of 64 KiB into packets and putting packets together again, against copying.
//!
//! `cargo bench -p weave-datapath --bench gso`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use weave_datapath::gso::coalesce::Coalescer;
use weave_datapath::gso::split::Split;
use weave_datapath::gso::{Kind, Offload};

fn main() {
    divan::main();
}

/// Bytes of payload in each packet.
const SIZE: u16 = 1_324;
const PACKETS: usize = 40;

/// A TCP segment over IPv4 of so many packets, as the TAP device gives it.
fn large() -> (Offload, Vec<u8>) {
    let payload = usize::from(SIZE) * PACKETS;
    let mut frame = vec![0; 14 + 20 + 20 + payload];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    let total = u16::try_from(frame.len() - 14).unwrap_or(u16::MAX);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[20] = 0x40;
    frame[22] = 64;
    frame[23] = 6;
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34 + 12] = 5 << 4;
    frame[34 + 13] = 0x10;
    let offload = Offload {
        kind: Kind::Tcp4,
        size: SIZE,
        checksum: Some((34, 16)),
    };
    (offload, frame)
}

fn packets() -> Vec<Vec<u8>> {
    let (offload, frame) = large();
    let Ok(split) = Split::new(offload, &frame) else {
        return Vec::new();
    };
    let cut = |index| {
        let mut packet = Vec::new();
        split.write(index, &mut packet);
        packet
    };
    (0..split.count()).map(cut).collect()
}

#[divan::bench]
fn cut(bencher: Bencher<'_, '_>) {
    let (offload, frame) = large();
    let mut out = Vec::with_capacity(2 * frame.len());
    bencher
        .counter(BytesCount::new(frame.len()))
        .bench_local(|| {
            out.clear();
            let split = Split::new(offload, black_box(&frame));
            let Ok(split) = split else { return 0 };
            (0..split.count()).for_each(|index| split.write(index, &mut out));
            split.count()
        });
}

#[divan::bench]
fn put_together(bencher: Bencher<'_, '_>) {
    let packets = packets();
    let bytes: usize = packets.iter().map(Vec::len).sum();
    let mut coalescer = Coalescer::new();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let mut frames = 0;
        let mut emit = |_: u16, bytes: &[u8]| {
            black_box(bytes);
            frames += 1;
        };
        for packet in &packets {
            coalescer.push(0, packet, &mut emit);
        }
        coalescer.flush(&mut emit);
        frames
    });
}

#[divan::bench]
fn copy(bencher: Bencher<'_, '_>) {
    let (_, frame) = large();
    let mut out = Vec::with_capacity(frame.len());
    bencher
        .counter(BytesCount::new(frame.len()))
        .bench_local(|| {
            out.clear();
            out.extend_from_slice(black_box(&frame));
        });
}
