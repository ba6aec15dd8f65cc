//! What the daemon says about itself: one model, three renderings.
//!
//! [`model`] is the `/report` JSON, field by field; [`text`] turns the same value into the pages
//! that operators and scripts read, [`metrics`] into what is scraped. Nothing is rendered that the model does not hold, so a saved
//! report can be shown as text later.

mod collect;
mod dns;
mod drops;
pub mod events;
pub(crate) mod links;
pub mod metrics;
pub mod model;
pub(crate) mod page;
pub(crate) mod process;
#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
pub(crate) mod strict;
pub mod text;
mod traffic;

pub use collect::Reporter;
pub use model::Report;
