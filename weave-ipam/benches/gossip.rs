//! The gossip of 1 000 peers, to and from bytes.

mod network;

use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use network::{PEERS, peer, ring};
use weave_ipam::mesh::{decode_state, encode_state};
use weave_ipam::{PeerId, State};

fn main() {
    divan::main();
}

/// What `holder` gossips: the ring and everybody's nickname.
fn state(holder: PeerId) -> State {
    let nicknames = (0..PEERS).map(|index| (peer(index), format!("node-{index:04}.example")));
    State {
        unix_seconds: 1_700_000_000,
        nicknames: nicknames.collect(),
        votes: None,
        ring: Some(Arc::new(ring(holder))),
    }
}

fn encode(bencher: Bencher<'_, '_>, state: &State) {
    let bytes = encode_state(state).len();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| encode_state(state));
}

fn decode(bencher: Bencher<'_, '_>, state: &State) {
    let payload = encode_state(state);
    assert_eq!(decode_state(&payload).as_ref(), Ok(state));
    bencher
        .counter(BytesCount::new(payload.len()))
        .bench_local(|| decode_state(&payload));
}

/// The ring, and no nickname but the sender's.
fn ring_alone() -> State {
    let mut state = state(peer(1));
    state.nicknames.retain(|name, _| *name == peer(1));
    state
}

#[divan::bench]
fn encode_1000_peers(bencher: Bencher<'_, '_>) {
    encode(bencher, &state(peer(1)));
}

#[divan::bench]
fn decode_1000_peers(bencher: Bencher<'_, '_>) {
    decode(bencher, &state(peer(1)));
}

#[divan::bench]
fn encode_ring_alone(bencher: Bencher<'_, '_>) {
    encode(bencher, &ring_alone());
}

#[divan::bench]
fn decode_ring_alone(bencher: Bencher<'_, '_>) {
    decode(bencher, &ring_alone());
}
