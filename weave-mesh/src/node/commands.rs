//! What the embedder asks of its peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{ConnectionId, Node, Notice, Reason, Transmit};
use crate::connection::MAX_CONTENT;
use crate::gossip::outbox::Item;
use crate::peer::PeerName;
use crate::wire::message::Message;

/// Why a unicast cannot be sent. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnicastError {
    /// The destination is not in the topology, or no path leads to it.
    #[error("unknown relay destination: {0}")]
    NoRoute(PeerName),
    /// The next hop is not connected at this moment.
    #[error("unable to find connection to relay peer {0}")]
    NoConnection(PeerName),
    /// More messages wait for the next hop than it keeps up with; try later.
    #[error("connection to relay peer {0} is congested")]
    Congested(PeerName),
    /// The payload does not fit a message. Send less.
    #[error("unicast of {0} bytes exceeds the maximum message size")]
    TooLarge(usize),
    /// The channel takes no unicasts, or no empty ones, and a Weave Net router that got it would
    /// end the connection or crash.
    #[error("a unicast on channel {0} would harm a peer")]
    Harmful(String),
    /// The mesh has stopped.
    #[error("the mesh has stopped")]
    Stopped,
}

impl Node {
    /// Adds direct peers, given as `host[:port]`, and makes them due; `replace` forgets the others
    /// first. Returns one text for each entry that cannot be used.
    pub fn connect(&mut self, now: Duration, peers: Vec<String>, replace: bool) -> Vec<String> {
        let errors = self.connector.connect(now, peers, replace);
        self.evaluate_targets(now);
        self.dial_targets(now);
        errors.iter().map(ToString::to_string).collect()
    }

    /// Removes direct peers, named exactly as they were given.
    pub fn forget(&mut self, now: Duration, peers: &[String]) {
        self.connector.forget(peers);
        self.evaluate_targets(now);
    }

    /// Sends the state of a channel along the tree that starts here. Does nothing if the channel
    /// is not registered.
    pub fn broadcast(&mut self, channel: &str) {
        self.relay_broadcast(channel, self.topology.local().name);
    }

    /// Sends the state of a channel on along the broadcast tree of `source`.
    pub fn relay_broadcast(&mut self, channel: &str, source: PeerName) {
        if let Some((key, _)) = self.channels.get_key_value(channel) {
            let key = Arc::clone(key);
            self.pass_on(&key, source, None, &Item::State);
        }
    }

    /// Sends the state of a channel to random neighbours.
    pub fn relay_gossip(&mut self, channel: &str) {
        if let Some((key, _)) = self.channels.get_key_value(channel) {
            let key = Arc::clone(key);
            self.spread(&key, self.topology.local().name, &Item::State);
        }
    }

    /// Sends `payload` to one peer, over as many hops as it takes.
    ///
    /// # Errors
    ///
    /// A [`UnicastError`]; `Ok` says that the message is queued, not that it has arrived.
    pub fn unicast(
        &mut self,
        channel: &str,
        destination: PeerName,
        payload: &[u8],
    ) -> Result<(), UnicastError> {
        if is_harmful(channel, payload) {
            self.counters.hazard_withheld += 1;
            return Err(UnicastError::Harmful(channel.to_owned()));
        }
        let source = self.topology.local().name;
        let message = Message::Unicast {
            channel,
            source,
            destination,
            payload,
        }
        .emit();
        if message.len() > MAX_CONTENT {
            return Err(UnicastError::TooLarge(payload.len()));
        }
        if destination == source {
            return Err(UnicastError::NoRoute(destination));
        }
        self.relay_unicast(source, destination, &message.into())
    }

    /// Tells which overlay a connection uses and what that says about itself, for the report.
    pub fn set_overlay(
        &mut self,
        id: ConnectionId,
        name: String,
        attributes: BTreeMap<String, String>,
    ) {
        let session = self.links.get_mut(&id).and_then(|link| link.session_mut());
        if let Some(session) = session {
            session.overlay = Some((name, attributes));
        }
    }

    /// Sends a control message to the remote data plane: index in the common list, inner tag,
    /// payload. What would harm the remote is counted and not sent.
    pub fn send_control(&mut self, now: Duration, id: ConnectionId, body: &[u8]) {
        let session = self.links.get(&id).and_then(|link| link.session());
        match session.map(|session| session.common.encode(body)) {
            Some(Ok(message)) => self.push_control(now, id, message),
            Some(Err(_)) | None => self.counters.control_refused += 1,
        }
    }

    /// Ends a connection because its data overlays do not work.
    pub fn handle_overlay_failed(&mut self, now: Duration, id: ConnectionId, reason: String) {
        self.end(now, id, Reason::OverlayFailed(reason));
    }

    /// Starts the attempts that are due.
    pub(super) fn dial_targets(&mut self, now: Duration) {
        let limit = self.config.connection_limit;
        let room = match (limit, self.needed()) {
            (0, _) => usize::MAX,
            (limit, 0) => limit.saturating_sub(self.registered.len()),
            (_, needed) => needed,
        };
        let is_full = room == 0;
        // At the limit the reason ends every attempt, so none of them is under way.
        self.connector
            .set_room(if is_full { usize::MAX } else { room });
        let reason = is_full.then(|| Reason::Limit(limit).to_string());
        while let Some((dial, target)) = self.connector.poll_dial(now, reason.as_deref()) {
            self.notice(Notice::Attempting {
                address: target.to_string(),
            });
            self.transmits.push_back(Transmit::Dial { dial, target });
        }
    }
}

/// Whether a Weave Net router would end the connection over this unicast (on `topology`, mesh
/// protocol, "errors while handling") or crash (empty, on `IPallocation`; "security notes").
pub(super) fn is_harmful(channel: &str, payload: &[u8]) -> bool {
    channel == super::TOPOLOGY || (channel == "IPallocation" && payload.is_empty())
}
