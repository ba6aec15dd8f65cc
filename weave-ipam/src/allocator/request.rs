//! What callers ask for: addresses, claims, releases.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::pending::{Allocate, Claim, Kind};
use super::{Allocator, Answer, Error, Event, Outcome, Ticket};
use crate::address::{check_subnet, host_range};
use crate::ledger::{ANONYMOUS, Holding};
use crate::peer::PeerId;
use crate::span::{AddressRange, Family, number};

/// Ticks after which a claim fails if its owner is not in the network: 25 seconds, as in Weave Net.
const CLAIM_TRIES: u32 = 5;

impl Allocator {
    /// An address for `ident` from the subnet (the default subnet if none is given): the one it
    /// already holds there, else the lowest free one. If none is ours, peers are asked; that
    /// goes on until there is one or the request is cancelled. With the ident
    /// [`ANONYMOUS`] each call gives another address, held under its own text.
    ///
    /// # Errors
    ///
    /// [`Error::Subnet`], [`Error::OutOfBounds`], [`Error::Cancelled`] after a shutdown.
    pub fn allocate(
        &mut self,
        now: Duration,
        ident: &str,
        subnet: Option<IpNet>,
        is_container: bool,
    ) -> Result<Outcome<IpNet>, Error> {
        let subnet = subnet.unwrap_or_else(|| self.default_subnet());
        check_subnet(subnet)?;
        let request = Allocate {
            ident: ident.to_owned(),
            subnet,
            is_container,
        };
        let result = self.refuse_if_shut_down(|| Kind::Allocate(request.clone()));
        let result = result.and_then(|()| self.try_allocate(now, &request));
        let outcome = result.map(|found| match found {
            Some(address) => Outcome::Ready(address),
            None => Outcome::Pending(self.pending.insert(Kind::Allocate(request))),
        });
        self.commit(now);
        outcome
    }

    /// Records that `ident` has this address, which nobody else may hold. The address may be
    /// outside the universe. If another peer owns it, it is asked for it.
    ///
    /// # Errors
    ///
    /// The address has another holder, or [`Error::Cancelled`] after a shutdown.
    pub fn claim(
        &mut self,
        now: Duration,
        ident: &str,
        address: IpNet,
        is_container: bool,
    ) -> Result<Outcome<()>, Error> {
        self.start_claim(now, ident, address, is_container, false)
    }

    /// Like [`Allocator::claim`] for an address found in use: keeps trying while its owner is not
    /// in the network.
    ///
    /// # Errors
    ///
    /// As [`Allocator::claim`].
    pub fn reclaim(
        &mut self,
        now: Duration,
        ident: &str,
        address: IpNet,
        is_container: bool,
    ) -> Result<Outcome<()>, Error> {
        self.start_claim(now, ident, address, is_container, true)
    }

    /// Waits for the ring, and sees that it comes about.
    pub fn prime(&mut self, now: Duration) -> Outcome<()> {
        self.establish(now);
        let outcome = if self.ring.is_empty() {
            Outcome::Pending(self.pending.insert(Kind::Prime))
        } else {
            Outcome::Ready(())
        };
        self.commit(now);
        outcome
    }

    /// What an ident holds in the host range of a subnet (the default subnet if none is given).
    #[must_use]
    pub fn lookup(&self, ident: &str, subnet: Option<IpNet>) -> Vec<IpNet> {
        let subnet = subnet.unwrap_or_else(|| self.default_subnet());
        self.ledger.held_in(ident, host_range(subnet)).collect()
    }

    /// All idents with their addresses.
    pub fn owned(&self) -> impl Iterator<Item = (&str, &[IpNet])> {
        self.ledger
            .holdings()
            .map(|(ident, holding)| (ident, holding.addresses.as_slice()))
    }

    /// All idents with everything recorded of them.
    pub fn holdings(&self) -> impl Iterator<Item = (&str, &Holding)> {
        self.ledger.holdings()
    }

    /// Releases one address. Waiting requests get it at once, or after the cool-down.
    ///
    /// # Errors
    ///
    /// [`Error::NotHeld`].
    pub fn free(&mut self, now: Duration, ident: &str, address: IpAddr) -> Result<(), Error> {
        if !self.ledger.release(ident, address) {
            return Err(Error::NotHeld {
                address,
                ident: ident.to_owned(),
            });
        }
        self.release(now, address);
        self.retry_allocations(now);
        self.commit(now);
        Ok(())
    }

    /// Releases all addresses of an ident.
    ///
    /// # Errors
    ///
    /// [`Error::NothingHeld`].
    pub fn delete(&mut self, now: Duration, ident: &str) -> Result<(), Error> {
        let addresses = self.ledger.release_all(ident);
        if addresses.is_empty() {
            return Err(Error::NothingHeld(ident.to_owned()));
        }
        for address in addresses {
            self.release(now, address.addr());
        }
        self.retry_allocations(now);
        self.commit(now);
        Ok(())
    }

