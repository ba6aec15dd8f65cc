//! The gossip channel `nameserver`: between the mesh's task and the one that owns the names.
//!
//! The mesh asks for state and delivers payloads synchronously, so this side never waits: it writes
//! what the store holds, and puts decoded messages into a bounded queue. A full queue drops the
//! message and counts it; gossip repeats.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use weave_mesh::gossip::{Channel, ChannelError, Relay, digest_of};
use weave_mesh::peer::PeerName;

use super::counters::Counters;
use super::gossip::{self, Message};
use super::store::Store;

/// Name of the channel.
pub const NAME: &str = "nameserver";

/// What the mesh delivered.
#[derive(Debug)]
pub(super) enum Input {
    /// What a neighbour gossiped.
    Gossip(Message),
    /// What `source` broadcast.
    Broadcast { source: PeerName, message: Message },
    /// A message from so many seconds ahead of our clock, or behind it if negative: it is not used.
    Skewed(i64),
}

/// The mesh's side of the channel.
#[derive(Debug)]
pub struct NameChannel {
    store: watch::Receiver<Store>,
    inputs: mpsc::Sender<Input>,
    counters: Arc<Counters>,
    /// The last revision that was asked about, with its digest.
    digested: Option<(u64, u64)>,
}

impl NameChannel {
    /// The channel that tells what `store` holds and puts what it hears into the returned queue.
    pub(super) fn new(
        store: watch::Receiver<Store>,
        counters: Arc<Counters>,
    ) -> (Self, mpsc::Receiver<Input>) {
        let (inputs, inbox) = mpsc::channel(QUEUE);
        let channel = Self {
            store,
            inputs,
            counters,
            digested: None,
        };
        (channel, inbox)
    }

    fn deliver(
        &self,
        payload: &[u8],
        input: impl FnOnce(Message) -> Input,
    ) -> Result<Relay, ChannelError> {
        let message =
            gossip::decode(payload).map_err(|error| ChannelError::new(error.to_string()))?;
        let unreadable = u64::try_from(message.unreadable).unwrap_or(u64::MAX);
        self.counters
            .gossip_refused
            .fetch_add(unreadable, Ordering::Relaxed);
        let input = match skew(message.timestamp, unix_seconds()) {
            Some(seconds) => Input::Skewed(seconds),
            None => input(message),
        };
        if self.inputs.try_send(input).is_err() {
            self.counters.gossip_dropped.fetch_add(1, Ordering::Relaxed);
        }
        // The task relays after it has merged.
        Ok(Relay::Nothing)
    }
}

impl Channel for NameChannel {
    fn state(&mut self) -> Option<Bytes> {
        let store = self.store.borrow();
        (!store.is_empty()).then(|| gossip::encode(unix_seconds(), &store).into())
    }

    fn digest(&mut self) -> Option<u64> {
        let store = self.store.borrow();
        let revision = store.revision();
        if let Some((known, digest)) = self.digested
            && known == revision
        {
            return Some(digest);
        }
        let digest = digest_of(&gossip::encode(0, &store));
        self.digested = Some((revision, digest));
        Some(digest)
    }

    fn handle_gossip(&mut self, payload: &[u8]) -> Result<Relay, ChannelError> {
        self.deliver(payload, Input::Gossip)
    }

    fn handle_broadcast(
        &mut self,
        source: PeerName,
        payload: &[u8],
    ) -> Result<Relay, ChannelError> {
        self.deliver(payload, |message| Input::Broadcast { source, message })
    }

    fn handle_unicast(&mut self, _: PeerName, _: &[u8]) -> Result<(), ChannelError> {
        // Nobody sends any; Weave Net ignores them too.
        Ok(())
    }
}

/// How far ahead a message from `then` is at `now`, if that is too far either way.
fn skew(then: i64, now: i64) -> Option<i64> {
    let ahead = then.saturating_sub(now);
    (ahead.unsigned_abs() > SKEW_SECONDS).then_some(ahead)
}

/// The wall clock, in seconds since 1970.
pub(super) fn unix_seconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// How far a message's clock may be off ours (Weave Net's name server: 15 minutes).
pub(super) const SKEW_SECONDS: u64 = 900;
const QUEUE: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(n: u64) -> PeerName {
        PeerName::try_from(n).unwrap()
    }

    fn store(us: u64, names: &[&str]) -> Store {
        let mut store = Store::new(peer(us));
        for name in names {
            store.add(name, "c", Ipv4Addr::LOCALHOST).unwrap();
        }
        store
    }

    fn channel(store: Store) -> (NameChannel, mpsc::Receiver<Input>, watch::Sender<Store>) {
        let (sender, receiver) = watch::channel(store);
        let (channel, inbox) = NameChannel::new(receiver, Arc::default());
        (channel, inbox, sender)
    }

    /// N5.
    #[test]
    fn messages_from_another_time_are_reported_not_used_and_end_no_connection() {
        let (mut channel, mut inbox, _sender) = channel(store(1, &[]));
        let told = store(2, &["a.weave.local."]);
        let limit = i64::try_from(SKEW_SECONDS).unwrap();
        for (offset, is_used) in [(0, true), (limit + 60, false), (-limit - 60, false)] {
            let payload = gossip::encode(unix_seconds() + offset, &told);

            assert_eq!(channel.handle_gossip(&payload), Ok(Relay::Nothing));
            let input = inbox.try_recv().unwrap();
            assert_eq!(matches!(input, Input::Gossip(_)), is_used, "{offset}");
        }
        assert_eq!(skew(100, 1000), None);
        assert_eq!(skew(99, 1000), Some(-901));
        assert_eq!(skew(i64::MIN, i64::MAX), Some(i64::MIN));
    }

    #[test]
    fn what_is_no_message_ends_the_connection_and_what_has_no_room_is_counted() {
        let (mut channel, _inbox, _sender) = channel(store(1, &[]));
        assert!(channel.handle_gossip(b"nonsense").is_err());
        assert!(channel.handle_broadcast(peer(2), b"").is_err());
        assert_eq!(channel.handle_unicast(peer(2), b"nonsense"), Ok(()));

        let payload = gossip::encode(unix_seconds(), &store(2, &["a.weave.local."]));
        for _ in 0..QUEUE + 7 {
            let _ = channel.handle_broadcast(peer(2), &payload).unwrap();
        }
        assert_eq!(channel.counters.gossip_dropped.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn digests_are_equal_when_entries_are_and_an_empty_store_tells_nothing() {
        let (mut empty, _inbox, sender) = channel(store(1, &[]));
        assert_eq!(empty.state(), None);
        let nothing = empty.digest();

        sender.send_modify(|held| *held = store(1, &["a.weave.local.", "b.weave.local."]));
        let (mut other, _inbox, _sender) = channel(store(1, &["b.weave.local.", "a.weave.local."]));

        assert_ne!(empty.digest(), nothing);
        assert_eq!(empty.digest(), other.digest());
        assert_eq!(empty.digest(), other.digest(), "asked again");
        assert!(empty.state().is_some());
    }
}
