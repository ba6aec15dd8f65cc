//! What neighbours tell about the graph, as updates or as digests and deltas, and what follows.
//!
//! ```text
//!  digest, other than ours ─▶ all heads ─▶ wants  ─▶ records
//!                                      └─▶ heads of what the sender lacks ─▶ wants ─▶ records
//! ```
//!
//! An answer is asked for by complete heads only, so every exchange ends (`ALGORITHM.md`, law X1).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{
    COLLECT_DELAY, COMPARE_DELAY, ConnectionId, HEADS_INTERVAL, Node, Reason, TARGETS_DELAY,
    TOPOLOGY, Timer, WANT_TIMEOUT,
};
use crate::gossip::outbox::Item;
use crate::gossip::sync::SyncItem;
use crate::peer::{Head, PeerName, PeerRecord};
use crate::topology::routes::gossip_fanout;
use crate::topology::{Base, MAX_PEERS, Merged};
use crate::wire::sync::{RecordUpdate, Sync};

impl Node {
    /// Takes in a topology update that a neighbour gossips.
    pub(super) fn handle_update(
        &mut self,
        now: Duration,
        from: PeerName,
        payload: &[u8],
    ) -> Result<(), Reason> {
        let merged = self.topology.merge_update(payload)?;
        self.learn_from_update(now, from, &merged);
        self.follow(now, &merged);
        Ok(())
    }

    /// Takes in a topology update that `source` broadcast.
    pub(super) fn handle_update_broadcast(
        &mut self,
        now: Duration,
        from: PeerName,
        source: PeerName,
        payload: &[u8],
    ) -> Result<(), Reason> {
        let merged = self.topology.merge_update(payload)?;
        self.learn_from_update(now, from, &merged);
        self.follow(now, &merged);
        let channel = Arc::clone(&self.topology_channel);
        self.pass_on(&channel, source, Some(from), &Item::Names(merged.names));
        Ok(())
    }

    /// Takes in a message with the tag for digests and deltas.
    pub(super) fn handle_sync(
        &mut self,
        now: Duration,
        from: PeerName,
        body: &[u8],
    ) -> Result<(), Reason> {
        let id = self.registered.get(&from).copied();
        let Some(id) = id.filter(|id| self.takes_sync(*id)) else {
            self.counters.unknown_tag += 1;
            return Ok(());
        };
        let message = Sync::parse(body)?;
        let channel = match &message {
            Sync::Channel { channel, .. } => *channel,
            _ => TOPOLOGY,
        };
        self.traffic.received(channel, body.len() + 1);
        match message {
            Sync::Digest(digest) => self.handle_digest(now, id, digest),
            Sync::Heads { is_complete, heads } => self.handle_heads(now, id, is_complete, &heads),
            Sync::Wants(wants) => self.handle_wants(id, wants),
            Sync::Records(records) => self.handle_records(now, id, records),
            Sync::Channel {
                channel,
                digest,
                is_answer_wanted,
            } => self.handle_channel_digest(from, id, channel, digest, is_answer_wanted),
            Sync::Unknown(_) => self.counters.unknown_tag += 1,
        }
        Ok(())
    }

    /// Compares what we know with what a few neighbours know.
    pub(super) fn compare(&mut self, now: Duration) {
        self.wanted.retain(|_, (_, until)| *until > now);
        let lagging = std::mem::take(&mut self.lagging);
        let channel = Arc::clone(&self.topology_channel);
        for (name, lacks) in lagging {
            self.put(name, &channel, None, Item::Names(lacks));
        }
        let waits = |id: &ConnectionId| self.knowledge.withholds(*id);
        let neighbours = self.registered.iter().filter(|(_, id)| waits(id));
        let neighbours: Vec<_> = neighbours.map(|(name, _)| *name).collect();
        for name in neighbours {
            self.put(name, &channel, None, Item::Names(BTreeSet::new()));
        }
        if let Some(until) = self.announcements.restless_until(now)
            && !std::mem::replace(&mut self.is_compare_put_off, true)
        {
            // Ours still changes, so all would differ from us.
            self.timers
                .set_earliest(Timer::Compare, until + COMPARE_DELAY);
            return;
        }
        self.is_compare_put_off = false;
        let us = self.topology.local().name;
        let targets = self.gossip_targets(us);
        let ids = targets.iter().filter_map(|name| self.registered.get(name));
        let mut ids: Vec<_> = ids.copied().filter(|id| self.takes_sync(*id)).collect();
        ids.truncate(gossip_fanout(self.topology.len(), ids.len()).div_ceil(2));
        for id in ids {
            self.put_sync(id, SyncItem::Digest);
        }
    }

    /// What an update tells about its sender.
    fn learn_from_update(&mut self, now: Duration, from: PeerName, merged: &Merged) {
        let Some(&id) = self.registered.get(&from) else {
            return;
        };
        for name in merged.names.difference(&merged.stale) {
            if let Some(record) = self.topology.get(*name) {
                self.knowledge.learn(id, record.head());
            }
        }
        for name in &merged.stale {
            self.knowledge.forget(id, *name);
        }
        if !merged.stale.is_empty() {
            // What it lacks may be on its way: it is told what it still lacks a little later.
            let lacks = self.lagging.entry(from).or_default();
            lacks.extend(&merged.stale);
            self.compare_later(now);
        }
    }

