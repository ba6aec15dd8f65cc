//! A gossip mesh in the wire protocol of Weave Net.
//!
//! Peers hold TCP connections to each other, gossip who is connected to whom, and carry the state
//! of named channels. Peers of this crate and routers of Weave Net 2.8 and 2.9 form one mesh.
//!
//! The crate is read in the order `wire → state → engine → shell`:
//!
//! - [`wire`] turns bytes into values, with [`gob`] for what Go's encoder wrote;
//! - [`peer`] and [`topology`] are the state: records, their merge, and the routes that follow;
//! - [`connection`], [`connector`], [`gossip`] and [`overlay`] are the parts of the engine, [`node`]
//!   joins them; time and randomness are arguments;
//! - `tokio` (feature of that name) binds the engine to sockets, `sim` (feature too) to a network
//!   in virtual time.
//!
//! # What it promises
//!
//! Bytes from a remote never cause a panic. Memory spent on them is bounded by named constants next
//! to the code that reads them, [`wire::frame::MAX_MESSAGE`] first. A fault of a remote ends its
//! connection and changes nothing else. The laws of merging and routing, and the tests that check
//! them, are in `ALGORITHM.md`.

#![forbid(unsafe_code)]

pub mod connection;
pub mod connector;
pub mod crypto;
pub mod gob;
pub mod gossip;
pub mod node;
pub mod overlay;
pub mod peer;
pub mod random;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod topology;
pub mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
