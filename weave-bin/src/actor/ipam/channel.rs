//! The allocator's gossip channel: between the mesh's task and the allocator's.
//!
//! The mesh asks for state and delivers payloads synchronously, so this side never waits: it
//! encodes the last state that was saved, and puts decoded payloads into a bounded queue. A full
//! queue drops the payload and counts it; gossip repeats, and requests for space are asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use weave_ipam::mesh::{decode_message, decode_state, encode_state};
use weave_ipam::{Message, State};
use weave_mesh::gossip::{Channel, ChannelError, Relay};
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
