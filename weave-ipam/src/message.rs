//! What allocators say to each other.
//!
//! A [`State`] carries nicknames and either votes (the sender has no ring) or the ring. Presence
//! matters: a voter sends `votes` even when empty, an observer leaves them out, and an empty ring
//! is never sent (it would suppress the reply of a peer that has one).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::consensus::Votes;
use crate::peer::PeerId;
use crate::ring::Ring;
use crate::span::AddressRange;

/// A gossip message: the complete state of the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Sender's clock, seconds since 1970. Receivers ignore it.
    pub unix_seconds: i64,
    /// Nicknames of the peers the sender knows.
    pub nicknames: BTreeMap<PeerId, String>,
    /// Votes, if the sender is a voter without a ring.
    pub votes: Option<Votes>,
    /// The ring, if the sender has one.
    pub ring: Option<Arc<Ring>>,
}

impl State {
    /// A state that asks for the receiver's ring. With votes, even none, a receiver without a ring
    /// does not begin to form one.
    pub(crate) fn request() -> Self {
        Self {
            votes: Some(Votes::new()),
            ..Self::default()
        }
    }
}

/// A message to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Please give me space in this range: a subnet, or one address.
    SpaceRequest(AddressRange),
    /// Here is what I know. Answers a request, and a broadcast that carried no ring.
    RingUpdate(State),
    /// I have nothing to give in this range (a copy of the request's).
    SpaceDenied(AddressRange),
    /// People say that this peer is gone for ever, and the sender takes over what it has. Please
    /// send me your ring. A peer of the old kind reads the request alone.
    Removed(PeerId),
}

impl Message {
    /// Puts the sender's clock into a message that carries one.
    pub fn stamp(&mut self, unix_seconds: i64) {
        if let Self::RingUpdate(state) = self {
            state.unix_seconds = unix_seconds;
        }
    }
}
