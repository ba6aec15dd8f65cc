//! The table of hardware addresses, and the choice of an overlay.
//!
//! `cargo bench -p weave-datapath --bench switch`

use std::time::Duration;

use divan::{Bencher, black_box};
use weave_datapath::PeerName;
use weave_datapath::overlay::pace::Silence;
use weave_datapath::overlay::{Input, Switch};
use weave_datapath::packet::ethernet::Mac;
use weave_datapath::switch::MacTable;

fn main() {
    divan::main();
}

/// Pods of a small and a large network.
const SIZES: [u32; 2] = [100, 30_000];

fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn table(size: u32) -> MacTable {
    let mut table = MacTable::new();
    for number in 0..size {
        table.learn_remote(
            Duration::ZERO,
            mac(number),
            PeerName(u64::from(number % 200)),
        );
    }
    table
}

#[divan::bench(args = SIZES)]
fn look_up(bencher: Bencher<'_, '_>, size: u32) {
    let table = table(size);
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 7919) % size;
        table.owner(black_box(mac(number)))
    });
}

#[divan::bench(args = SIZES)]
fn learn(bencher: Bencher<'_, '_>, size: u32) {
    let mut table = table(size);
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 7919) % size;
        table.learn_remote(Duration::from_secs(1), mac(number), PeerName(7))
    });
}

#[divan::bench]
fn fall_back_and_come_back(bencher: Bencher<'_, '_>) {
    let mut switch = Switch::new(Duration::ZERO, &["fastdp", "sleeve"]);
    for slot in [0, 1] {
        switch.handle(Duration::ZERO, slot, Input::Established);
    }
    bencher.bench_local(|| {
        let away = switch.handle(Duration::ZERO, 0, Input::Unhealthy(Silence::There));
        let back = switch.handle(Duration::ZERO, 0, Input::Healthy);
        (away, back)
    });
}
