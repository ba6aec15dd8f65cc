//! Random worlds, flows and edits: small enough that selectors, addresses and names collide often.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

pub mod check;
pub mod draw;
mod objects;

pub use objects::{any_object, any_removal, any_world, other_address, pod_address, transport};
