//! Sealing and opening of sleeve's payloads, against the hash that would bound them from below.
//!
//! `cargo bench -p weave-datapath --features sleeve --bench seal`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sha2::{Digest as _, Sha256};
use weave_datapath::sleeve::seal::{Opener, Sealer, SessionKey, Side, Stream};

fn main() {
    divan::main();
}

/// A heartbeat, a packet of the usual size, one for jumbo frames.
const SIZES: [usize; 3] = [36, 1_442, 8_900];

fn key() -> SessionKey {
    SessionKey::new([7; 32])
}

#[divan::bench(args = SIZES)]
fn seal(bencher: Bencher<'_, '_>, size: usize) {
    let body = vec![1; size];
    let sealer = Sealer::new(key(), Side::Dialler);
    let mut number = 0;
    let mut out = Vec::with_capacity(size + 64);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        number += 1;
        sealer.seal(black_box(&body), Stream::Whole, number, &mut out);
    });
}

#[divan::bench(args = SIZES)]
fn open(bencher: Bencher<'_, '_>, size: usize) {
    let mut sealed = Vec::new();
    Sealer::new(key(), Side::Dialler).seal(&vec![1; size], Stream::Whole, 1, &mut sealed);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| {
            (
                Opener::new(key(), Side::Dialler),
                Vec::with_capacity(size + 64),
            )
        })
        .bench_local_values(|(mut opener, mut body)| {
            let opened = opener.open(black_box(&sealed), &mut body);
            assert!(opened.is_ok());
            (opener, body)
        });
}

#[divan::bench(args = SIZES)]
fn sha256(bencher: Bencher<'_, '_>, size: usize) {
    let body = vec![1; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| Sha256::digest(black_box(&body)));
}
