//! A large network's ring: 1 000 peers, each with four ranges, as repeated grants leave it.

use weave_ipam::ring::Entry;
use weave_ipam::{AddressRange, PeerId, Ring};

/// Peers in the network.
pub(crate) const PEERS: u64 = 1000;

/// Entries of the ring: four ranges of 262 addresses a peer, in 10.32.0.0/12.
pub(crate) const ENTRIES: u32 = 4000;

/// The name of a peer: a 48-bit number like those drawn at random.
pub(crate) fn peer(index: u64) -> PeerId {
    PeerId(0x0200_0000_0000 | (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24))
}

/// The universe.
pub(crate) fn universe() -> AddressRange {
    AddressRange::of("10.32.0.0/12".parse().expect("a network"))
}

/// The ring as `holder` has it.
pub(crate) fn ring(holder: PeerId) -> Ring {
    let start = universe().span.start();
    let entries = (0..ENTRIES).map(|index| Entry {
        token: start + u128::from(index) * 262,
        peer: peer(u64::from(index).wrapping_mul(7919) % PEERS),
        version: index % 90,
        free: 262 - index % 200,
    });
    let mut seeds: Vec<PeerId> = (0..8).map(peer).collect();
    seeds.sort_unstable();
    let ring = Ring::from_parts(universe(), holder, entries.collect(), seeds);
    ring.check().expect("a sound ring");
    ring
}
