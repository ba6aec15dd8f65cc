//! Control HTTP: the server of the daemon and the small client its tools share.

mod answer;
mod arguments;
pub mod client;
mod ip;
mod mesh;
mod names;
mod npc;
mod pages;
mod server;

pub use arguments::parse as parse_arguments;
pub use ip::FRESH_HEADER;
pub use server::{Control, Listener, bind, control, serve, status};

#[cfg(test)]
mod tests;
