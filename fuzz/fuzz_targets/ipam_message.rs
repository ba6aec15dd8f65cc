//! Any payload of the address channel is a message or an error, and messages survive a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_ipam::mesh;

fuzz_target!(|payload: &[u8]| {
    if let Ok(state) = mesh::decode_state(payload) {
        assert_eq!(mesh::decode_state(&mesh::encode_state(&state)).ok(), Some(state));
    }
    if let Ok(message) = mesh::decode_message(payload) {
        assert_eq!(mesh::decode_message(&mesh::encode_message(&message)).ok(), Some(message));
    }
});
