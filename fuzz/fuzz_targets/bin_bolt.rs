//! Any file is a state, nobody's state, or refused with a reason; the state can be written down.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weave_bin::store::Store;

fuzz_target!(|image: &[u8]| {
    let store = Store::new(Path::new("/nowhere/weave"));
    match store.read_image(image) {
        Ok(Some(state)) => {
            let text = serde_json::to_vec(&state).expect("a state is JSON");
            assert_eq!(serde_json::from_slice::<weave_bin::store::State>(&text).ok(), Some(state));
        }
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
