//! Who gets which gossip.
//!
//! Gossip goes to random neighbours, weighted by how many peers lie behind them; broadcasts along
//! the tree of their source; unicasts to the next hop (Weave Net mesh protocol, sections 5 and 6).
//! Neighbours that take digests and deltas get those instead (`ALGORITHM.md`, section 10). Nobody
//! gets a record that it is known to hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    COMPARE_DELAY, ConnectionId, HEARTBEAT, Node, RELAY_LIMIT, RELAY_PACE, Reason, TOPOLOGY, Timer,
    UnicastError,
};
use crate::gossip::outbox::{Item, SlotKey};
use crate::gossip::sync::SyncItem;
use crate::peer::PeerName;
use crate::topology::Base;
use crate::wire::message::Message;

impl Node {
    /// Queues gossip to random neighbours other than `except`.
    pub(super) fn spread(&mut self, channel: &Arc<str>, except: PeerName, item: &Item) {
        for target in self.gossip_targets(except) {
            self.put(target, channel, None, item.clone());
        }
    }

    /// Has records that are news passed on, and what we know compared with some soon.
    ///
    /// A few are passed on at once. The more there were the last time, the longer the next ones
    /// wait: while a mesh forms, records change faster than they could be of use to anybody.
    pub(super) fn relay_later(&mut self, now: Duration, names: &BTreeSet<PeerName>) {
        self.relays.extend(names);
        let at = self.relay_after.max(now);
        self.timers.set_earliest(Timer::Relay, at);
        self.compare_later(now);
    }

    /// Queues records that are news to random neighbours that may lack them.
    ///
    /// A record whose owner is connected to the target and tells all its neighbours itself, as
    /// peers that take deltas do, is left to the owner.
    pub(super) fn relay(&mut self, now: Duration) {
        let names = std::mem::take(&mut self.relays);
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.relay_after = now + RELAY_PACE.saturating_mul(count).min(RELAY_LIMIT);
        let us = self.topology.local().name;
        let channel = Arc::clone(&self.topology_channel);
        for target in self.gossip_targets(us) {
            let others = names
                .iter()
                .filter(|name| **name != target && !self.is_told_by_owner(**name, target));
            let others: BTreeSet<_> = others.copied().collect();
            if !others.is_empty() {
                self.put(target, &channel, None, Item::Names(others));
            }
        }
    }

    /// Queues a broadcast of `source` to our next hops in its tree, but not to where it came from.
    pub(super) fn pass_on(
        &mut self,
        channel: &Arc<str>,
        source: PeerName,
        from: Option<PeerName>,
        item: &Item,
    ) {
        // A broadcast of ours that comes back must not start anew.
        if from.is_some() && source == self.topology.local().name {
            return;
        }
        let hops = self.routing.hops(&self.topology, source).clone();
        for hop in hops {
            if Some(hop) != from {
                self.put(hop, channel, Some(source), item.clone());
            }
        }
    }

    /// Queues a unicast message to the next hop towards `destination`, never back to `from`.
    pub(super) fn relay_unicast(
        &mut self,
        from: PeerName,
        destination: PeerName,
        message: &Bytes,
    ) -> Result<(), UnicastError> {
        let hop = self
            .routing
            .next_hop(&self.topology, destination)
            .ok_or(UnicastError::NoRoute(destination))?;
        let link = (hop != from)
            .then(|| self.registered.get(&hop))
            .flatten()
            .and_then(|id| self.links.get_mut(id))
            .ok_or(UnicastError::NoConnection(hop))?;
        if !link.outbox.push_unicast(message.clone()) {
            return Err(UnicastError::Congested(hop));
        }
        self.ready.push_back(link.id);
        Ok(())
    }

    /// Queues the complete state of every channel to a new or restarted neighbour, or what lets
    /// the two find out what they lack.
    ///
    /// `is_hurried`: connections come one after another, and one before this one was greeted. Then
    /// heads, which change with each of them, are compared when that is over.
    pub(super) fn greet(&mut self, id: ConnectionId, is_hurried: bool) {
        let session = self.links.get(&id).and_then(|link| link.session());
        let Some(name) = session.map(|session| session.name) else {
            return;
        };
        for channel in self.channel_names() {
            if !self.takes_sync(id) {
                self.put(name, &channel, None, Item::State);
            } else if &*channel == TOPOLOGY {
                if !is_hurried {
                    self.put_sync(id, SyncItem::AllHeads);
                }
            } else {
                self.put_digest_or_state(id, name, &channel);
            }
        }
    }

    /// Queues the state of every channel to random neighbours, as far as they may lack it.
    pub(super) fn gossip_everything(&mut self, now: Duration) {
        self.timers
            .set(Timer::Gossip, now + self.config.gossip_interval);
        self.renew(now);
        let us = self.topology.local().name;
        for channel in self.channel_names() {
            for target in self.gossip_targets(us) {
                let Some(&id) = self.registered.get(&target) else {
                    continue;
                };
                match (self.takes_sync(id), &*channel == TOPOLOGY) {
                    (true, true) => self.put_sync(id, SyncItem::Digest),
                    (true, false) => self.put_digest_or_state(id, target, &channel),
                    (false, true) => self.put(target, &channel, None, Item::Lacking),
                    (false, false) => self.put(target, &channel, None, Item::State),
                }
            }
        }
    }

