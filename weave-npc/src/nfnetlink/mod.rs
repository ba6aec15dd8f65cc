//! What the netfilter subsystems of netlink share: framing, sockets, errors.
//!
//! Messages are built with the types of `netlink-packet-netfilter`; those that come are read by
//! [`wire`], which borrows, is bounded by what arrived, and costs no more for a long list of
//! elements than its length.
//!
//! Invariant: no type of the netlink crates leaves this module and its users `netlink`, `nflog` and
//! `conntrack`.

#![cfg_attr(
    not(feature = "netlink"),
    expect(
        dead_code,
        unused_imports,
        reason = "reading logged packets needs less"
    )
)]

mod error;
mod socket;
pub(crate) mod wire;

pub use error::NetlinkError;
pub(crate) use socket::{Refusal, Request, Socket};
