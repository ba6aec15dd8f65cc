//! The cluster side: which peers there are, who starts the ring, and what becomes of peers whose
//! Nodes are gone.
//!
//! ```text
//!   API ─▶ nodes ────▶ targets of our daemon
//!    ▲  └▶ record ┐
//!    └─ writes ◀── reclaim ─▶ takeovers by our daemon
//! ```
//!
//! Everything that decides is pure: [`record`], [`nodes`], [`quorum`], [`reclaim`]. Weave Net's
//! pods share the record during a rolling update and must find in it what they wrote themselves.

#[cfg(feature = "kube")]
pub mod api;
#[cfg(feature = "kube")]
pub mod backoff;
pub mod condition;
#[cfg(feature = "kube")]
pub mod daemon;
#[cfg(feature = "kube")]
pub mod follow;
#[cfg(feature = "kube")]
pub mod helper;
#[cfg(feature = "kube")]
pub mod membership;
pub mod nodes;
pub mod quorum;
pub mod reclaim;
pub mod record;
#[cfg(feature = "kube")]
pub mod round;
pub mod state;
#[cfg(feature = "kube")]
pub mod task;
#[cfg(feature = "kube")]
pub mod watch;
