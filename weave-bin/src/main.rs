//! The weave binary.
fn main() {}
