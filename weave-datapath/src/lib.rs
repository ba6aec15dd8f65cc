//! The Weave pod network in the Linux kernel.
//!
//! Pods hang on a bridge, [`bridge`]; each is joined to it by a veth pair, [`attach`]. Frames for
//! other hosts leave through another port, the fast path (kernel VXLAN steered by tc-BPF).
//! Every part is cut the same way: a pure *plan* that turns what is observed into typed steps, and
//! a thin *apply* that runs them over netlink and undoes them on failure.
//!
//! | module | for |
//! |---|---|
//! | [`netlink`] | links, addresses, routes, forwarding entries of one network namespace |
//! | [`netns`] | opening, creating and entering network namespaces |
//! | [`bridge`] | the bridge `weave` and its pair `vethwe-bridge` / `vethwe-datapath` |
//! | [`attach`] | joining a pod to the bridge, and taking it off |
//! | [`arp`] | announcing an address, asking who has one |
//! | [`netcheck`] | does an address range clash with a route of the host |
//! | [`sysctl`] | per-interface settings, as steps name them |
//! | [`fastdp`] | from routes and heartbeats to the tables of the kernel programs |
//! | `bpf` | the VXLAN device and the kernel programs (feature `bpf`) |
//! | `faults` | loss, blocked ports and black holes for experiments (feature `bpf`) |
//! | [`overlay`] | which overlay carries the frames of a connection, and why |
//! | `sleeve` | the overlay in user space: plain or encrypted, through NAT (feature `sleeve`) |
//! | [`mtu`] | how large packets of pods may be |
//! | [`gso`] | large frames: cut into packets, put together from packets |
//! | `tap`, `plane` | frames between the kernel and sleeve (feature `sleeve`) |
//! | [`leftover`] | IP sets and the Open vSwitch data path of a Weave Net |
//! | [`xtables`] | legacy iptables tables as values, read and replaced whole |
//! | [`switch`] | who is behind which address, where no kernel program knows |
//! | [`packet`] | views of Ethernet, IPv4, UDP and VXLAN packets |
//!
//! [`fastdp`], [`gso`], [`mtu`], [`overlay`], [`packet`] and [`switch`] are always there; the others need the
//! feature `netlink` (on by default) if no other is named. Kernel operations need `CAP_NET_ADMIN`,
//! entering namespaces also `CAP_SYS_ADMIN`.
//! `ALGORITHM.md` states the laws the property tests check.

#![deny(unsafe_code)]

#[cfg(feature = "netlink")]
pub mod arp;
#[cfg(feature = "netlink")]
pub mod attach;
#[cfg(feature = "bpf")]
pub mod bpf;
#[cfg(feature = "netlink")]
pub mod bridge;
pub mod fastdp;
#[cfg(feature = "bpf")]
pub mod faults;
pub mod gso;
#[cfg(feature = "netlink")]
pub mod leftover;
pub mod mtu;
#[cfg(feature = "netlink")]
pub mod netcheck;
#[cfg(feature = "netlink")]
pub mod netlink;
#[cfg(feature = "netlink")]
pub mod netns;
pub mod overlay;
pub mod packet;
#[cfg(feature = "sleeve")]
pub mod plane;
#[cfg(feature = "sleeve")]
pub mod sleeve;
pub mod switch;
#[cfg(feature = "netlink")]
pub mod sysctl;
#[cfg(feature = "sleeve")]
pub mod tap;
#[cfg(feature = "netlink")]
pub mod xtables;

pub use fastdp::{PeerName, ShortId};

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "netlink"))]
#[doc = include_str!("../README.md")]
struct Readme;
