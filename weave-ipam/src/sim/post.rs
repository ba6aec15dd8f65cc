//! Messages: sent, lost, late, doubled, overtaken, relayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::host::Input;
use super::laws::Law;
use super::planted::Planted;
use super::shell::GOSSIP;
use super::wires::{Body, Kind, Parcel};
use super::world::{Task, World};
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::ring::{Entry, MergeError, Ring, Violation};

impl World {
    /// Everything known, to one neighbour.
    pub(super) fn gossip(&mut self, from: usize, to: usize) {
        if self.wires.is_up(from, to)
            && let Some(state) = self.state_of(from)
        {
            self.send(from, from, to, Kind::Gossip, Body::State(state));
        }
    }

    /// Periodic gossip: to about log2(n) neighbours.
    pub(super) fn gossip_round(&mut self, host: usize, start: u64) {
        if self.process_of(host, start).is_none() {
            return;
        }
        let mut neighbours = self.wires.neighbours(host);
        let mut count = neighbours.len().checked_ilog2().unwrap_or(0) + 1;
        while let Some(to) = self.dice.pick(&neighbours).filter(|_| count > 0) {
            neighbours.retain(|other| *other != to);
            count -= 1;
            self.feed(host, Input::Gossip(to));
        }
        self.queue
            .plan(self.now + GOSSIP, Task::Gossip(host, start));
    }

    /// `relay` sends its state to those who get the broadcasts of `source` from it.
    pub(super) fn broadcast(&mut self, source: usize, relay: usize) {
        let children = self.wires.children(source, relay);
        if children.is_empty() {
            return;
        }
        let Some(state) = self.state_of(relay) else {
            return;
        };
        for to in children {
            let body = Body::State(state.clone());
            self.send(relay, relay, to, Kind::Broadcast(source), body);
        }
    }

    /// Whether there is a way.
    pub(super) fn unicast(&mut self, from: usize, name: PeerId, message: Message) -> bool {
        let hosts = self.hosts.iter().enumerate();
        let to = hosts
            .filter(|(_, host)| host.identity == name)
            .map(|(index, _)| index)
            .find(|to| self.wires.reaches(from, *to));
        let Some(to) = to else {
            return false;
        };
        let hop = self.wires.hop(from, to);
        let message = match message {
            Message::RingUpdate(state) => Message::RingUpdate(self.disguise(from, state)),
            Message::Removed(_) if self.plan.planted == Some(Planted::RemovalNotTold) => {
                Message::RingUpdate(State::request())
            }
            other => other,
        };
        self.send(from, hop, to, Kind::Unicast, Body::Message(message));
        true
    }

    fn state_of(&self, host: usize) -> Option<State> {
        let it = &self.hosts[host];
        let process = it.process.as_ref()?;
        let seconds = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        let state = process.engine.state(seconds.wrapping_add(it.wall));
        Some(self.disguise(host, state))
    }

    fn send(&mut self, from: usize, hop: usize, to: usize, kind: Kind, body: Body) {
        let faults = self.plan.faults;
        let is_hit = |world: &mut Self, fault, chances| {
            !world.is_calm && faults.contains(fault) && world.dice.one_in(chances)
        };
        if is_hit(self, Fault::Loss, 8) {
            self.faults.count(Fault::Loss);
            return;
        }
        let body = self.pack(body);
        let copies = if is_hit(self, Fault::Duplicate, 16) {
            self.faults.count(Fault::Duplicate);
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut at = self.now
                + self
                    .dice
                    .between(Duration::from_millis(1), Duration::from_millis(40));
            if is_hit(self, Fault::Delay, 10) {
                self.faults.count(Fault::Delay);
                at += self
                    .dice
                    .between(Duration::from_millis(200), Duration::from_secs(20));
            }
            if self.hosts[to].is_slow {
                at += self
                    .dice
                    .between(Duration::from_millis(50), Duration::from_secs(4));
            }
            if self.wires.overtakes(from, to, at) {
                if is_hit(self, Fault::Reorder, 2) {
                    self.faults.count(Fault::Reorder);
                } else {
                    at = self.wires.last_arrival(from, to);
                }
            }
            self.wires.note_arrival(from, to, at);
            let parcel = Parcel {
                from,
                hop,
                to,
                kind,
                body: body.clone(),
            };
            self.queue.plan(at, Task::Deliver(Box::new(parcel)));
        }
    }

