//! Any ring from anyone is merged or refused: the result is sound, loses no version and nothing in
//! use, and comes to rest when the same ring is heard again and again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_ipam::ring::Entry;
use weave_ipam::{AddressRange, Family, PeerId, Ring, Span};

/// Token, peer, version and hint.
type Sketch = Vec<(u8, u8, u8, u16)>;

const US: PeerId = PeerId(1);

fuzz_target!(|input: (Sketch, Sketch, Vec<u8>, u8, bool)| {
    let (ours, theirs, taken, sender, is_v6) = input;
    let (family, start) = if is_v6 {
        (Family::V6, u128::MAX - 255)
    } else {
        (Family::V4, 0x0a00_0000)
    };
    // For IPv6 up to the last address that has a number after it.
    let Some(span) = Span::new(start, start + 255) else {
        return;
    };
    let universe = AddressRange { family, span };
    let entry = |(token, peer, version, free): (u8, u8, u8, u16)| Entry {
        token: start + u128::from(token),
        peer: PeerId(u64::from(peer % 5)),
        version: if version == 255 {
            u32::MAX
        } else {
            version.into()
        },
        free: free.into(),
    };
    let mut own: Vec<Entry> = ours.into_iter().map(entry).collect();
    own.sort_by_key(|entry| entry.token);
    own.dedup_by_key(|entry| entry.token);
    own.iter_mut().for_each(|entry| entry.free = 0);
    let mut ring = Ring::from_parts(universe, US, own, Vec::new());
    if ring.check().is_err() {
        return;
    }
    let entries = theirs.into_iter().map(entry).collect();
    let theirs = Ring::from_parts(universe, PeerId(u64::from(sender % 5)), entries, Vec::new());
    let taken: Vec<u128> = taken
        .into_iter()
        .map(|at| start + u128::from(at))
        .filter(|number| span.contains(*number) && ring.owner(*number) == Some(US))
        .collect();
    let uses = |span: Span| taken.iter().any(|number| span.contains(*number));

    let before = ring.clone();
    let mut strict = ring.clone();
    if strict.merge(&theirs, uses).is_err() {
        assert_eq!(strict, before);
    } else {
        assert_eq!(strict.check(), Ok(()));
    }
    let is_refused = ring.merge_confined(&theirs, uses).is_err();
    assert_eq!(is_refused, theirs.check().is_err());
    assert!(!is_refused || ring == before);
    assert_eq!(ring.check(), Ok(()));
    for number in &taken {
        assert_eq!(ring.owner(*number), Some(US));
    }
    for old in before.entries() {
        let kept = ring.entries().iter().find(|entry| entry.token == old.token);
        assert!(kept.is_some_and(|entry| entry.version >= old.version));
    }
    let rounds = before.entries().len() + theirs.entries().len() + 1;
    let is_news = |_: &usize| {
        ring.merge_confined(&theirs, uses)
            .is_ok_and(|merged| merged.updated)
    };
    let news = (0..rounds).take_while(is_news).count();
    assert!(is_refused || news < rounds, "a merge does not come to rest");
});
