#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod address;
mod allocator;
pub mod consensus;
mod ledger;
#[cfg(feature = "mesh")]
pub mod mesh;
mod message;
mod peer;
mod random;
pub mod ring;
#[cfg(feature = "sim")]
pub mod sim;
mod snapshot;
pub mod space;
mod span;
mod status;

pub use crate::allocator::{
    Allocator, Answer, Config, ConfigError, Error, Event, InitMode, InitModeError, Outcome,
    Refusal, TakeoverRefusal, Ticket, Transmit,
};
pub use crate::ledger::{ANONYMOUS, Holding};
pub use crate::message::{Message, State};
pub use crate::peer::{PeerId, PeerIdError};
pub use crate::ring::Ring;
pub use crate::snapshot::{Snapshot, SnapshotEntry, SnapshotError, SnapshotRing, SnapshotVoter};
pub use crate::space::Space;
pub use crate::span::{AddressRange, Family, Span};
pub use crate::status::{
    Donated, DoubtStatus, EntryStatus, HoldCause, HoldStatus, OwnerStatus, PaxosStatus, Phase,
    RenumberStatus, Status,
};
