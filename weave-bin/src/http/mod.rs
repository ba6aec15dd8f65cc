//! Control HTTP: the server the daemon runs and the small client its tools share.

pub mod client;
