//! Any file is a snapshot or refused, and what is restored from one is sound and can be stored and
//! restored again.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use weave_ipam::{Allocator, Config, InitMode, PeerId, Snapshot};

fuzz_target!(|file: &[u8]| {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(file) else {
        return;
    };
    let us = PeerId(1);
    for universe in ["10.32.0.0/24", "fd00::/120"] {
        let universe = universe.parse().expect("a network");
        let config = Config::new(universe, us).init(InitMode::Seed(vec![us]));
        let Ok(mut allocator) = Allocator::new(config.clone(), Some(snapshot.clone())) else {
            continue;
        };
        assert_eq!(allocator.ring().check(), Ok(()));
        let _ = allocator.allocate(Duration::ZERO, "pod", None, true);
        let _ = allocator.delete(Duration::ZERO, "pod");
        let _ = allocator.status();

        let stored = allocator.snapshot();
        let text = serde_json::to_vec(&stored).expect("a snapshot is JSON");
        let read = serde_json::from_slice(&text).expect("what was written is read");
        assert_eq!(stored, read);
        let again = Allocator::new(config, Some(read)).expect("our own snapshot is accepted");
        assert_eq!(again.ring().entries(), allocator.ring().entries());
    }
});
