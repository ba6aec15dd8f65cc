//! Whole meshes of nodes in virtual time.

mod forming;
mod gossip;
mod net;
mod refusals;
mod trouble;
