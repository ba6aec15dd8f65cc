//! One program, many names: the Weave daemon, its CNI plugins, its command line and its lab.
//!
//! This crate composes `weave-mesh`, `weave-ipam` and `weave-datapath` into a running host. It
//! holds no protocol of its own: the libraries decide, this crate reads sockets, clocks, files and
//! the command line for them.
#![forbid(unsafe_code)]

pub mod actor;
pub mod args;
mod causes;
pub mod cli;
pub mod cni;
pub mod daemon;
pub mod dns;
pub mod doctor;
pub mod host;
pub mod http;
pub mod kube;
pub mod lab;
pub mod launch;
pub mod logging;
pub mod npc;
pub mod picture;
pub mod pods;
pub mod render;
pub mod status;
mod stdout;
pub mod store;
pub mod template;
