//! What a person reads at the end: pure functions from results to text.

pub(crate) mod matrix;
pub(crate) mod ring;
pub(crate) mod summary;
