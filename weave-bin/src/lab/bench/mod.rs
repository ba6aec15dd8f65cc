//! `weave lab bench`: what the overlay costs, measured against the kernel's own means.
//!
//! Invariant: numbers that are compared come from one run, one pair of hosts and one machine, taken
//! in turns (see [`plan`]); a path that breaks ends the run with an error instead of a number.
//!
//! [`paths`] makes what the overlay is compared with, [`load`] puts load on a path, [`measure`]
//! turns load into samples, [`rounds`] repeats that, [`stats`] and [`report`] say what it means.

pub(crate) mod load;
pub(crate) mod measure;
pub(crate) mod paths;
pub mod plan;
pub mod report;
pub(crate) mod rounds;
pub mod stats;
