//! What a person reads at the end: pure functions from results to text.

pub mod matrix;
pub mod ring;
pub mod summary;
