//! Bytes on a connection: introduction, frames, messages, topology updates.
//!
//! ```text
//! both sides   header "weave" min max        intro::Header
//! version 2    encryption flag (and key)     intro::Introduction
//!              frame: feature map            frame, intro::Features
//!              frame: message, …             frame, message::Message
//! ```
//!
//! Everything here turns bytes into values and back and keeps no state but what is not yet
//! complete. Lengths are checked before anything is taken from them.

pub mod frame;
pub mod intro;
pub mod message;
pub mod sync;
pub mod update;
