//! Any bytes are a gob stream or an error; what is read costs no more than a multiple of the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_mesh::gob::Decoder;

fuzz_target!(|stream: &[u8]| {
    let mut decoder = Decoder::new(stream);
    while let Ok(Some(_)) = decoder.next() {}
});
