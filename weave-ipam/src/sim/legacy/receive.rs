//! What other peers say to a peer of the old kind.

use super::{
    AddressRange, Duration, Legacy, MergeError, Message, Output, PeerId, Ring, State, Want,
};
use crate::span::number;

impl Legacy {
    /// The error drops the connection on which the message came.
    pub(in crate::sim) fn handle_unicast(
        &mut self,
        now: Duration,
        from: PeerId,
        message: Message,
    ) -> Result<(), MergeError> {
        let result = match message {
            Message::SpaceRequest(range) => {
                self.donate(from, range);
                Ok(())
            }
            Message::SpaceDenied(range) => {
                self.denied(range);
                Ok(())
            }
            Message::RingUpdate(state) => self.receive(Some(from), state),
            // The field that names the peer is skipped.
            Message::Removed(_) => self.receive(Some(from), State::request()),
        };
        self.finish(now);
        result
    }

    pub(in crate::sim) fn handle_state(
        &mut self,
        now: Duration,
        source: Option<PeerId>,
        state: State,
    ) -> Result<(), MergeError> {
        let result = self.receive(source, state);
        self.finish(now);
        result
    }

    fn receive(&mut self, source: Option<PeerId>, state: State) -> Result<(), MergeError> {
        // The last writer wins, also about our own nickname.
        self.nicknames.extend(state.nicknames);
        if let Some(ring) = state.ring {
            return self.merge(&ring);
        }
        if !self.ring.is_empty() {
            if let Some(source) = source {
                self.send_ring_to(source);
            }
        } else if let Some(votes) = state.votes {
            if self.paxos.update(&votes) {
                if self.paxos.think() {
                    self.outputs.push_back(Output::Broadcast);
                }
                self.form_if_decided();
            }
        } else if self.paxos.is_elector() && source.is_some() {
            self.establish();
        }
        Ok(())
    }

    fn merge(&mut self, theirs: &Ring) -> Result<(), MergeError> {
        let space = &self.space;
        let updated = self
            .ring
            .merge(theirs, |span| Self::is_in_use(space, span))?;
        if updated {
            self.is_awaiting = false;
            self.revision += 1;
            if !self.is_shut_down {
                self.space.add_all(self.ring.ranges_of(self.us));
            }
            self.retry();
        }
        Ok(())
    }

    /// A space request: give the largest block or half of it, or refuse; the ring goes last.
    fn donate(&mut self, to: PeerId, range: AddressRange) {
        if self.ring.is_empty() {
            return;
        }
        let given = self.space.donate(range.span);
        if let Some(given) = given {
            // Our own free space cannot be refused by our own ring.
            let granted = self.ring.grant(given, to);
            debug_assert!(granted.is_ok(), "{granted:?}");
            self.revision += 1;
            self.outputs.push_back(Output::Broadcast);
        } else {
            let denial = Message::SpaceDenied(range);
            self.outputs.push_back(Output::Unicast(to, denial));
        }
        self.send_ring_to(to);
    }

    fn denied(&mut self, range: AddressRange) {
        let failed: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, want)| match want {
                Want::Claim { address, .. } => range.span.contains(number(address.addr())),
                Want::Allocate { .. } => false,
            })
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in failed {
            self.pending.remove(&ticket);
            self.outputs.push_back(Output::Settled(ticket, None));
        }
    }

    fn send_ring_to(&mut self, to: PeerId) {
        let update = Message::RingUpdate(self.state(0));
        self.outputs.push_back(Output::Unicast(to, update));
    }

    // ===== the first ring =====

    pub(super) fn establish(&mut self) {
        if !self.ring.is_empty() || self.is_awaiting {
            return;
        }
        self.is_awaiting = true;
        self.tick = None;
        self.paxos.set_quorum(self.quorum);
        self.paxos.propose();
        self.outputs.push_back(Output::Broadcast);
        self.form_if_decided();
    }

    fn form_if_decided(&mut self) {
        if let Some(value) = self.paxos.decided() {
            let peers = value.peers.clone();
            self.form(&peers);
            self.retry();
        }
    }

    pub(super) fn form(&mut self, seeds: &[PeerId]) {
        self.ring.form(seeds);
        self.is_awaiting = false;
        self.space.add_all(self.ring.ranges_of(self.us));
        self.revision += 1;
        self.outputs.push_back(Output::Broadcast);
    }
}
