//! Sealing and opening of messages, against the hash that would bound them from below.
//!
//! `cargo bench -p weave-mesh --bench seal`

use bytes::BytesMut;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sha2::Digest as _;
use weave_mesh::connection::Outgoing;
use weave_mesh::crypto::nacl::SecretKey;
use weave_mesh::crypto::session::{Opener, Sealer, Sender, SessionKey};
use weave_mesh::crypto::{KeySource, Password};
use weave_mesh::wire::frame::Framing;

fn main() {
    divan::main();
}

/// A heartbeat, a data packet, a chunk, the largest update.
const SIZES: [usize; 4] = [1, 1_400, 64 << 10, 256 << 10];

fn key() -> SessionKey {
    SessionKey::derive(&[7; 32], &Password::new("golden-password"))
}

#[divan::bench(args = SIZES)]
fn seal(bencher: Bencher<'_, '_>, size: usize) {
    let message = vec![1; size];
    let mut outgoing = Outgoing::new(Framing::Length, Some(Sealer::new(key(), Sender::Dialler)));
    let mut out = BytesMut::with_capacity(size + 64);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        outgoing.put(black_box(&message), &mut out)
    });
}

#[divan::bench(args = SIZES)]
fn open(bencher: Bencher<'_, '_>, size: usize) {
    let mut sealed = BytesMut::new();
    Sealer::new(key(), Sender::Dialler).seal(&vec![1; size], &mut sealed);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| Opener::new(key(), Sender::Dialler))
        .bench_local_values(|mut opener| opener.open(black_box(&sealed)));
}

#[divan::bench(args = SIZES)]
fn copy_without_password(bencher: Bencher<'_, '_>, size: usize) {
    let message = vec![1; size];
    let mut outgoing = Outgoing::new(Framing::Length, None);
    let mut out = BytesMut::with_capacity(size + 64);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        outgoing.put(black_box(&message), &mut out)
    });
}

#[divan::bench(args = SIZES)]
fn sha256_for_comparison(bencher: Bencher<'_, '_>, size: usize) {
    let message = vec![1; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| sha2::Sha256::digest(black_box(&message)));
}

/// What an accepted connection costs before its remote has said anything.
#[divan::bench]
fn draw_a_key_pair(bencher: Bencher<'_, '_>) {
    let mut source = KeySource::new([7; 32].into());
    bencher.bench_local(|| source.draw().public());
}

/// What it costs when the remote has sent its public key.
#[divan::bench]
fn agree_on_a_key(bencher: Bencher<'_, '_>) {
    let (ours, theirs) = (
        SecretKey::from_bytes([1; 32]),
        SecretKey::from_bytes([2; 32]).public(),
    );
    let password = Password::new("golden-password");
    bencher.bench_local(|| {
        let shared = ours.agree(black_box(&theirs));
        shared.map(|shared| SessionKey::derive(&shared, &password))
    });
}
