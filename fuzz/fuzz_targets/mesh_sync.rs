//! Any body of a message with tag 16 is refused or read; what is read comes back from its own
//! bytes, and records merge without harm, a second time without news.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_mesh::peer::{PeerName, PeerRecord, ShortId, Uid};
use weave_mesh::topology::{Base, Topology};
use weave_mesh::wire::sync::Sync;

fuzz_target!(|bodies: (Vec<u8>, Vec<u8>)| {
    let us = PeerName::from_bytes([2, 0, 0, 0, 0, 1]);
    let mut local = PeerRecord::new(us, "us", Uid(1));
    local.version = 1;
    local.short_id = ShortId::try_from(7).ok();
    let mut topology = Topology::new(local, 1);
    for body in [&bodies.0, &bodies.1] {
        match Sync::parse(body) {
            Ok(message) => {
                let again = message.emit();
                assert_eq!(Sync::parse(&again).as_ref(), Ok(&message));
                take(&mut topology, message);
            }
            Err(error) => drop(error.to_string()),
        }
    }
    tell(&topology);
});

fn take(topology: &mut Topology, message: Sync<'_>) {
    match message {
        Sync::Heads { heads, .. } => {
            for head in heads {
                let _ = (topology.is_behind(head), topology.merge_own_head(head));
            }
        }
        Sync::Records(records) => {
            let first = topology.merge_sync(records.clone());
            let again = topology.merge_sync(records);
            // What was missing for a delta may have come behind it.
            assert!(again.merged.news.is_empty() || !first.missing.is_empty());
        }
        Sync::Wants(wants) => {
            for (name, version) in wants {
                let _ = topology.delta(name, Base::Version(version));
            }
        }
        _ => {}
    }
}

/// Who takes everything we tell knows what we know.
fn tell(topology: &Topology) {
    let names = topology.records().map(|record| record.name);
    let whole: Vec<_> = names
        .filter_map(|name| topology.delta(name, Base::Nothing))
        .collect();
    let bytes = Sync::Records(whole.clone()).emit();
    assert_eq!(Sync::parse(&bytes), Ok(Sync::Records(whole)));
}
