//! Any bytes are logged packets or nothing; what is kept is bounded, and headers are read within it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_npc::nflog::{MAX_HEADER, MAX_PAYLOAD, parse};

fuzz_target!(|datagram: &[u8]| {
    for logged in parse(datagram) {
        assert!(logged.payload.len() <= MAX_PAYLOAD && logged.header.len() <= MAX_HEADER);
        assert!(logged.prefix.chars().count() <= 127);
        if let Some(flow) = logged.flow() {
            assert_eq!(flow.source.is_ipv4(), flow.destination.is_ipv4());
            let _ = flow.is_opening();
        }
    }
});
