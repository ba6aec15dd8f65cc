//! What the user of the mesh implements for each kind of shared state.

use bytes::Bytes;

use crate::peer::PeerName;

/// One gossip channel: a name (given when it is registered) and the state behind it.
///
/// The calls come from the task that owns the mesh, one at a time, so an implementation answers
/// from memory and never blocks. State must merge in any order and any number of times: peers see
/// the same news more than once and in different orders.
pub trait Channel: Send {
    /// The complete state, encoded at the moment it is about to be sent.
    ///
    /// `None` says that there is nothing to tell; then nothing is sent.
    fn state(&mut self) -> Option<Bytes>;

    /// The complete state in one number, by which two peers find out that they hold the same
    /// without sending it: equal states have equal digests, whatever the way they came about, and
    /// different ones different digests, up to chance. Neighbours that take digests get the state
    /// only if theirs differs.
    ///
    /// `None`, the default, says that there is no such number; the state is sent then.
    fn digest(&mut self) -> Option<u64> {
        None
    }

    /// Merges what a neighbour gossiped and says what to pass on to random neighbours.
    ///
    /// Answer [`Relay::Nothing`] when nothing was learnt: that ends the spreading of old news.
    ///
    /// # Errors
    ///
    /// An error ends the connection the payload came from, with the error as the reason.
    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError>;

    /// Merges a broadcast of `source` and says what to pass on along the tree of `source`.
    ///
    /// # Errors
    ///
    /// An error ends the connection the payload came from, with the error as the reason.
    fn handle_broadcast(&mut self, source: PeerName, payload: &[u8])
    -> Result<Relay, ChannelError>;

    /// Handles a message that `source` sent to this peer alone.
    ///
    /// # Errors
    ///
    /// An error ends the connection the payload came from, with the error as the reason.
    fn handle_unicast(&mut self, source: PeerName, payload: &[u8]) -> Result<(), ChannelError>;

    /// Tells that `peers` have left the mesh: no path of connections leads to them any more.
    fn peers_gone(&mut self, peers: &[PeerName]) {
        let _ = peers;
    }
}

/// A digest of bytes that are equal exactly if states are: FNV-1a with 64 bits, in all versions.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// What to pass on after a payload was merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relay {
    /// The payload held no news.
    Nothing,
    /// This peer's complete state, encoded when it is sent.
    State,
    /// These bytes. They replace an older payload still waiting in the same slot.
    Payload(Bytes),
}

impl Relay {
    /// [`Relay::State`] if a payload held news. What taught nothing is not passed on: that ends the
    /// relay.
    #[must_use]
    pub fn state_if(is_news: bool) -> Self {
        if is_news { Self::State } else { Self::Nothing }
    }
}

/// Why a channel refuses a payload. The text becomes the reason for which the connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChannelError(String);

impl ChannelError {
    /// Wraps a reason; it appears in the log and in the status of the connection's target.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_fnv_1a() {
        assert_eq!(digest_of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest_of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(digest_of(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
