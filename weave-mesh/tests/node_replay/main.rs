//! Recorded bytes of real routers against the engine.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod capture;
mod encrypted;
mod handshake;
mod mutations;

/// Bytes of lower-case hex.
fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}
