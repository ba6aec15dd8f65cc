//! From what waits for a connection to messages, in the state of the moment at which they go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::BytesMut;

use super::{ConnectionId, Node, TOPOLOGY};
use crate::gossip::outbox::{Slot, SlotKey};
use crate::gossip::sync::{SyncItem, SyncQueue};
use crate::peer::{Head, PeerName, PeerRecord};
use crate::topology::Base;
use crate::wire::message::Message;
use crate::wire::sync::Sync;
use crate::wire::update::{self, EncodedRecord};

impl Node {
    /// Writes what a slot asks for.
    pub(super) fn put_slot(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        key: &SlotKey,
        slot: &Slot,
    ) {
        if &*key.channel == TOPOLOGY {
            for payload in self.updates(id, slot) {
                self.put_payload(id, chunk, key, &payload);
            }
        } else if slot.state {
            self.put_state(id, chunk, key);
        }
        for payload in &slot.payloads {
            self.put_payload(id, chunk, key, payload);
        }
    }

    /// Writes the state of a channel unless the neighbour is known to hold it.
    fn put_state(&mut self, id: ConnectionId, chunk: &mut BytesMut, key: &SlotKey) {
        let Some(channel) = self.channels.get_mut(&key.channel) else {
            return;
        };
        let digest = channel.digest();
        let told = self.knowledge.of(id).told.get(&key.channel).copied();
        if digest.is_some() && digest == told {
            self.counters.gossip_known += 1;
            return;
        }
        let Some(state) = channel.state() else {
            return;
        };
        self.put_payload(id, chunk, key, &state);
        if let Some(digest) = digest {
            let told = &mut self.knowledge.of(id).told;
            told.insert(Arc::clone(&key.channel), digest);
        }
    }

    fn put_payload(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        key: &SlotKey,
        payload: &[u8],
    ) {
        let channel = &*key.channel;
        let message = match key.source {
            Some(source) => Message::Broadcast {
                channel,
                source,
                payload,
            },
            None => Message::Gossip {
                channel,
                sender: self.topology.local().name,
                payload,
            },
        };
        let message = message.emit();
        self.traffic.sent(channel, message.len());
        self.put_frame(id, chunk, &message);
    }

    /// Writes digests and deltas.
    pub(super) fn put_exchange(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        queue: SyncQueue,
    ) {
        if queue.is_digest_due {
            let digest = self.routing.digest(&self.topology);
            self.put_message(id, chunk, TOPOLOGY, &Sync::Digest(digest));
        }
        for (channel, is_answer_wanted) in &queue.channels {
            let known = self.channels.get_mut(channel);
            // Who asks about a channel that has no digest is to send its state.
            let digest = known.and_then(|known| known.digest()).unwrap_or(0);
            let message = Sync::Channel {
                channel,
                digest,
                is_answer_wanted: *is_answer_wanted,
            };
            self.put_message(id, chunk, channel, &message);
        }
        if !queue.wants.is_empty() {
            let wants = Sync::Wants(queue.wants.into_iter().collect());
            self.put_message(id, chunk, TOPOLOGY, &wants);
        }
        let mut records = queue.records;
        let mut named = queue.heads;
        let us = self.topology.local().name;
        if records.get(&us) == Some(&Base::Recent) && self.knowledge.of(id).own_version == 0 {
            // It may have heard of us from others and then needs a part of our record only.
            records.remove(&us);
            named.insert(us);
        }
        self.put_heads(id, chunk, queue.are_heads_due, &named);
        self.put_records(id, chunk, records);
    }

    /// Writes all heads, or those of some records that the neighbour is not known to hold.
    fn put_heads(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        is_complete: bool,
        names: &BTreeSet<PeerName>,
    ) {
        let heads: Vec<_> = if is_complete {
            self.shared_heads()
        } else {
            let records = names.iter().filter_map(|name| self.topology.get(*name));
            let heads = records.map(PeerRecord::head);
            heads
                .filter(|head| !self.knowledge.holds(id, *head))
                .collect()
        };
        self.counters.gossip_known += (names.len().saturating_sub(heads.len())) as u64;
        if is_complete || !heads.is_empty() {
            let heads = Sync::Heads { is_complete, heads };
            self.put_message(id, chunk, TOPOLOGY, &heads);
        }
    }

    /// The heads of the records that the digest is made of.
    pub(super) fn shared_heads(&mut self) -> Vec<Head> {
        let all = self.routing.all_at_this_moment(&self.topology);
        let shared = self.topology.records();
        let shared = shared.filter(|r| r.version > 0 && all.contains_key(&r.name));
        shared.map(PeerRecord::head).collect()
    }

