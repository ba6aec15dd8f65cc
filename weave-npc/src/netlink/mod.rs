//! Rulesets in the kernel, over netlink: committed in one atomic batch, read back, kept, watched.
//!
//! ```text
//! Table ──Keeper::set──▶ diff ──▶ Transaction ──batch──▶ messages ──socket──▶ kernel
//!   ▲                                                                           │
//!   └──────────── readback ◀── lift ◀── messages ◀──────────────────────────────┤
//!                                       Monitor ◀── notifications ◀─────────────┘
//! ```
//!
//! A connection belongs to the network namespace of the thread that opens it. Calls block; only
//! [`Monitor`] waits for others, and that one can be polled.
//!
//! Invariant: no table but the one named is touched, and a change takes effect as a whole or not at
//! all.

mod batch;
mod element;
mod encode;
mod expr;
mod foreign;
mod keeper;
mod lift;
mod load;
mod message;
mod monitor;
mod nft;
mod readback;

pub use crate::nfnetlink::NetlinkError;
pub use expr::RawExpression;
pub use foreign::{ForeignChain, ForeignChange, ForeignRule};
pub use keeper::{Keeper, Report, Way};
pub use monitor::{Changes, Monitor, Touch};
pub use nft::{Count, Nft};
pub use readback::Seen;
