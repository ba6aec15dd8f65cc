//! One TCP connection: how both sides introduce themselves, and why connections end.
//!
//! [`Handshake`] turns bytes into the remote's features and knows nothing of other connections;
//! what a peer decides on them (duplicates, limits, names) is the node's.

mod handshake;
mod reason;

pub use handshake::{Handshake, HandshakeError, Introduced, Offer};
pub use reason::Reason;
