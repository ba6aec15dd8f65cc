//! A gossip mesh in the wire protocol of Weave Net.
//!
//! Peers hold TCP connections to each other, gossip who is connected to whom, and carry the state
//! of named channels. This crate is the protocol: names and records of peers, the gob codec, the
//! messages, the merge of topologies and the routes that follow from them. Modules without I/O
//! take time and randomness as arguments; sockets live behind the feature `tokio`.
//!
//! Bytes from a remote never cause a panic, and memory spent on them is bounded by named
//! constants next to the code that reads them.

#![forbid(unsafe_code)]

pub mod connection;
pub mod connector;
pub mod gob;
pub mod gossip;
pub mod node;
pub mod overlay;
pub mod peer;
pub mod random;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod topology;
pub mod wire;