    /// Tells everything again, now and then, to neighbours that do not compare digests: they may
    /// have collected a record that they held.
    fn renew(&mut self, now: Duration) {
        let neighbours: Vec<_> = self.registered.iter().map(|(n, id)| (*n, *id)).collect();
        for (name, id) in neighbours {
            if self.takes_sync(id) {
                continue;
            }
            let interval = self.config.gossip_interval;
            let jitter = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
            let jitter = Duration::from_micros(self.random.below(jitter.saturating_mul(4)));
            let next = now + 8 * interval + jitter;
            let renewal = self.knowledge.of(id).renewal.get_or_insert(next);
            if *renewal > now {
                continue;
            }
            *renewal = next;
            self.knowledge.forget_all(id);
            for channel in self.channel_names() {
                self.put(name, &channel, None, Item::State);
            }
        }
    }

    pub(super) fn send_heartbeat(&mut self, now: Duration, id: ConnectionId) {
        self.timers.set(Timer::Heartbeat(id), now + HEARTBEAT);
        self.push_control(now, id, Message::Heartbeat.emit());
    }

    /// Queues a control message. A full queue means that nothing was written for long.
    pub(super) fn push_control(&mut self, now: Duration, id: ConnectionId, message: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.outbox.push_control(message.into()) {
            self.ready.push_back(id);
        } else {
            self.end(now, id, Reason::Congested);
        }
    }

    /// Has what we know compared with what some neighbours know, soon.
    pub(super) fn compare_later(&mut self, now: Duration) {
        let jitter = u64::try_from(COMPARE_DELAY.as_micros()).unwrap_or(u64::MAX);
        let at = now + COMPARE_DELAY + Duration::from_micros(self.random.below(jitter));
        self.timers.set_earliest(Timer::Compare, at);
    }

    pub(super) fn gossip_targets(&mut self, except: PeerName) -> Vec<PeerName> {
        self.routing
            .gossip_targets(&self.topology, except, &mut self.random)
    }

    /// Queues an item, in the form that the neighbour takes.
    pub(super) fn put(
        &mut self,
        to: PeerName,
        channel: &Arc<str>,
        source: Option<PeerName>,
        item: Item,
    ) {
        let Some(&id) = self.registered.get(&to) else {
            return;
        };
        let is_sync = &**channel == TOPOLOGY && self.takes_sync(id);
        let us = self.topology.local().name;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match item {
            // Our own record goes at once, of others it is told which there are: of several
            // neighbours that offer one, one is asked for it.
            Item::Names(mut names) if is_sync => {
                if names.remove(&us) {
                    link.outbox.put_sync(SyncItem::Record(us, Base::Recent));
                }
                if !names.is_empty() {
                    link.outbox.put_sync(SyncItem::Heads(names));
                }
            }
            item => {
                let key = SlotKey {
                    channel: Arc::clone(channel),
                    source,
                };
                let dropped = link.outbox.put(key, item);
                self.counters.gossip_dropped += u64::try_from(dropped).unwrap_or(u64::MAX);
            }
        }
        self.counters.gossip_coalesced += link.outbox.take_coalesced();
        self.ready.push_back(id);
    }

    /// Queues something for a neighbour that takes digests and deltas.
    pub(super) fn put_sync(&mut self, id: ConnectionId, item: SyncItem) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outbox.put_sync(item);
            self.counters.gossip_coalesced += link.outbox.take_coalesced();
            self.ready.push_back(id);
        }
    }

    /// Whether a neighbour takes digests and deltas from us.
    pub(super) fn takes_sync(&self, id: ConnectionId) -> bool {
        let session = self.links.get(&id).and_then(|link| link.session());
        self.config.sync && session.is_some_and(|session| session.is_sync)
    }

    fn put_digest_or_state(&mut self, id: ConnectionId, name: PeerName, channel: &Arc<str>) {
        let digest = self.channels.get_mut(channel).and_then(|c| c.digest());
        if digest.is_some() {
            self.put_sync(id, SyncItem::Channel(Arc::clone(channel), true));
        } else {
            self.put(name, channel, None, Item::State);
        }
    }

    fn is_told_by_owner(&self, owner: PeerName, target: PeerName) -> bool {
        let owner_id = self.registered.get(&owner);
        owner_id.is_some_and(|id| self.takes_sync(*id))
            && self
                .topology
                .get(owner)
                .is_some_and(|record| record.connections.contains_key(&target))
    }

    fn channel_names(&self) -> Vec<Arc<str>> {
        let topology = Arc::clone(&self.topology_channel);
        self.channels.keys().cloned().chain([topology]).collect()
    }
}
