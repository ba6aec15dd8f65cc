//! The allocator's gossip channel: between the mesh's task and the allocator's.
//!
//! The mesh asks for state and delivers payloads synchronously, so this side never waits: it
//! encodes the last state that was saved, and puts decoded payloads into a bounded queue. A full
//! queue drops the payload and counts it; gossip repeats, and requests for space are asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use weave_ipam::mesh::{decode_message, decode_state, encode_state};
use weave_ipam::ring::Ring;
use weave_ipam::{Message, PeerId, State};
use weave_mesh::gossip::{Channel, ChannelError, Relay, digest_of};
use weave_mesh::peer::PeerName;

/// What the mesh delivered.
#[derive(Debug)]
pub(super) enum Input {
    Gossip(State),
    Broadcast { source: PeerName, state: State },
    Unicast { source: PeerName, message: Message },
}

/// The mesh's side of the channel.
#[derive(Debug)]
pub struct IpamChannel {
    saved: watch::Receiver<Option<Arc<State>>>,
    inputs: mpsc::Sender<Input>,
    dropped: Arc<AtomicU64>,
    /// The last saved state that was asked about, with its digest.
    digested: Option<(Arc<State>, u64)>,
}

/// The allocator's side of the channel.
#[derive(Debug)]
pub struct Inbox {
    pub(super) saved: watch::Sender<Option<Arc<State>>>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) dropped: Arc<AtomicU64>,
}

/// Both sides of a channel on which nothing has been said.
pub fn pair() -> (IpamChannel, Inbox) {
    let (inputs, inbox) = mpsc::channel(QUEUE);
    let (publish, saved) = watch::channel(None);
    let dropped = Arc::new(AtomicU64::new(0));
    let channel = IpamChannel {
        saved,
        inputs,
        dropped: Arc::clone(&dropped),
        digested: None,
    };
    (
        channel,
        Inbox {
            saved: publish,
            inputs: inbox,
            dropped,
        },
    )
}

impl IpamChannel {
    fn deliver(&self, input: Input) {
        if self.inputs.try_send(input).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Channel for IpamChannel {
    fn state(&mut self) -> Option<Bytes> {
        let saved = self.saved.borrow().clone()?;
        let state = State {
            unix_seconds: unix_seconds(),
            ..State::clone(&saved)
        };
        Some(encode_state(&state).into())
    }

    fn digest(&mut self) -> Option<u64> {
        let Some(saved) = self.saved.borrow().clone() else {
            return Some(0);
        };
        if let Some((known, digest)) = &self.digested
            && Arc::ptr_eq(known, &saved)
        {
            return Some(*digest);
        }
        let digest = digest_of(&encode_state(&shared(&saved)));
        self.digested = Some((saved, digest));
        Some(digest)
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        let state = decode_state(payload).map_err(refused)?;
        self.deliver(Input::Gossip(state));
        // The allocator relays after it has merged and saved.
        Ok(Relay::Nothing)
    }

    fn handle_broadcast(
        &mut self,
        source: PeerName,
        payload: &[u8],
    ) -> Result<Relay, ChannelError> {
        let state = decode_state(payload).map_err(refused)?;
        self.deliver(Input::Broadcast { source, state });
        Ok(Relay::Nothing)
    }

    fn handle_unicast(&mut self, source: PeerName, payload: &[u8]) -> Result<(), ChannelError> {
        let message = decode_message(payload).map_err(refused)?;
        self.deliver(Input::Unicast { source, message });
        Ok(())
    }
}

/// What two allocators that agree have in common: votes and ring, but not whose copy it is, the
/// clock, or the nicknames that one happens to know.
fn shared(state: &State) -> State {
    let ring = state.ring.as_ref().map(|ring| {
        let (seeds, entries) = (ring.seeds().to_vec(), ring.entries().to_vec());
        Arc::new(Ring::from_parts(ring.universe(), PeerId(0), entries, seeds))
    });
    State {
        unix_seconds: 0,
        nicknames: BTreeMap::new(),
        votes: state.votes.clone(),
        ring,
    }
}

/// The wall clock, in seconds since 1970.
pub(super) fn unix_seconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn refused(error: impl std::fmt::Display) -> ChannelError {
    ChannelError::new(error.to_string())
}

const QUEUE: usize = 256;

#[cfg(test)]
mod tests {
    use weave_ipam::ring::Entry;
    use weave_ipam::{AddressRange, Family, Span};

    use super::*;

    /// The state of a peer whose copy of the ring has one entry of this version.
    fn state(peer: u64, version: u32, nickname: &str) -> Arc<State> {
        let universe = AddressRange {
            family: Family::V4,
            span: Span::new(0x0a20_0000, 0x0a20_0100).unwrap(),
        };
        let entry = Entry {
            token: 0x0a20_0000,
            peer: PeerId(1),
            version,
            free: 7,
        };
        let ring = Ring::from_parts(universe, PeerId(peer), vec![entry], vec![PeerId(1)]);
        Arc::new(State {
            unix_seconds: i64::from(version),
            nicknames: [(PeerId(peer), nickname.to_owned())].into(),
            votes: None,
            ring: Some(Arc::new(ring)),
        })
    }

    #[test]
    fn allocators_that_agree_have_equal_digests() {
        let digest = |saved: Option<Arc<State>>| {
            let (mut channel, inbox) = pair();
            inbox.saved.send_replace(saved);
            let digest = channel.digest();
            assert_eq!(channel.digest(), digest, "asked again");
            digest
        };

        let one = digest(Some(state(1, 3, "one")));

        assert_eq!(one, digest(Some(state(2, 3, "other"))));
        assert_ne!(one, digest(Some(state(1, 4, "one"))));
        assert_ne!(one, digest(None));
        assert!(one.is_some());
    }

    #[test]
    fn a_digest_follows_the_saved_state() {
        let (mut channel, inbox) = pair();
        inbox.saved.send_replace(Some(state(1, 3, "one")));
        let before = channel.digest();

        inbox.saved.send_replace(Some(state(1, 4, "one")));

        assert_ne!(channel.digest(), before);
    }
}
