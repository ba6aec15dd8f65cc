//! Gossip channels: named streams of state that every peer of the mesh shares.
//!
//! A [`Channel`] owns one kind of state. The engine calls it with what peers send and asks it for
//! its complete state when that is about to be written. What waits for a slow connection is
//! therefore state, not a backlog of messages: an outbox holds at most one slot per channel
//! and broadcast source (Weave Net mesh protocol, sections 6.1 to 6.5).

mod channel;
pub(crate) mod outbox;
pub(crate) mod surrogate;
pub(crate) mod sync;

pub use channel::{Channel, ChannelError, Relay, digest_of};
