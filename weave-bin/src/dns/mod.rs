//! The name server: containers by name and names by address, the same on every host of the mesh.
//!
//! ```text
//!   HTTP, `weave dns-add` ──▶ task ──writes──▶ store ◀──reads── server ◀── questions (UDP, TCP)
//!                             ▲  │                                │
//!                    payloads │  │ broadcast, relay               ▼
//!                           channel ◀──▶ mesh              upstream servers
//! ```
//!
//! Each peer owns the names it registered; everybody has a copy of all. Laws: `ALGORITHM.md`,
//! section *Names*.

pub mod answer;
pub mod channel;
mod counters;
pub mod gossip;
pub mod server;
mod socket;
pub mod store;
mod task;
pub mod upstream;

pub use channel::NameChannel;
pub use counters::Counters;
pub use socket::Sockets;
pub use task::{NameError, Names, Unstarted};
