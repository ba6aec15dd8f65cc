//! What topology updates cost: `cargo bench -p weave-mesh --bench gob`.
//!
//! 1000 peers of 30 connections each, with host names of 38 characters: 0.9 MB.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use weave_mesh::peer::{Link, PeerName, PeerRecord, Uid};
use weave_mesh::topology::{Base, Topology};
use weave_mesh::wire::sync::{RecordUpdate, Sync};
use weave_mesh::wire::update;

fn main() {
    divan::main();
}

fn name(number: usize) -> PeerName {
    PeerName::try_from(0x0a00_0000_0001 + number as u64).expect("a small number")
}

fn records() -> Vec<PeerRecord> {
    let link = |other: usize| Link {
        address: format!("10.0.{}.{}:6783", other / 250, other % 250).into(),
        outbound: other.is_multiple_of(2),
        established: true,
    };
    let record = |peer: usize| PeerRecord {
        version: 60,
        connections: (1..=30)
            .map(|step| (peer + step * 31) % 1000)
            .map(|other| (name(other), link(other)))
            .collect(),
        ..PeerRecord::new(
            name(peer),
            format!("ip-10-0-{peer:03}-1.eu-central-1.example.org"),
            Uid(0x0123_4567_89ab_cdef),
        )
    };
    (0..1000).map(record).collect()
}

fn topology(records: &[PeerRecord]) -> Topology {
    let mut topology = Topology::new(records[0].clone(), 1);
    let _ = topology.merge(records.to_vec());
    topology
}

/// The complete state, every record encoded anew.
#[divan::bench]
fn encode_all(bencher: Bencher<'_, '_>) {
    let records = records();
    let bytes = update::encode(&records).len();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| update::encode(black_box(&records)));
}

/// The complete state from encodings that are kept, after one record changed.
#[divan::bench]
fn encode_kept(bencher: Bencher<'_, '_>) {
    let records = records();
    let mut topology = topology(&records);
    let bytes = update::encode(&records).len();
    let join = |topology: &Topology| {
        let names = topology.records().map(|record| record.name);
        update::join(names.filter_map(|name| topology.encoded(name)))
    };
    let _ = join(&topology);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let old = topology.get(name(7)).expect("it is there").clone();
        let version = old.version + 1;
        let _ = topology.merge(vec![PeerRecord { version, ..old }]);
        join(&topology)
    });
}

#[divan::bench]
fn decode_all(bencher: Bencher<'_, '_>) {
    let bytes = update::encode(&records());
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| update::decode(black_box(&bytes)));
}

#[divan::bench]
fn merge_into_nothing(bencher: Bencher<'_, '_>) {
    let records = records();
    let bytes = update::encode(&records);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .with_inputs(|| Topology::new(records[0].clone(), 1))
        .bench_local_values(|mut topology| {
            let merged = topology.merge_update(&bytes);
            (topology, merged)
        });
}

/// The periodic gossip of an old neighbour when nothing has changed.
#[divan::bench]
fn merge_without_news(bencher: Bencher<'_, '_>) {
    let records = records();
    let bytes = update::encode(&records);
    let mut topology = topology(&records);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| topology.merge_update(black_box(&bytes)));
}

/// The same with one record changed.
#[divan::bench]
fn merge_one_change(bencher: Bencher<'_, '_>) {
    let records = records();
    let topology = topology(&records);
    let mut changed = records.clone();
    changed[500].version += 1;
    changed[500].connections.pop_first();
    let bytes = update::encode(&changed);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .with_inputs(|| topology.clone())
        .bench_local_values(|mut topology| {
            let merged = topology.merge_update(&bytes);
            (topology, merged)
        });
}

/// One connection of one record, as a delta: made, written, read, applied.
#[divan::bench]
fn one_change_as_delta(bencher: Bencher<'_, '_>) {
    let records = records();
    let (mut owner, mut follower) = (topology(&records), topology(&records));
    bencher.bench_local(|| {
        let mut record = owner.get(name(7)).expect("it is there").clone();
        let base = record.version;
        record.version += 1;
        for link in record.connections.values_mut().take(1) {
            link.established = !link.established;
        }
        let _ = owner.merge(vec![record]);
        let delta = owner.delta(name(7), Base::Version(base)).expect("known");
        let message = Sync::Records(vec![delta]).emit();
        let Ok(Sync::Records(deltas)) = Sync::parse(&message) else {
            unreachable!("it was just written");
        };
        assert_eq!(follower.merge_sync(deltas).applied, 1);
        message.len()
    });
}

/// The complete state in the compact form, whole records.
#[divan::bench]
fn encode_all_compact(bencher: Bencher<'_, '_>) {
    let topology = topology(&records());
    let whole = |topology: &Topology| -> Vec<RecordUpdate> {
        let names = topology.records().map(|record| record.name);
        names
            .filter_map(|name| topology.delta(name, Base::Nothing))
            .collect()
    };
    let bytes = Sync::Records(whole(&topology)).emit().len();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| Sync::Records(whole(&topology)).emit());
}
