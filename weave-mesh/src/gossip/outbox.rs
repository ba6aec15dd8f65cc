//! What waits to be written on one connection.
//!
//! Order: control messages (heartbeats, overlay control), then unicasts, then, in turns, what waits
//! for digests and deltas and gossip slots in the order in which they were filled. A slot belongs to one channel and, for broadcasts, one source.
//! Filling a filled slot merges, so the memory of an outbox does not grow with the time for which
//! its connection is stalled. Every queue has a bound; what does not fit is counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::sync::{SyncItem, SyncQueue};
use crate::peer::PeerName;

/// Which slot of a connection: the channel and, for broadcasts, the originator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotKey {
    /// Channel name.
    pub(crate) channel: Arc<str>,
    /// `None` for gossip, the originator for broadcasts.
    pub(crate) source: Option<PeerName>,
}

/// What is put into a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The channel's complete state, encoded when it is sent.
    State,
    /// Topology records of these peers, as they are when they are sent, unless the neighbour holds
    /// them.
    Names(BTreeSet<PeerName>),
    /// All topology records but those that the neighbour holds.
    Lacking,
    /// A payload that replaces an older one.
    Latest(Bytes),
    /// A payload that must not replace others: its meaning is unknown.
    Also(Bytes),
}

/// The merged contents of one slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Send the complete state.
    pub(crate) state: bool,
    /// Send the records that the neighbour lacks (topology only).
    pub(crate) is_lacking: bool,
    /// Send the records of these peers (topology only; empty when `state` is set).
    pub(crate) names: BTreeSet<PeerName>,
    /// Send these payloads.
    pub(crate) payloads: VecDeque<Bytes>,
}

/// The next thing to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A protocol message that is encoded already.
    Message(Bytes),
    /// A slot, to be encoded from the state of this moment.
    Slot(SlotKey, Slot),
    /// Digests and deltas, to be encoded from the state of this moment.
    Sync(SyncQueue),
}

/// The queues of one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    control: VecDeque<Bytes>,
    unicasts: VecDeque<Bytes>,
    unicast_bytes: usize,
    slots: BTreeMap<SlotKey, Slot>,
    order: VecDeque<SlotKey>,
    sync: SyncQueue,
    /// Digests and deltas had their turn last.
    was_sync: bool,
    /// Items that were merged into what waited already.
    coalesced: u64,
}

impl Outbox {
    /// Queues a control message; false if the queue is full, which only a stalled connection
    /// reaches.
    #[must_use]
    pub(crate) fn push_control(&mut self, message: Bytes) -> bool {
        if self.control.len() >= MAX_CONTROL {
            return false;
        }
        self.control.push_back(message);
        true
    }

    /// Queues a unicast message; false if it does not fit.
    #[must_use]
    pub(crate) fn push_unicast(&mut self, message: Bytes) -> bool {
        let full = self.unicasts.len() >= MAX_UNICASTS
            || (!self.unicasts.is_empty()
                && self.unicast_bytes.saturating_add(message.len()) > MAX_UNICAST_BYTES);
        if full {
            return false;
        }
        self.unicast_bytes += message.len();
        self.unicasts.push_back(message);
        true
    }

    /// Merges `item` into a slot and returns how many payloads were dropped to stay in bounds.
    #[must_use]
    pub(crate) fn put(&mut self, key: SlotKey, item: Item) -> usize {
        if !self.slots.contains_key(&key) {
            if self.slots.len() >= MAX_SLOTS {
                return 1;
            }
            self.order.push_back(key.clone());
        } else {
            self.coalesced += 1;
        }
        self.slots.entry(key).or_default().merge(item)
    }

    /// Merges `item` into the digests and deltas that wait.
    pub(crate) fn put_sync(&mut self, item: SyncItem) {
        self.coalesced += u64::from(!self.sync.put(item));
    }

    /// Takes the number of items that were merged into what waited already.
    pub(crate) fn take_coalesced(&mut self) -> u64 {
        std::mem::take(&mut self.coalesced)
    }

    /// Takes what is to be written next.
    pub(crate) fn pop(&mut self) -> Option<Next> {
        if let Some(message) = self.control.pop_front() {
            return Some(Next::Message(message));
        }
        if let Some(message) = self.unicasts.pop_front() {
            self.unicast_bytes -= message.len();
            return Some(Next::Message(message));
        }
        let is_turn = !self.was_sync || self.order.is_empty();
        let is_sync = is_turn && !self.sync.is_empty();
        self.was_sync = is_sync;
        if is_sync {
            return Some(Next::Sync(std::mem::take(&mut self.sync)));
        }
        let key = self.order.pop_front()?;
        let slot = self.slots.remove(&key)?;
        Some(Next::Slot(key, slot))
    }
}

impl Slot {
    /// Merges and returns the number of payloads dropped to stay in bounds.
    fn merge(&mut self, item: Item) -> usize {
        match item {
            Item::State => {
                self.state = true;
                self.names.clear();
            }
            Item::Lacking => self.is_lacking = true,
            Item::Names(names) => {
                if !self.state {
                    self.names.extend(names);
                }
            }
            Item::Latest(payload) => {
                self.payloads.clear();
                self.payloads.push_back(payload);
            }
            Item::Also(payload) => {
                self.payloads.push_back(payload);
                return self.trim();
            }
        }
        0
    }

