//! Route netlink of one network namespace, in our own words.
//!
//! Invariant: a [`Netlink`] acts on the namespace it was opened in, whatever thread uses it later.
//! Two layers: `socket` owns the connection and moves whole requests; the other files are verbs, one
//! request each. Types of the netlink crates never leave this module; callers see [`Link`],
//! [`Route`] and plain addresses.
//!
//! Every verb costs one round trip (20–50 µs). Independent ones may run together
//! (`tokio::join!`); the kernel answers in order. All must be called inside a tokio runtime.

mod addresses;
mod error;
mod fdb;
mod links;
mod model;
mod namespaces;
mod offload;
mod parse;
mod routes;
mod socket;
mod watch;

pub use self::{
    error::Error,
    model::{Link, NAME_LIMIT, Route, Scope, is_interface_name, mac_text},
    socket::Netlink,
    watch::Watch,
};
