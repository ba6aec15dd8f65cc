//! One TCP connection: how both sides introduce themselves, what is sent in which form, and why
//! connections end.
//!
//! [`Handshake`] turns bytes into the remote's features and knows nothing of other connections;
//! what a peer decides on them (duplicates, limits, names) is the node's. Behind it, [`Outgoing`]
//! and [`Incoming`] frame and seal.

mod channel;
mod handshake;
mod reason;

pub use channel::{Incoming, IncomingError, MAX_CONTENT, Outgoing};
pub use handshake::{Handshake, HandshakeError, Introduced, MAX_PROOF, Offer};
pub use reason::{Reason, Refusal};
