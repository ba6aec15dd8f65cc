//! Nodes with passwords in virtual time: what connects, what is refused, and what it may cost.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod bounds;
mod data;
mod rotation;
mod router;
mod world;
