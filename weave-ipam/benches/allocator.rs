//! Whole events of the engine: a request or a release, with everything that follows it.

use std::time::Duration;

use divan::Bencher;
use weave_ipam::{Allocator, Config, InitMode, PeerId};

fn main() {
    divan::main();
}

/// A peer that owns all of 10.32.0.0/12, with so many addresses given out.
fn allocator(taken: u32) -> Allocator {
    let universe = "10.32.0.0/12".parse().expect("a network");
    let config = Config::new(universe, PeerId(1)).init(InitMode::Seed(vec![PeerId(1)]));
    let config = config.cool_down(Duration::ZERO);
    let mut allocator = Allocator::new(config, None).expect("an allocator");
    for index in 0..taken {
        allocate(&mut allocator, &format!("pod-{index}"));
    }
    allocator
}

fn allocate(allocator: &mut Allocator, ident: &str) {
    let outcome = allocator.allocate(Duration::ZERO, ident, None, true);
    let _ = outcome.expect("an address");
}

fn delete(allocator: &mut Allocator, ident: &str) {
    let addresses = allocator.delete(Duration::ZERO, ident);
    addresses.expect("the ident holds one");
}

/// Every other one of 4 000 addresses released.
fn holed() -> Allocator {
    let mut allocator = allocator(4000);
    for index in 0..2000 {
        delete(&mut allocator, &format!("pod-{}", 2 * index));
    }
    allocator
}

#[divan::bench(args = [0, 1000, 100_000])]
fn allocate_delete(bencher: Bencher<'_, '_>, taken: u32) {
    let mut allocator = allocator(taken);
    bencher.bench_local(|| {
        allocate(&mut allocator, "pod");
        delete(&mut allocator, "pod");
    });
}

#[divan::bench]
fn allocate_delete_2000_holes(bencher: Bencher<'_, '_>) {
    let mut allocator = holed();
    bencher.bench_local(|| {
        allocate(&mut allocator, "pod");
        delete(&mut allocator, "pod");
    });
}

#[divan::bench]
fn timeout_2000_holes(bencher: Bencher<'_, '_>) {
    let mut allocator = holed();
    bencher.bench_local(|| {
        allocator.handle_timeout(Duration::ZERO);
        allocator.poll_timeout()
    });
}
