//! What its users ask of a peer of the old kind.

use super::{AddressRange, Duration, IpNet, Legacy, Message, Output, PeerId, Span, Want, number};

/// Tries after which a claim fails if its owner cannot be reached.
const CLAIM_TRIES: u32 = 5;

impl Legacy {
    /// The address, or a ticket.
    pub(in crate::sim) fn allocate(&mut self, now: Duration, ident: &str) -> Result<IpNet, u64> {
        let want = Want::Allocate {
            ident: ident.to_owned(),
        };
        let outcome = self.start(want);
        self.finish(now);
        outcome
    }

    /// The address once it is recorded, or a ticket. A claim that fails at once is answered by
    /// [`Output::Settled`] too.
    pub(in crate::sim) fn claim(
        &mut self,
        now: Duration,
        ident: &str,
        address: IpNet,
    ) -> Result<IpNet, u64> {
        let want = Want::Claim {
            ident: ident.to_owned(),
            address,
            tries: 0,
        };
        let outcome = self.start(want);
        self.finish(now);
        outcome
    }

    pub(in crate::sim) fn delete(&mut self, now: Duration, ident: &str) {
        for address in self.ledger.release_all(ident) {
            // Not in the space: in a range that was handed over.
            let _ = self.space.free(number(address.addr()));
            self.revision += 1;
        }
        // Waiting requests notice at the next tick.
        self.finish(now);
    }

    pub(in crate::sim) fn cancel(&mut self, ticket: u64) {
        self.pending.remove(&ticket);
    }

    /// Takes over without asking whether the peer is alive.
    pub(in crate::sim) fn takeover(&mut self, now: Duration, victim: PeerId) -> bool {
        let ranges = self.ring.transfer(victim, self.us);
        if !ranges.is_empty() && !self.is_shut_down {
            self.space.add_all(ranges.iter().copied());
            self.revision += 1;
            self.retry();
            self.outputs.push_back(Output::Broadcast);
        }
        self.finish(now);
        !ranges.is_empty()
    }

    /// Leaves: everything goes to an heir.
    pub(in crate::sim) fn shutdown(&mut self, now: Duration) {
        self.is_shut_down = true;
        self.is_awaiting = false;
        for ticket in std::mem::take(&mut self.pending).into_keys() {
            self.outputs.push_back(Output::Settled(ticket, None));
        }
        let owners = || self.ring.entries().iter().map(|entry| entry.peer);
        let others = |peer: &PeerId| *peer != self.us && *peer != PeerId::NONE;
        let heir = owners()
            .filter(|peer| self.reachable.contains(peer))
            .chain(self.reachable.iter().copied())
            .chain(owners())
            .find(others);
        self.ring.transfer(self.us, heir.unwrap_or(PeerId::NONE));
        self.space.clear();
        self.revision += 1;
        if heir.is_some() {
            self.outputs.push_back(Output::Broadcast);
        }
        self.finish(now);
    }

    pub(super) fn retry(&mut self) {
        for (ticket, mut want) in std::mem::take(&mut self.pending) {
            match self.attempt(&mut want) {
                Some(result) => self.outputs.push_back(Output::Settled(ticket, result)),
                None => {
                    self.pending.insert(ticket, want);
                }
            }
        }
    }

    fn start(&mut self, mut want: Want) -> Result<IpNet, u64> {
        self.tickets += 1;
        let ticket = self.tickets;
        if self.is_shut_down {
            self.outputs.push_back(Output::Settled(ticket, None));
            return Err(ticket);
        }
        match self.attempt(&mut want) {
            Some(Some(address)) => Ok(address),
            Some(None) => {
                self.outputs.push_back(Output::Settled(ticket, None));
                Err(ticket)
            }
            None => {
                self.pending.insert(ticket, want);
                Err(ticket)
            }
        }
    }

    /// `None` while it has to wait, else how it ends.
    fn attempt(&mut self, want: &mut Want) -> Option<Option<IpNet>> {
        if self.ring.is_empty() {
            self.establish();
        }
        if self.ring.is_empty() {
            return None;
        }
        match want {
            Want::Allocate { ident } => self.try_allocate(ident).map(Some),
            Want::Claim {
                ident,
                address,
                tries,
            } => {
                *tries += 1;
                self.try_claim(ident, *address, *tries)
            }
        }
    }

    fn try_allocate(&mut self, ident: &str) -> Option<IpNet> {
        let range = AddressRange::of(self.network);
        if let Some(held) = self.ledger.held_in(ident, range).next() {
            return Some(held);
        }
        let hosts = self.hosts();
        let Some(found) = self.space.allocate(hosts) else {
            self.ask(range.span);
            return None;
        };
        let address = self.with_prefix(found)?;
        self.ledger.record(ident, address, true);
        self.revision += 1;
        Some(address)
    }

    fn try_claim(&mut self, ident: &str, address: IpNet, tries: u32) -> Option<Option<IpNet>> {
        let at = number(address.addr());
        let owner = self.ring.owner(at)?;
        if owner != self.us {
            if self.reachable.contains(&owner) {
                let range = AddressRange {
                    family: self.universe.family,
                    span: Span::single(at),
                };
                let request = Message::SpaceRequest(range);
                self.outputs.push_back(Output::Unicast(owner, request));
                return None;
            }
            return (tries > CLAIM_TRIES).then_some(None);
        }
        match self.ledger.holder(address.addr()) {
            Some(holder) => Some((holder == ident).then_some(address)),
            None if self.space.claim(at).is_err() => Some(None),
            None => {
                self.ledger.record(ident, address, true);
                self.revision += 1;
                Some(Some(address))
            }
        }
    }

    /// Asks the first donor that can be reached.
    fn ask(&mut self, span: Span) {
        let seed = self.random.next_u64();
        let donors = self.ring.choose_donors(span, seed);
        let donor = donors
            .into_iter()
            .find(|peer| self.reachable.contains(peer));
        if let Some(donor) = donor {
            let range = AddressRange {
                family: self.universe.family,
                span,
            };
            self.outputs
                .push_back(Output::Unicast(donor, Message::SpaceRequest(range)));
        }
    }

    fn with_prefix(&self, found: u128) -> Option<IpNet> {
        let address = self.universe.family.address(found);
        IpNet::new(address, self.network.prefix_len()).ok()
    }
}