    /// Forgets a pending request; no event will come. Whether it was pending.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let is_cancelled = self.pending.take(ticket).is_some();
        self.asks.retain(&self.pending.ranges(self.universe.span));
        if self.pending.is_empty() && !self.is_awaiting {
            self.tick = None;
        }
        is_cancelled
    }

    /// Lets a pending request fail with [`Error::Deadline`] at a time. Whether it is pending.
    pub fn set_deadline(&mut self, ticket: Ticket, at: Duration) -> bool {
        self.pending.set_deadline(ticket, at)
    }

    // ===== one try =====

    fn try_allocate(&mut self, now: Duration, request: &Allocate) -> Result<Option<IpNet>, Error> {
        let subnet = request.subnet;
        let range = AddressRange::of(subnet);
        let held = self.ledger.held_in(&request.ident, range).next();
        if let Some(held) = held {
            return Ok(Some(with_prefix_of(subnet, held.addr())));
        }
        let common = range.span.intersection(self.universe.span);
        let Some(common) = common.filter(|_| range.family == self.universe.family) else {
            return Err(Error::OutOfBounds {
                subnet,
                universe: self.config.universe,
            });
        };
        if self.ring.is_empty() {
            self.establish(now);
        }
        if self.ring.is_empty() {
            return Ok(None);
        }
        let hosts = host_range(subnet).span.intersection(common);
        let spans = hosts
            .map(|hosts| self.contests.undisputed(hosts))
            .unwrap_or_default();
        let Some(free) = spans.into_iter().find_map(|span| self.space.allocate(span)) else {
            self.ask_for_space(now, common);
            return Ok(None);
        };
        let address = with_prefix_of(subnet, self.universe.family.address(free));
        self.record(&request.ident, address, request.is_container);
        Ok(Some(address))
    }

    /// Whether the claim is met. It is not when it has to wait.
    fn try_claim(&mut self, now: Duration, claim: &Claim) -> Result<bool, Error> {
        let address = claim.address;
        let at = number(address.addr());
        let is_ours_to_give =
            Family::of(address.addr()) == self.universe.family && self.ring.contains(at);
        if !is_ours_to_give {
            return self.claim_outside(claim).map(|()| true);
        }
        if self.ring.is_empty() {
            self.establish(now);
        }
        match self.ring.owner(at) {
            None => Ok(false),
            Some(owner) if owner == self.config.peer => self.claim_own(claim).map(|()| true),
            Some(owner) if self.reachable.contains(&owner) => {
                self.ask_for_address(now, at, owner);
                Ok(false)
            }
            Some(owner) if claim.tries >= CLAIM_TRIES && !claim.is_patient => {
                let reason = format!("unknown relay destination: {owner}");
                Err(self.owned_by(address, owner, Some(reason)))
            }
            Some(_) => Ok(false),
        }
    }

    fn claim_outside(&mut self, claim: &Claim) -> Result<(), Error> {
        let Claim {
            ident,
            address,
            is_container,
            ..
        } = claim;
        match self.ledger.holder(address.addr()) {
            None => self.record(ident, *address, *is_container),
            Some(holder) if holder == ident || ident == ANONYMOUS => {}
            Some(holder) => {
                let holder = holder.to_owned();
                return Err(Error::AlreadyInUseBy {
                    address: *address,
                    holder,
                });
            }
        }
        Ok(())
    }

    fn claim_own(&mut self, claim: &Claim) -> Result<(), Error> {
        let Claim {
            ident,
            address,
            is_container,
            ..
        } = claim;
        let text = address.addr().to_string();
        match self.ledger.holder(address.addr()) {
            None => {
                self.space.claim(number(address.addr()))?;
                self.record(ident, *address, *is_container);
                Ok(())
            }
            Some(holder) if holder == ident || ident == ANONYMOUS => Ok(()),
            Some(holder) if holder == text => Err(Error::AlreadyInUse(*address)),
            Some(holder) => Err(Error::AlreadyOwned {
                address: *address,
                holder: holder.to_owned(),
            }),
        }
    }

    /// The owner of an address says no: claims of it fail.
    pub(super) fn fail_claims(&mut self, at: u128, owner: PeerId) {
        let claims = self.pending.claims();
        let concerned: Vec<(Ticket, IpNet)> = claims
            .filter(|(_, claim)| number(claim.address.addr()) == at)
            .map(|(ticket, claim)| (ticket, claim.address))
            .collect();
        for (ticket, address) in concerned {
            self.pending.take(ticket);
            let result = Err(self.owned_by(address, owner, None));
            self.events.push_back(Event::Settled { ticket, result });
        }
    }

    // ===== retries =====

    /// Tries everything that waits, or only waits for a ring.
    pub(super) fn retry(&mut self, now: Duration) {
        for ticket in self.pending.in_order() {
            self.retry_one(now, ticket);
        }
    }

    /// Tries the allocations: there may be free addresses.
    pub(super) fn retry_allocations(&mut self, now: Duration) {
        for ticket in self.pending.allocations() {
            self.retry_one(now, ticket);
        }
    }

    /// Fails what has passed its deadline.
    pub(super) fn expire_requests(&mut self, now: Duration) {
        for ticket in self.pending.overdue(now) {
            if let Some(request) = self.pending.take(ticket) {
                let waiting = self.reason_to_wait(&request.kind);
                let request = request.kind.describe();
                let result = Err(Error::Deadline { request, waiting });
                self.events.push_back(Event::Settled { ticket, result });
            }
        }
    }

    fn retry_one(&mut self, now: Duration, ticket: Ticket) {
        let Some(request) = self.pending.take(ticket) else {
            return;
        };
        let result = match &request.kind {
            Kind::Prime => Ok((!self.ring.is_empty()).then_some(Answer::Done)),
            Kind::Claim(claim) => self
                .try_claim(now, claim)
                .map(|is_met| is_met.then_some(Answer::Done)),
            Kind::Allocate(allocate) => self
                .try_allocate(now, allocate)
                .map(|found| found.map(Answer::Address)),
        };
        match result.transpose() {
            Some(result) => self.events.push_back(Event::Settled { ticket, result }),
            None => self.pending.put_back(ticket, request),
        }
    }

    fn start_claim(
        &mut self,
        now: Duration,
        ident: &str,
        address: IpNet,
        is_container: bool,
        is_patient: bool,
    ) -> Result<Outcome<()>, Error> {
        let ident = ident.to_owned();
        let claim = Claim {
            ident,
            address,
            is_container,
            is_patient,
            tries: 0,
        };
        let result = self.refuse_if_shut_down(|| Kind::Claim(claim.clone()));
        let result = result.and_then(|()| self.try_claim(now, &claim));
        let outcome = result.map(|is_met| match is_met {
            true => Outcome::Ready(()),
            false => Outcome::Pending(self.pending.insert(Kind::Claim(claim))),
        });
        self.commit(now);
        outcome
    }

    // ===== parts =====

    fn record(&mut self, ident: &str, address: IpNet, is_container: bool) {
        let text;
        let ident = if ident == ANONYMOUS {
            text = address.addr().to_string();
            &text
        } else {
            ident
        };
        self.ledger.record(ident, address, is_container);
        self.is_dirty = true;
        if Family::of(address.addr()) == self.universe.family {
            self.touch(number(address.addr()));
        }
    }

    fn release(&mut self, now: Duration, address: IpAddr) {
        self.is_dirty = true;
        if Family::of(address) != self.universe.family {
            return;
        }
        let at = number(address);
        // Not in the space: outside the universe, or in a range that was handed over.
        let _ = if self.config.cool_down.is_zero() {
            self.space.free(at)
        } else {
            self.space.free_after(at, now + self.config.cool_down)
        };
        self.touch(at);
    }

    fn refuse_if_shut_down(&self, kind: impl FnOnce() -> Kind) -> Result<(), Error> {
        if self.is_shut_down {
            Err(Error::Cancelled(kind().describe()))
        } else {
            Ok(())
        }
    }

    fn owned_by(&self, address: IpNet, peer: PeerId, reason: Option<String>) -> Error {
        let nickname = self.nicknames.get(&peer).cloned().unwrap_or_default();
        Error::OtherPeer {
            address,
            peer,
            nickname,
            reason,
        }
    }

    fn reason_to_wait(&self, kind: &Kind) -> String {
        if self.ring.is_empty() {
            return self.phase().to_string();
        }
        let asked = kind
            .range(self.universe.span)
            .and_then(|range| self.asks.asked(range));
        match (asked, kind) {
            (Some(peer), _) => format!("peer {peer} was asked for space and has not answered"),
            (None, Kind::Claim(claim)) => {
                let owner = self
                    .ring
                    .owner(number(claim.address.addr()))
                    .unwrap_or_default();
                format!(
                    "address {} is owned by peer {owner}, which cannot be reached",
                    claim.address
                )
            }
            (None, _) => "no reachable peer has free addresses in the range".to_owned(),
        }
    }
}

/// An address with the prefix length of a subnet of the same family.
fn with_prefix_of(subnet: IpNet, address: IpAddr) -> IpNet {
    IpNet::new(address, subnet.prefix_len()).expect("invariant: subnet and address have one family")
}
