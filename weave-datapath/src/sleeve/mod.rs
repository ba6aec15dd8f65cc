//! Sleeve: the overlay in user space, byte-compatible with Weave Net 2.x.
//!
//! Frames of pods travel in UDP packets on the port of the mesh, in clear or sealed with NaCl. It
//! is slower than [`fastdp`](crate::fastdp), and goes where that cannot: through NAT, past firewalls
//! that know one port only, and encrypted.
//!
//! | module | for |
//! |---|---|
//! | [`packet`] | layout of a packet |
//! | [`seal`], [`replay`] | encryption, and refusing what was seen before |
//! | [`special`] | heartbeats and probes |
//! | [`link`] | life of one connection: address, heartbeats, health |
//! | [`pmtu`] | how much the path carries |
//! | [`stream`] | whether a frame may be fragmented on its way |
//! | [`fragment`], [`icmp`] | frames that do not fit |
//!
//! All of it is pure: bytes in, bytes out, time as an argument.

pub mod fragment;
pub mod icmp;
pub mod link;
pub mod packet;
pub mod pmtu;
pub mod replay;
pub mod seal;
pub mod special;
pub mod stream;

pub use crate::fastdp::PeerName;
