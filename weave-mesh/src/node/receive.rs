//! What a remote sends: from bytes to messages to what follows from them.
//!
//! A handler that fails ends the connection with its reason; nothing else is affected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::commands::is_harmful;
use super::session::Phase;
use super::{ConnectionId, Node, OverlayEvent, READ_TIMEOUT, TOPOLOGY, Timer};
use crate::connection::{Handshake, HandshakeError, Introduced, Reason};
use crate::gossip::Relay;
use crate::gossip::outbox::Item;
use crate::peer::PeerName;
use crate::wire::message::Message;

impl Node {
    /// Takes in bytes of a connection, in whatever pieces they arrive.
    pub fn handle_bytes(&mut self, now: Duration, id: ConnectionId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match &mut link.phase {
            Phase::Running(session) => session.incoming.push(bytes),
            Phase::Introducing(handshake) => {
                let had_version = handshake.has_version();
                let outcome = handshake.handle_bytes(bytes);
                let output = handshake.take_output();
                let got_version = !had_version && handshake.has_version();
                if !output.is_empty() {
                    link.greeting.extend_from_slice(&output);
                    self.ready.push_back(id);
                }
                if got_version {
                    self.timers.set(Timer::Read(id), now + READ_TIMEOUT);
                }
                if !self.handle_introduction(now, id, outcome) {
                    return;
                }
            }
        }
        self.receive(now, id);
    }

    /// Returns whether messages may follow.
    fn handle_introduction(
        &mut self,
        now: Duration,
        id: ConnectionId,
        outcome: Result<Option<Introduced>, HandshakeError>,
    ) -> bool {
        let result = match outcome {
            Ok(None) => return false,
            Ok(Some(introduced)) => self.admit(now, id, introduced),
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => true,
            Err(reason) => {
                self.end(now, id, reason);
                false
            }
        }
    }

    /// Handles the complete messages of a running connection.
    fn receive(&mut self, now: Duration, id: ConnectionId) {
        loop {
            let session = self.links.get_mut(&id).and_then(|link| link.session_mut());
            let Some(session) = session else { return };
            let from = session.name;
            let frame = match session.incoming.pop() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => return self.end(now, id, error.into()),
            };
            self.timers.set(Timer::Read(id), now + READ_TIMEOUT);
            if let Err(reason) = self.handle_message(now, id, from, &frame) {
                return self.end(now, id, reason);
            }
        }
    }

    fn handle_message(
        &mut self,
        now: Duration,
        id: ConnectionId,
        from: PeerName,
        frame: &Bytes,
    ) -> Result<(), Reason> {
        let message = Message::parse(frame)?;
        self.count_received(&message, frame.len());
        match message {
            Message::Blank | Message::Heartbeat => {}
            Message::Gossip {
                channel, payload, ..
            } => {
                self.handle_gossip(now, from, channel, payload)?;
            }
            Message::Unicast {
                channel,
                source,
                destination,
                payload,
            } => {
                if destination == self.topology.local().name {
                    self.handle_unicast(channel, source, payload)?;
                } else if is_harmful(channel, payload) {
                    self.counters.hazard_withheld += 1;
                } else if self.relay_unicast(from, destination, frame).is_err() {
                    self.counters.unicast_relay_failed += 1;
                }
            }
            Message::Broadcast {
                channel,
                source,
                payload,
            } => {
                self.handle_broadcast(now, from, channel, source, payload)?;
            }
            Message::Sync { body } => self.handle_sync(now, from, body)?,
            Message::Unknown(_) => self.counters.unknown_tag += 1,
            message => self.handle_control(id, &message),
        }
        Ok(())
    }

    fn handle_control(&mut self, id: ConnectionId, message: &Message<'_>) {
        let session = self.links.get(&id).and_then(|link| link.session());
        match session.and_then(|session| session.common.decode(message)) {
            Some(body) => self.overlay_event(OverlayEvent::Control { id, body }),
            None => self.counters.control_malformed += 1,
        }
    }

    fn handle_gossip(
        &mut self,
        now: Duration,
        from: PeerName,
        channel: &str,
        payload: &[u8],
    ) -> Result<(), Reason> {
        if channel == TOPOLOGY {
            return self.handle_update(now, from, payload);
        }
        let Some((key, handler)) = self.channel(channel) else {
            let Some(key) = self.surrogates.channel(channel) else {
                self.counters.surrogate_refused += 1;
                return Ok(());
            };
            if self
                .surrogates
                .is_news(now, self.config.gossip_interval, channel, payload)
            {
                self.spread(&key, from, &Item::Also(Bytes::copy_from_slice(payload)));
            }
            return Ok(());
        };
        if let Some(item) = relayed(handler.handle_gossip(payload)?) {
            self.spread(&key, from, &item);
        }
        Ok(())
    }

    fn handle_broadcast(
        &mut self,
        now: Duration,
        from: PeerName,
        channel: &str,
        source: PeerName,
        payload: &[u8],
    ) -> Result<(), Reason> {
        if channel == TOPOLOGY {
            return self.handle_update_broadcast(now, from, source, payload);
        }
        let (key, item) = match self.channel(channel) {
            Some((key, handler)) => (key, relayed(handler.handle_broadcast(source, payload)?)),
            None => {
                let Some(key) = self.surrogates.channel(channel) else {
                    self.counters.surrogate_refused += 1;
                    return Ok(());
                };
                (key, Some(Item::Also(Bytes::copy_from_slice(payload))))
            }
        };
        if let Some(item) = item {
            self.pass_on(&key, source, Some(from), &item);
        }
        Ok(())
    }

    fn handle_unicast(
        &mut self,
        channel: &str,
        source: PeerName,
        payload: &[u8],
    ) -> Result<(), Reason> {
        if channel == TOPOLOGY {
            let shown = payload.get(..MAX_SHOWN).unwrap_or(payload);
            return Err(Reason::TopologyUnicast(shown.to_vec()));
        }
        match self.channel(channel) {
            Some((_, handler)) => handler.handle_unicast(source, payload)?,
            None => self.counters.unicast_unknown_channel += 1,
        }
        Ok(())
    }

    pub(super) fn handle_read_timeout(&mut self, now: Duration, id: ConnectionId) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let timeout = Reason::ReadTimeout {
            local: link.local,
            remote: link.remote,
        };
        let broken = |handshake: &Handshake| handshake.broken_off(&timeout.to_string()).into();
        let reason = match &link.phase {
            Phase::Introducing(handshake) => broken(handshake),
            Phase::Running(_) => timeout,
        };
        self.counters.read_timeout += 1;
        self.end(now, id, reason);
    }

    fn channel(&mut self, name: &str) -> Option<(Arc<str>, &mut Box<dyn crate::gossip::Channel>)> {
        let key = Arc::clone(self.channels.get_key_value(name)?.0);
        Some((key, self.channels.get_mut(name)?))
    }
}

fn relayed(relay: Relay) -> Option<Item> {
    match relay {
        Relay::Nothing => None,
        Relay::State => Some(Item::State),
        Relay::Payload(payload) => Some(Item::Latest(payload)),
    }
}

/// Bytes of an offending payload that are quoted in the reason.
const MAX_SHOWN: usize = 32;
