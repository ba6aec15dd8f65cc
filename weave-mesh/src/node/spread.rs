//! Who gets which gossip.
//!
//! Gossip goes to random neighbours, weighted by how many peers lie behind them; broadcasts along
//! the tree of their source; unicasts to the next hop (Weave Net mesh protocol, sections 5 and 6).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{ConnectionId, HEARTBEAT, Node, Reason, Timer, UnicastError};
use crate::gossip::outbox::{Item, SlotKey};
use crate::peer::PeerName;
use crate::topology::routes;
use crate::wire::message::Message;

impl Node {
    /// Queues gossip to random neighbours other than `except`.
    pub(super) fn spread(&mut self, channel: &Arc<str>, except: PeerName, item: &Item) {
        let all = self.routing.all(&self.topology);
        let targets = routes::gossip_targets(all, except, &mut self.random);
        for target in targets {
            self.put(target, channel, None, item.clone());
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

    /// Queues the complete state of every channel to a new or restarted neighbour.
    pub(super) fn greet(&mut self, id: ConnectionId) {
        let Some(name) = self
            .links
            .get(&id)
            .and_then(|link| link.session())
            .map(|s| s.name)
        else {
            return;
        };
        for channel in self.channel_names() {
            self.put(name, &channel, None, Item::State);
        }
    }

    /// Queues the complete state of every channel to random neighbours.
    pub(super) fn gossip_everything(&mut self, now: Duration) {
        self.timers
            .set(Timer::Gossip, now + self.config.gossip_interval);
        let us = self.topology.local().name;
        for channel in self.channel_names() {
            self.spread(&channel, us, &Item::State);
        }
    }

    /// Queues our own record to all neighbours, and those of peers that connected lately to random
    /// ones.
    ///
    /// Weave Net sends our own to random ones too. But who has it already, from the complete state
    /// of another peer, does not pass it on, and who was not drawn waits for the next interval.
    pub(super) fn announce_changes(&mut self) {
        let us = self.topology.local().name;
        let channel = Arc::clone(&self.topology_channel);
        let neighbours: Vec<_> = self.registered.keys().copied().collect();
        for neighbour in neighbours {
            self.put(neighbour, &channel, None, Item::Names([us].into()));
        }
        let remotes = std::mem::take(&mut self.announce);
        if !remotes.is_empty() {
            self.spread(&channel, us, &Item::Names(remotes));
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

    fn put(&mut self, to: PeerName, channel: &Arc<str>, source: Option<PeerName>, item: Item) {
        let id = self.registered.get(&to);
        let Some(link) = id.and_then(|id| self.links.get_mut(id)) else {
            return;
        };
        let key = SlotKey {
            channel: Arc::clone(channel),
            source,
        };
        let dropped = link.outbox.put(key, item);
        self.counters.gossip_dropped += u64::try_from(dropped).unwrap_or(u64::MAX);
        self.ready.push_back(link.id);
    }

    fn channel_names(&self) -> Vec<Arc<str>> {
        let topology = Arc::clone(&self.topology_channel);
        self.channels.keys().cloned().chain([topology]).collect()
    }
}
