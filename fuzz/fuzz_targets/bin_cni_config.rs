//! Any standard input of a plugin is a configuration, or an error that a runtime can show.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_bin::cni::check_config;

fuzz_target!(|input: &[u8]| {
    if let Err(error) = check_config(input) {
        assert!(!error.to_string().is_empty());
    }
});
