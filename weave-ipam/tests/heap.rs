//! What rings and spaces take of the heap, counted. One test, because the counters are those of the
//! whole process.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weave_ipam::ring::Entry;
use weave_ipam::{AddressRange, Family, PeerId, Ring, Space, Span};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ENTRIES: u32 = 4000;
const ENTRY: usize = 32;
const PEER: usize = 8;

#[test]
fn entries_and_addresses_take_no_more_than_is_said() {
    let peers: Vec<PeerId> = (1..=8).map(PeerId).collect();
    let theirs = ring(PeerId(2), &peers);

    let (merged, mut ours) = kept(|| {
        let mut ours = Ring::new(universe(), PeerId(1));
        let merged = ours.merge_confined(&theirs, |_| false);
        assert!(merged.unwrap().updated);
        ours
    });
    assert_eq!(merged, 4000 * ENTRY + 8 * PEER);

    // 500 tokens more, one merge each.
    let (grown, ()) = kept(|| {
        for index in 0..500 {
            let theirs = with_token(&ours, 8 * index);
            assert!(ours.merge_confined(&theirs, |_| false).unwrap().updated);
        }
    });
    assert_eq!(grown, 500 * ENTRY);

    let (granted, ()) = kept(|| {
        let mine = ours.ranges_of(PeerId(1));
        for range in mine.into_iter().filter(|range| range.size() > 4) {
            let middle = Span::new(range.start() + 1, range.start() + 2).unwrap();
            ours.grant(middle, PeerId(3)).unwrap();
        }
    });
    assert!(granted > 0 && granted <= (ours.entries().len() - 4500 + 2) * ENTRY);

    let all = universe().span;
    let (dense, _space) = kept(|| {
        let mut space = Space::new(Family::V4);
        space.add(all);
        while space.allocate(all).is_some() {}
        space
    });
    assert!(dense <= (1 << 20) / 5, "{dense} bytes for 2^20 addresses");

    let (scattered, _space) = kept(|| {
        let mut space = Space::new(Family::V6);
        space.add(Span::new(0, 1 << 64).unwrap());
        for index in 0..1000_u128 {
            space.claim(index << 50).unwrap();
        }
        space
    });
    assert!(
        scattered <= 1000 * 280,
        "{scattered} bytes for 1000 addresses"
    );

    let (intervals, _space) = kept(|| {
        let mut space = Space::new(Family::V6);
        for index in 0..1000_u128 {
            assert!(space.add(Span::new(index << 50, (index << 50) + 1000).unwrap()));
        }
        space
    });
    assert!(
        intervals <= 1000 * 160,
        "{intervals} bytes for 1000 intervals"
    );

    #[cfg(feature = "mesh")]
    decoded_rings_have_no_slack(theirs, &peers);
}

#[cfg(feature = "mesh")]
fn decoded_rings_have_no_slack(ring: Ring, seeds: &[PeerId]) {
    use weave_ipam::State;
    use weave_ipam::mesh::{decode_state, encode_state};

    let state = State {
        ring: Some(ring.into()),
        ..State::default()
    };
    let payload = encode_state(&state);
    let (decoded, state) = kept(|| decode_state(&payload).unwrap());

    let lists = state.ring.unwrap().entries().len() * ENTRY + seeds.len() * PEER;
    let head = size_of::<Ring>() + 2 * size_of::<usize>();
    assert!(decoded <= lists + head + 16, "{decoded} bytes");
}

fn universe() -> AddressRange {
    AddressRange::of("10.32.0.0/12".parse().unwrap())
}

fn ring(holder: PeerId, seeds: &[PeerId]) -> Ring {
    let entries = (0..ENTRIES).map(|index| Entry {
        token: universe().span.start() + u128::from(index) * 262,
        peer: PeerId(u64::from(1 + index % 1000)),
        version: 1,
        free: 262,
    });
    Ring::from_parts(universe(), holder, entries.collect(), seeds.to_vec())
}

/// The ring with one more token, inside the range at `index`.
fn with_token(ring: &Ring, index: usize) -> Ring {
    let mut entries = ring.entries().to_vec();
    let before = &mut entries[index];
    (before.version, before.free) = (before.version + 1, 100);
    let token = before.token + 100;
    let peer = PeerId(7);
    entries.insert(
        index + 1,
        Entry {
            token,
            peer,
            version: 0,
            free: 1,
        },
    );
    Ring::from_parts(universe(), PeerId(2), entries, ring.seeds().to_vec())
}

/// The bytes that what `make` makes keeps, and the thing.
fn kept<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(HEAP);
    let made = make();
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated, made)
}
