//! Any bytes of a remote are an introduction or an error, however they are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_mesh::wire::intro::{Features, Header, Introduction};

fuzz_target!(|input: (Vec<u8>, usize)| {
    let (bytes, at) = input;
    let (first, second) = bytes.split_at(at.min(bytes.len()));
    let mut introduction = Introduction::new(Header { min: 1, max: 2 }, false);
    for part in [first, second] {
        introduction.push(part);
        while let Ok(Some(_)) = introduction.pop() {}
    }
    if let Ok(features) = Features::decode(&bytes) {
        assert_eq!(Features::decode(&features.encode()).as_ref(), Ok(&features));
    }
});
