//! Gob messages on the gossip channel [`CHANNEL`], byte compatible with Weave Net 2.x.
//!
//! Broadcasts and periodic gossip carry a state; a message to one peer is a tag byte and then a
//! state or a range. For an IPv6 universe, which Weave Net does not have, the same structs carry
//! addresses as byte strings of 16, on [`CHANNEL_V6`]. Whatever bytes come in, decoding ends with a
//! value or an error; memory is bounded by the limits of the gob decoder.

mod direct;
mod encode;
mod range;
mod schema;
mod state;
#[cfg(test)]
mod tests;

use weave_mesh::gob;
use weave_mesh::peer::PeerName;

use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::span::Family;

/// The channel of an IPv4 universe.
pub const CHANNEL: &str = "IPallocation";

/// The channel of an IPv6 universe.
pub const CHANNEL_V6: &str = "IPallocation6";

/// The channel for addresses of a family.
#[must_use]
pub const fn channel(family: Family) -> &'static str {
    match family {
        Family::V4 => CHANNEL,
        Family::V6 => CHANNEL_V6,
    }
}

/// The payload of a broadcast or of periodic gossip. A ring without entries is left out: it would
/// keep a receiver from sending its own.
#[must_use]
pub fn encode_state(state: &State) -> Vec<u8> {
    let mut payload = Vec::new();
    encode::encode(state, &mut payload);
    payload
}

/// Reads the payload of a broadcast or of periodic gossip. Fields this version does not know are
/// skipped.
///
/// # Errors
///
/// [`DecodeError`]; the payload is to be dropped.
pub fn decode_state(payload: &[u8]) -> Result<State, DecodeError> {
    direct::decode(payload).map_or_else(|| state::decode(payload), Ok)
}

/// The payload of a message to one peer.
#[must_use]
pub fn encode_message(message: &Message) -> Vec<u8> {
    match message {
        Message::SpaceRequest(range) => range::encode(TAG_SPACE_REQUEST, *range),
        Message::SpaceDenied(range) => range::encode(TAG_SPACE_DENIED, *range),
        Message::RingUpdate(state) => {
            let mut payload = vec![TAG_RING_UPDATE];
            encode::encode(state, &mut payload);
            payload
        }
        Message::Removed(peer) => {
            let mut payload = vec![TAG_RING_UPDATE];
            encode::encode_removal(*peer, &mut payload);
            payload
        }
    }
}

/// Reads the payload of a message to one peer.
///
/// # Errors
///
/// [`DecodeError`]; the payload is to be dropped. A payload that is empty or has an unknown tag is
/// such an error and nothing worse.
pub fn decode_message(payload: &[u8]) -> Result<Message, DecodeError> {
    let (tag, body) = payload.split_first().ok_or(DecodeError::Empty)?;
    match *tag {
        TAG_SPACE_REQUEST => range::decode(body).map(Message::SpaceRequest),
        TAG_RING_UPDATE => direct::decode(body).map_or_else(
            || state::decode_update(body),
            |state| Ok(Message::RingUpdate(state)),
        ),
        TAG_SPACE_DENIED => range::decode(body).map(Message::SpaceDenied),
        other => Err(DecodeError::UnknownTag(other)),
    }
}

/// Why a payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The gob stream is broken, or does not hold what is needed.
    #[error(transparent)]
    Gob(#[from] gob::Error),
    /// A message to one peer has no bytes.
    #[error("message has no tag")]
    Empty,
    /// A message to one peer is of a kind this version does not know.
    #[error("message has unknown tag {0}")]
    UnknownTag(u8),
    /// A range ends before it starts.
    #[error("range ends before it starts")]
    Reversed,
    /// An address is neither a number nor 16 bytes, or families are mixed.
    #[error("field \"{0}\" is not an address of the message's family")]
    Address(&'static str),
}

impl From<PeerName> for PeerId {
    fn from(name: PeerName) -> Self {
        Self(name.into())
    }
}

impl TryFrom<PeerId> for PeerName {
    type Error = <Self as TryFrom<u64>>::Error;

    fn try_from(peer: PeerId) -> Result<Self, Self::Error> {
        Self::try_from(peer.0)
    }
}

const TAG_SPACE_REQUEST: u8 = 0;
const TAG_RING_UPDATE: u8 = 1;
const TAG_SPACE_DENIED: u8 = 2;