    /// Drops the oldest payloads until the bounds hold; one payload always stays.
    fn trim(&mut self) -> usize {
        let mut bytes: usize = self.payloads.iter().map(Bytes::len).sum();
        let mut dropped = 0;
        while self.payloads.len() > 1
            && (self.payloads.len() > MAX_PAYLOADS || bytes > MAX_PAYLOAD_BYTES)
        {
            if let Some(oldest) = self.payloads.pop_front() {
                bytes -= oldest.len();
                dropped += 1;
            }
        }
        dropped
    }
}

/// Control messages that may wait. The two overlays send a few per second at most.
const MAX_CONTROL: usize = 256;
/// Unicast messages that may wait.
const MAX_UNICASTS: usize = 1024;
/// Bytes of unicast messages that may wait; one message may be larger.
const MAX_UNICAST_BYTES: usize = 4 << 20;
/// Filled slots: channels times broadcast sources.
const MAX_SLOTS: usize = 4096;
/// Payloads of an unknown channel that may wait in one slot.
const MAX_PAYLOADS: usize = 64;
/// Bytes of payloads of an unknown channel that may wait in one slot.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(channel: &str) -> SlotKey {
        SlotKey {
            channel: Arc::from(channel),
            source: None,
        }
    }

    fn name(n: u64) -> PeerName {
        PeerName::try_from(n).unwrap()
    }

    #[test]
    fn control_goes_before_unicasts_and_those_before_gossip() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.put(key("a"), Item::State), 0);
        assert!(outbox.push_unicast(Bytes::from_static(b"unicast")));
        assert!(outbox.push_control(Bytes::from_static(b"control")));

        assert_eq!(
            outbox.pop(),
            Some(Next::Message(Bytes::from_static(b"control")))
        );
        assert_eq!(
            outbox.pop(),
            Some(Next::Message(Bytes::from_static(b"unicast")))
        );
        assert!(matches!(outbox.pop(), Some(Next::Slot(k, s)) if k == key("a") && s.state));
        assert_eq!(outbox.pop(), None);
    }

    #[test]
    fn a_slot_merges_what_waits() {
        let mut outbox = Outbox::default();
        assert_eq!(
            outbox.put(key("a"), Item::Latest(Bytes::from_static(b"1"))),
            0
        );
        assert_eq!(outbox.put(key("b"), Item::State), 0);
        assert_eq!(
            outbox.put(key("a"), Item::Latest(Bytes::from_static(b"2"))),
            0
        );

        let Some(Next::Slot(first, slot)) = outbox.pop() else {
            panic!("a slot waits")
        };
        assert_eq!(first, key("a"));
        assert_eq!(slot.payloads, [Bytes::from_static(b"2")]);
        assert!(matches!(outbox.pop(), Some(Next::Slot(k, _)) if k == key("b")));
    }

    #[test]
    fn complete_state_covers_single_records() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.put(key("t"), Item::Names([name(1)].into())), 0);
        assert_eq!(outbox.put(key("t"), Item::Names([name(2)].into())), 0);
        assert_eq!(outbox.put(key("t"), Item::State), 0);
        assert_eq!(outbox.put(key("t"), Item::Names([name(3)].into())), 0);

        let Some(Next::Slot(_, slot)) = outbox.pop() else {
            panic!("a slot waits")
        };

        assert!(slot.state);
        assert!(slot.names.is_empty());
    }

    #[test]
    fn payloads_of_unknown_meaning_queue_up_to_a_bound() {
        let mut outbox = Outbox::default();
        let dropped: usize = (0..MAX_PAYLOADS + 3)
            .map(|i| outbox.put(key("x"), Item::Also(Bytes::from(i.to_string()))))
            .sum();

        let Some(Next::Slot(_, slot)) = outbox.pop() else {
            panic!("a slot waits")
        };

        assert_eq!(dropped, 3);
        assert_eq!(slot.payloads.len(), MAX_PAYLOADS);
        assert_eq!(slot.payloads[0], Bytes::from_static(b"3"));
    }

    #[test]
    fn deltas_and_gossip_take_turns() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.put(key("a"), Item::State), 0);
        assert_eq!(outbox.put(key("b"), Item::State), 0);
        outbox.put_sync(SyncItem::Digest);

        assert!(matches!(outbox.pop(), Some(Next::Sync(_))));
        outbox.put_sync(SyncItem::Digest);
        assert!(matches!(outbox.pop(), Some(Next::Slot(k, _)) if k == key("a")));
        assert!(matches!(outbox.pop(), Some(Next::Sync(_))));
        assert!(matches!(outbox.pop(), Some(Next::Slot(k, _)) if k == key("b")));
        assert_eq!(outbox.pop(), None);
    }

    #[test]
    fn queues_refuse_what_is_over_their_bound() {
        let mut outbox = Outbox::default();
        for _ in 0..MAX_CONTROL {
            assert!(outbox.push_control(Bytes::new()));
        }
        assert!(!outbox.push_control(Bytes::new()));

        assert!(outbox.push_unicast(Bytes::from(vec![0; MAX_UNICAST_BYTES + 1])));
        assert!(!outbox.push_unicast(Bytes::from_static(b"x")));

        for n in 0..MAX_SLOTS as u64 {
            let key = SlotKey {
                channel: Arc::from("c"),
                source: Some(name(n + 1)),
            };
            assert_eq!(outbox.put(key, Item::State), 0);
        }
        assert_eq!(outbox.put(key("one more"), Item::State), 1);
    }
}
