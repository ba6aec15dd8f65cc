//! Who a peer is: its name, its incarnation, and the record it gossips about itself.
//!
//! A record is written by its owner alone; everybody else keeps the newest copy seen (mesh
//! protocol, section "topology model").

mod address;
mod links;
mod name;
mod record;
mod short_id;

pub use address::Address;
pub use links::Links;
pub use name::{NameError, PeerName};
pub use record::{Head, Link, MAX_ADDRESS, MAX_NICKNAME, PeerRecord, Uid};
pub use short_id::{ShortId, ShortIdError};
