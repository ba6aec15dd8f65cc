//! The pods of this host as the daemon knows them: whose addresses are given back although nobody
//! says so.
//!
//! ```text
//!   plugin ── ADD ──▶ ledger ◀── links of the host
//!     │                 └─ gone for a while ──▶ allocator: free
//!     └─ DEL, daemon down ──▶ spool ── next start ──▶ allocator: free
//! ```
//!
//! Invariant: an address is freed without its DEL only when its pod was attached by the plugin
//! `weave-net` and no link of this host has been the pod's for the whole grace time. An address of
//! anything else, such as one claimed by hand or given to another interface plugin, stays.

mod ledger;
pub mod spool;
mod task;

pub use ledger::{GRACE, Ledger, Links, Mark, Plugin};
pub use task::{Counts, Pods, ledger_path};
