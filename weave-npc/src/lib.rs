//! Kubernetes NetworkPolicy as a library.
//!
//! The crate turns policies, pods and namespaces into decisions and rules, without doing any I/O.
//! Its first part is the vocabulary every other part is written in: [`Labels`] and [`Selector`].
//!
//! # What this crate does not do
//!
//! It opens no socket, reads no clock and pulls in no Kubernetes client. Objects come in as plain
//! values.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod compile;
#[cfg(feature = "netlink")]
pub mod conntrack;
pub mod engine;
mod index;
mod labels;
#[cfg(feature = "manifest")]
pub mod manifest;
pub mod model;
#[cfg(feature = "netlink")]
pub mod netlink;
#[cfg(feature = "nflog")]
pub mod nflog;
#[cfg(any(feature = "netlink", feature = "nflog"))]
mod nfnetlink;
pub mod ruleset;
mod selector;
pub mod verdict;

pub use labels::Labels;
pub use selector::{ParseSelectorError, Requirement, Selector};
pub use verdict::{Decision, Flow, decide};