    /// Writes records up to about [`MAX_UPDATE`] bytes; the rest waits for the next turn.
    fn put_records(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        records: BTreeMap<PeerName, Base>,
    ) {
        let us = self.topology.local().name;
        let mut updates = Vec::new();
        let mut size = 0;
        for (name, base) in self.in_order(records) {
            if size > MAX_UPDATE {
                self.put_sync(id, SyncItem::Record(name, base));
                continue;
            }
            let Some(head) = self.topology.get(name).map(PeerRecord::head) else {
                continue;
            };
            if self.knowledge.holds(id, head) {
                self.counters.gossip_known += 1;
                continue;
            }
            let base = match self.knowledge.of(id).own_version {
                version if version > 0 && name == us => base.min(Base::Version(version)),
                _ => base,
            };
            let Some(update) = self.topology.delta(name, base) else {
                continue;
            };
            size += update.size();
            updates.push(update);
            self.knowledge.learn(id, head);
            if name == us {
                self.knowledge.of(id).own_version = head.version;
            }
        }
        if !updates.is_empty() {
            self.put_message(id, chunk, TOPOLOGY, &Sync::Records(updates));
        }
    }

    /// Records in the order in which to send them: many of them by distance, see
    /// [`Node::updates`].
    fn in_order(&mut self, mut records: BTreeMap<PeerName, Base>) -> Vec<(PeerName, Base)> {
        if records.len() <= MANY {
            return records.into_iter().collect();
        }
        let order = self.by_distance().into_iter();
        order
            .filter_map(|name| records.remove_entry(&name))
            .collect()
    }

    fn put_message(
        &mut self,
        id: ConnectionId,
        chunk: &mut BytesMut,
        channel: &str,
        message: &Sync<'_>,
    ) {
        let message = Message::Sync {
            body: &message.emit(),
        }
        .emit();
        self.traffic.sent(channel, message.len());
        self.put_frame(id, chunk, &message);
    }

    /// The updates that carry what a topology slot asks for.
    ///
    /// A large state goes as several, nearest peers first: each is then connected to what the
    /// receiver has, which collects what is not.
    fn updates(&mut self, id: ConnectionId, slot: &Slot) -> Vec<Vec<u8>> {
        let names = if slot.state {
            self.by_distance()
        } else {
            self.lacking(id, slot)
        };
        let mut updates = Vec::new();
        let mut rest = &names[..];
        while !rest.is_empty() {
            let mut size = 0;
            let fits = rest.iter().take_while(|name| {
                let own = self.topology.encoded(**name).map_or(0, EncodedRecord::size);
                size += own;
                size <= MAX_UPDATE || size == own
            });
            let (batch, others) = rest.split_at(fits.count());
            let encoded = batch.iter().filter_map(|name| self.topology.encoded(*name));
            updates.push(update::join(encoded));
            rest = others;
        }
        for name in names {
            if let Some(record) = self.topology.get(name) {
                self.knowledge.learn(id, record.head());
            }
        }
        updates
    }

    /// Which of the records that a slot asks for the neighbour lacks, in the order to send them.
    ///
    /// A router collects what it cannot reach one second after an update. So our own record, which
    /// lists the way to all others, goes with them unless it is held in this version, and a record
    /// that nobody reachable lists yet is withheld until somebody does.
    fn lacking(&mut self, id: ConnectionId, slot: &Slot) -> Vec<PeerName> {
        let us = self.topology.local().name;
        let reachable = self.routing.all_at_this_moment(&self.topology);
        let mut asked = std::mem::take(&mut self.knowledge.of(id).withheld);
        asked.extend(&slot.names);
        if slot.is_lacking {
            asked.extend(reachable.keys());
        }
        let known = asked
            .into_iter()
            .filter(|name| self.topology.get(*name).is_some());
        let (mut names, withheld): (BTreeSet<_>, _) =
            known.partition(|name| reachable.contains_key(name));
        self.knowledge.of(id).withheld = withheld;
        let is_held = |name: PeerName| {
            let record = self.topology.get(name);
            record.is_none_or(|record| self.knowledge.holds(id, record.head()))
        };
        let before = names.len();
        names.retain(|name| !is_held(*name));
        self.counters.gossip_known += (before - names.len()) as u64;
        if !names.is_empty() && !is_held(us) {
            names.insert(us);
        }
        if names.len() <= MANY {
            return names.into_iter().collect();
        }
        let order = self.by_distance().into_iter();
        order.filter(|name| names.contains(name)).collect()
    }

    /// All known peers, by the number of connections between them and us.
    fn by_distance(&mut self) -> Vec<PeerName> {
        let us = self.topology.local().name;
        self.routing.graph(&self.topology).by_distance(us)
    }
}

/// Bytes of records in one message, unless a single record is larger.
const MAX_UPDATE: usize = 256 << 10;
/// Records up to which their order is of no importance: they go in one message.
const MANY: usize = 16;