    /// What follows from a merge.
    fn follow(&mut self, now: Duration, merged: &Merged) {
        self.counters.updates_merged += 1;
        self.counters.records_merged += merged.news.len() as u64;
        if merged.local_changed {
            self.announce_later(now);
        }
        if merged.news.is_empty() {
            return;
        }
        self.routing.graph_changed();
        self.recalculate_soon(now);
        self.timers
            .set_earliest(Timer::Targets, now + TARGETS_DELAY);
        self.timers
            .set_earliest(Timer::Collect, now + COLLECT_DELAY);
        self.relay_later(now, &merged.news);
    }

    fn handle_digest(&mut self, now: Duration, id: ConnectionId, digest: u64) {
        if digest == self.routing.digest(&self.topology) {
            return;
        }
        if self.announcements.restless_until(now).is_some() {
            // It may lack our last change, which it is told; what else differs shows after that.
            self.compare_later(now);
            return;
        }
        self.counters.digests_differed += 1;
        let neighbour = self.knowledge.of(id);
        if neighbour.heads_after <= now {
            neighbour.heads_after = now + HEADS_INTERVAL;
            self.put_sync(id, SyncItem::AllHeads);
        }
    }

    fn handle_heads(&mut self, now: Duration, id: ConnectionId, is_complete: bool, heads: &[Head]) {
        let mut lacks = BTreeSet::new();
        for &head in heads {
            let known = self.topology.get(head.name).map(PeerRecord::head);
            if known == Some(head) {
                self.knowledge.learn(id, head);
            } else if self.topology.merge_own_head(head) {
                self.announce_later(now);
            } else if self.topology.is_behind(head) {
                self.want(now, id, head, known);
            } else if known.is_some() {
                self.knowledge.forget(id, head.name);
                lacks.insert(head.name);
            }
        }
        if !is_complete {
            return;
        }
        let named: BTreeSet<_> = heads.iter().map(|head| head.name).collect();
        for head in self.shared_heads() {
            if !named.contains(&head.name) {
                self.knowledge.forget(id, head.name);
                lacks.insert(head.name);
            }
        }
        if !lacks.is_empty() {
            self.put_sync(id, SyncItem::Heads(lacks));
        }
    }

    /// Asks one neighbour for a record that several may offer.
    fn want(&mut self, now: Duration, id: ConnectionId, head: Head, known: Option<Head>) {
        let asked = self.wanted.get(&head.name);
        if asked.is_some_and(|(version, until)| *version >= head.version && *until > now)
            || self.wanted.len() >= MAX_PEERS
        {
            return;
        }
        self.wanted
            .insert(head.name, (head.version, now + WANT_TIMEOUT));
        let held = known.filter(|known| known.uid == head.uid);
        let version = held.map_or(0, |known| known.version);
        self.put_sync(id, SyncItem::Want(head.name, version));
    }

    fn handle_wants(&mut self, id: ConnectionId, wants: Vec<(PeerName, u64)>) {
        for (name, version) in wants {
            if self.topology.get(name).is_none() {
                continue;
            }
            self.knowledge.forget(id, name);
            let base = match version {
                0 => Base::Nothing,
                version => Base::Version(version),
            };
            self.put_sync(id, SyncItem::Record(name, base));
        }
    }

    fn handle_records(&mut self, now: Duration, id: ConnectionId, records: Vec<RecordUpdate>) {
        let heads: Vec<_> = records.iter().map(|record| record.head).collect();
        let synced = self.topology.merge_sync(records);
        self.counters.deltas_applied += synced.applied as u64;
        self.counters.deltas_missed += synced.missing.len() as u64;
        for head in heads {
            let known = self.topology.get(head.name).map(PeerRecord::head);
            let asked = self.wanted.get(&head.name).copied();
            if synced.missing.contains(&head.name) {
                // The whole record, at once: nobody else was asked for it in this form.
                self.wanted
                    .insert(head.name, (head.version, now + WANT_TIMEOUT));
                self.put_sync(id, SyncItem::Want(head.name, 0));
            } else if asked.is_some_and(|(version, _)| version <= head.version) {
                self.wanted.remove(&head.name);
            }
            if known == Some(head) {
                self.knowledge.learn(id, head);
            } else {
                self.knowledge.forget(id, head.name);
            }
        }
        self.follow(now, &synced.merged);
    }

    fn handle_channel_digest(
        &mut self,
        from: PeerName,
        id: ConnectionId,
        channel: &str,
        digest: u64,
        is_answer_wanted: bool,
    ) {
        let known = self.channels.get_key_value(channel).map(|(key, _)| key);
        let key = known.cloned().or_else(|| self.surrogates.channel(channel));
        let Some(key) = key else {
            self.counters.surrogate_refused += 1;
            return;
        };
        let handler = self.channels.get_mut(&key);
        let ours = handler.and_then(|handler| handler.digest());
        let told = &mut self.knowledge.of(id).told;
        if ours == Some(digest) {
            told.insert(key, digest);
            return;
        }
        self.counters.digests_differed += 1;
        told.remove(&key);
        if self.channels.contains_key(&key) {
            self.put(from, &key, None, Item::State);
        }
        if is_answer_wanted {
            self.put_sync(id, SyncItem::Channel(key, false));
        }
    }
}
