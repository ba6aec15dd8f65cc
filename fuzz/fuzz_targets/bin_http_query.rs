//! Any query or form is read into pairs or refused in one line, and so are the values in it that
//! requests parse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_bin::args::daemon::ListenAddress;
use weave_bin::http::client::encode_component;
use weave_bin::http::parse_arguments;
use weave_ipam::address::{parse_address, parse_cidr, parse_subnet};

fuzz_target!(|text: &str| {
    let pairs = match parse_arguments(text) {
        Ok(pairs) => pairs,
        Err(error) => {
            assert!(!error.is_empty());
            return;
        }
    };
    for (_, value) in &pairs {
        let _ = parse_address(value);
        let _ = parse_cidr(value);
        let _ = parse_subnet(value);
        let _ = ListenAddress::parse(value);
    }
    let encoded: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encode_component(key), encode_component(value)))
        .collect();
    assert_eq!(parse_arguments(&encoded.join("&")), Ok(pairs));
});