    pub(super) fn deliver(&mut self, parcel: Box<Parcel>) {
        let (from, hop, to) = (parcel.from, parcel.hop, parcel.to);
        let is_open = match parcel.kind {
            Kind::Unicast => self.wires.reaches(from, to),
            Kind::Gossip | Kind::Broadcast(_) => self.wires.is_up(from, to),
        };
        if is_open && !self.wires.is_mute(hop, to) {
            self.feed(to, Input::Parcel(parcel));
        }
    }

    /// A peer of the old kind refuses a message and drops the connection on which it came.
    pub(super) fn drop_link(&mut self, host: usize, hop: usize, from: usize, error: &MergeError) {
        self.faults.count(Fault::LegacyRefusal);
        self.note(format_args!(
            "host {host} drops its link to host {hop}: {error}"
        ));
        // A hint of one version beside a token of another fails Weave Net's merge for a moment;
        // that happens among Weave Net peers just so.
        let is_passing = matches!(error, MergeError::Result(Violation::TooMuchFree { .. }));
        if self.laws.is_strong && !is_passing {
            self.violate(
                Law::NoQuarrel,
                format_args!("host {host} of the old kind refuses what host {from} says: {error}"),
            );
        }
        self.wires.set_cut(host, hop, true);
        self.is_stale = true;
        let back = self
            .dice
            .between(Duration::from_secs(3), Duration::from_secs(20));
        self.queue.plan(self.now + back, Task::Mend(host, hop));
    }

    // ===== bytes =====

    /// As it travels: encoded, in runs that are so.
    fn pack(&mut self, body: Body) -> Body {
        if !self.plan.is_encoded {
            return body;
        }
        #[cfg(feature = "mesh")]
        {
            use crate::mesh;
            let bytes = match &body {
                Body::State(state) => {
                    let bytes = mesh::encode_state(state);
                    self.judge_codec(mesh::decode_state(&bytes).as_ref() == Ok(state));
                    bytes
                }
                Body::Message(message) => {
                    let bytes = mesh::encode_message(message);
                    self.judge_codec(mesh::decode_message(&bytes).as_ref() == Ok(message));
                    bytes
                }
                Body::Bytes(_) => return body,
            };
            Body::Bytes(bytes)
        }
        #[cfg(not(feature = "mesh"))]
        body
    }

    #[cfg(feature = "mesh")]
    fn judge_codec(&mut self, is_same: bool) {
        if !is_same {
            self.violate(Law::MessagesReadBack, "a message reads back differently");
        }
    }

    pub(super) fn unpack(
        &mut self,
        kind: Kind,
        body: Body,
    ) -> Option<(Option<State>, Option<Message>)> {
        #[cfg(not(feature = "mesh"))]
        let _ = kind;
        match body {
            Body::State(state) => Some((Some(state), None)),
            Body::Message(message) => Some((None, Some(message))),
            #[cfg(feature = "mesh")]
            Body::Bytes(bytes) => {
                let read = match kind {
                    Kind::Unicast => {
                        crate::mesh::decode_message(&bytes).map(|message| (None, Some(message)))
                    }
                    Kind::Gossip | Kind::Broadcast(_) => {
                        crate::mesh::decode_state(&bytes).map(|state| (Some(state), None))
                    }
                };
                match read {
                    Ok(read) => Some(read),
                    Err(error) => {
                        self.violate(Law::MessagesReadBack, error);
                        None
                    }
                }
            }
        }
    }

    // ===== the planted defect =====

    /// The state as others see it if this host does not raise versions when it donates.
    fn disguise(&self, host: usize, mut state: State) -> State {
        let skipped = &self.hosts[host].skipped;
        if self.plan.planted != Some(Planted::NoVersionOnDonation) || skipped.is_empty() {
            return state;
        }
        if let Some(ring) = &state.ring {
            state.ring = Some(Arc::new(lower(ring, skipped)));
        }
        state
    }
}

fn lower(ring: &Ring, skipped: &BTreeMap<u128, u32>) -> Ring {
    let entries = ring.entries().iter().map(|entry| {
        let is_skipped = skipped.get(&entry.token) == Some(&entry.version);
        Entry {
            version: entry.version.saturating_sub(u32::from(is_skipped)),
            ..*entry
        }
    });
    Ring::from_parts(
        ring.universe(),
        ring.peer(),
        entries.collect(),
        ring.seeds().to_vec(),
    )
}
