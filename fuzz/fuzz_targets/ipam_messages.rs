//! Any payload of the address channel is a message or an error, and messages survive a round trip;
//! but for a ring without entries, which is left out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_ipam::{Message, State, mesh};

fuzz_target!(|payload: &[u8]| {
    if let Ok(state) = mesh::decode_state(payload) {
        let again = mesh::decode_state(&mesh::encode_state(&state));
        assert_eq!(again.ok(), Some(without_empty_ring(state)));
    }
    if let Ok(message) = mesh::decode_message(payload) {
        let again = mesh::decode_message(&mesh::encode_message(&message));
        let expected = match message {
            Message::RingUpdate(state) => Message::RingUpdate(without_empty_ring(state)),
            other => other,
        };
        assert_eq!(again.ok(), Some(expected));
    }
});

fn without_empty_ring(mut state: State) -> State {
    state.ring = state.ring.filter(|ring| !ring.is_empty());
    state
}
