//! Examples of the weave crates.
