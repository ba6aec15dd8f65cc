//! Merging rings of 1 000 peers.

mod network;

use divan::Bencher;
use network::{peer, ring, universe};
use weave_ipam::ring::Entry;
use weave_ipam::{Ring, Span};

fn main() {
    divan::main();
}

fn idle(_: Span) -> bool {
    false
}

/// A peer's ring with one entry edited by its owner.
fn edited(change: impl FnOnce(&mut Vec<Entry>)) -> Ring {
    let theirs = ring(peer(2));
    let mut entries = theirs.entries().to_vec();
    change(&mut entries);
    Ring::from_parts(universe(), peer(2), entries, theirs.seeds().to_vec())
}

fn merge(bencher: Bencher<'_, '_>, ours: &Ring, theirs: &Ring) {
    bencher
        .with_inputs(|| ours.clone())
        .bench_local_refs(|ours| ours.merge_confined(theirs, idle));
}

#[divan::bench]
fn check(bencher: Bencher<'_, '_>) {
    let ring = ring(peer(1));
    bencher.bench_local(|| ring.check());
}

#[divan::bench]
fn merge_identical(bencher: Bencher<'_, '_>) {
    merge(bencher, &ring(peer(1)), &ring(peer(2)));
}

#[divan::bench]
fn merge_one_newer(bencher: Bencher<'_, '_>) {
    let theirs = edited(|entries| entries[2000].version += 1);
    merge(bencher, &ring(peer(1)), &theirs);
}

#[divan::bench]
fn merge_one_grant(bencher: Bencher<'_, '_>) {
    let theirs = edited(|entries| {
        let mut half = entries[2000];
        (entries[2000].version, entries[2000].free) = (100, 100);
        (half.token, half.peer, half.free) = (half.token + 131, peer(5), 131);
        entries.insert(2001, half);
    });
    merge(bencher, &ring(peer(1)), &theirs);
}

#[divan::bench]
fn merge_into_empty(bencher: Bencher<'_, '_>) {
    merge(bencher, &Ring::new(universe(), peer(1)), &ring(peer(2)));
}
