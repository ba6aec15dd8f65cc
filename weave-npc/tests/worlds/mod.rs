//! Random worlds, flows and edits: small enough that selectors, addresses and names collide often.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

pub(crate) mod check;
pub(crate) mod draw;
pub(crate) mod objects;
