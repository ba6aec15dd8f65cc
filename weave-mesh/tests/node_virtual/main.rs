//! Whole meshes of nodes in virtual time.

#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod alone;
mod forming;
mod gossip;
mod net;
mod queues;
mod refusals;
mod sync;
mod trouble;
