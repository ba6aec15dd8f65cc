//! Taking and giving back an address, whatever else is taken.

use divan::Bencher;
use weave_ipam::{Family, Space, Span};

fn main() {
    divan::main();
}

/// 10.32.0.0/12.
fn universe() -> Span {
    Span::new(0x0a20_0000, 0x0a30_0000).expect("a span")
}

/// A peer that owns the universe, with so many addresses taken, lowest first.
fn filled(taken: u32) -> Space {
    let mut space = Space::new(Family::V4);
    space.add(universe());
    for _ in 0..taken {
        space.allocate(universe());
    }
    space
}

/// All taken but 2 000 single addresses, here and there.
fn holed() -> Space {
    let mut space = filled(1 << 20);
    for index in 0..2000 {
        let number = universe().start() + index * 523;
        space.free(number).expect("a taken address");
    }
    space
}

/// 2 000 ranges of 262 addresses that do not touch, all taken but for the last address of each.
fn scattered() -> Space {
    let mut space = Space::new(Family::V4);
    for index in 0..2000 {
        let start = universe().start() + index * 524;
        space.add(Span::new(start, start + 262).expect("a span"));
    }
    while space.count_free(universe()) > 0 {
        space.allocate(universe());
    }
    for index in 0..2000 {
        let last = universe().start() + index * 524 + 261;
        space.free(last).expect("a taken address");
    }
    space
}

fn allocate_and_free(bencher: Bencher<'_, '_>, mut space: Space) {
    bencher.bench_local(|| {
        let number = space.allocate(universe()).expect("a free address");
        space.free(number).expect("a taken address");
    });
}

/// The lowest and the highest hole, by turns: each search starts far from the other's result.
fn far_apart(bencher: Bencher<'_, '_>, mut space: Space) {
    let half = universe().start() + universe().size() / 2;
    let upper = Span::new(half, universe().end()).expect("a span");
    bencher.bench_local(|| {
        let low = space.allocate(universe()).expect("a free address");
        let high = space.allocate(upper).expect("a free address");
        space.free(low).expect("a taken address");
        space.free(high).expect("a taken address");
    });
}

#[divan::bench(args = [0, 1, 1000, 262_144, 524_288, 943_718, 1_048_575])]
fn allocate_free(bencher: Bencher<'_, '_>, taken: u32) {
    allocate_and_free(bencher, filled(taken));
}

#[divan::bench]
fn allocate_free_2000_holes(bencher: Bencher<'_, '_>) {
    allocate_and_free(bencher, holed());
}

#[divan::bench]
fn allocate_free_2000_ranges(bencher: Bencher<'_, '_>) {
    allocate_and_free(bencher, scattered());
}

#[divan::bench]
fn two_allocate_free_2000_holes(bencher: Bencher<'_, '_>) {
    far_apart(bencher, holed());
}

#[divan::bench]
fn two_allocate_free_2000_ranges(bencher: Bencher<'_, '_>) {
    far_apart(bencher, scattered());
}

#[divan::bench]
fn count_free_2000_holes(bencher: Bencher<'_, '_>) {
    let space = holed();
    let most = Span::new(universe().start() + 1, universe().end()).expect("a span");
    bencher.bench_local(|| (space.count_free(universe()), space.count_free(most)));
}
