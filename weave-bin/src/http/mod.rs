//! Control HTTP: the server of the daemon and the small client its tools share.

mod answer;
mod arguments;
pub mod client;
mod ip;
mod mesh;
mod names;
mod npc;
mod pages;
mod picture;
mod serve;
mod server;

pub use answer::REASON_HEADER;
pub use arguments::parse as parse_arguments;
pub use ip::FRESH_HEADER;
pub use serve::{Limits, serve};
pub use server::{Control, Listener, bind, control, metrics, status};

#[cfg(test)]
mod tests;
