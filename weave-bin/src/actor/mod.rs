//! The tasks of the daemon: each owns one thing and is spoken to over a bounded channel.
//!
//! ```text
//!   HTTP ──commands──▶ ipam ──save──▶ keeper (thread, owns the state file)
//!                      ▲  │
//!             payloads │  │ unicast, broadcast, relay
//!                      │  ▼
//!                      mesh ──overlay events, routes──▶ overlay ──maps──▶ kernel
//!                                                       ▲   │
//!                                            heartbeats └───┘
//! ```
//!
//! What `ipam` tells anybody, it has saved first.

pub mod ipam;
pub mod keeper;
pub mod overlay;
