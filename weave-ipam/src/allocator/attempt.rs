//! Trying requests, at once and again.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::pending::{Allocate, Claim, Keep, Kind, Request};
use super::{Allocator, Answer, Error, Event, Ticket};
use crate::address::host_range;
use crate::ledger::ANONYMOUS;
use crate::peer::PeerId;
use crate::span::{AddressRange, Family, Span, number};

/// Ticks after which a claim fails if its owner is not in the network: 25 seconds, as in Weave Net.
const CLAIM_TRIES: u32 = 5;

impl Allocator {
    // ===== one try =====

    pub(super) fn try_allocate(
        &mut self,
        now: Duration,
        request: &Allocate,
    ) -> Result<Option<IpNet>, Error> {
        let subnet = request.subnet;
        let range = AddressRange::of(subnet);
        self.dead.remove(&request.ident);
        let is_kept = |held: &IpNet| !self.renumber.contains_key(&held.addr());
        let held = self.ledger.held_in(&request.ident, range).find(is_kept);
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
        let Some(free) = hosts.and_then(|hosts| self.take_free(now, hosts, common)) else {
            return Ok(None);
        };
        let address = with_prefix_of(subnet, self.universe.family.address(free));
        self.record(&request.ident, address, request.is_container);
        Ok(Some(address))
    }

    /// The lowest free address of ours in `hosts`. If there is none, peers are asked for space in
    /// `range`; if none of them can be asked, the address that has rested longest is taken.
    fn take_free(&mut self, now: Duration, hosts: Span, range: Span) -> Option<u128> {
        if self.is_holding_all() {
            return None;
        }
        if self.is_unrestricted()
            && let Some(free) = self.space.allocate(hosts)
        {
            return Some(free);
        }
        let spans = self.available(hosts);
        let free = spans.iter().find_map(|span| self.space.allocate(*span));
        if free.is_some() || self.ask_for_space(now, range) {
            return free;
        }
        { spans.iter() }.find_map(|span| self.space.allocate_cooling(*span))
    }

    /// Whether the claim is met. It is not when it has to wait.
    pub(super) fn try_claim(&mut self, now: Duration, claim: &Claim) -> Result<bool, Error> {
        let address = claim.address;
        let at = number(address.addr());
        let is_ours_to_give =
            Family::of(address.addr()) == self.universe.family && self.ring.contains(at);
        self.dead.remove(&claim.ident);
        if !is_ours_to_give {
            return self.claim_outside(claim).map(|()| true);
        }
        if self.ring.is_empty() {
            self.establish(now);
        }
        match self.ring.owner(at) {
            None => Ok(false),
            Some(owner) if owner == self.config.peer => self.claim_own(claim),
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
            Some(holder) if self.dead.contains_key(holder) => {
                let holder = holder.to_owned();
                self.ledger.release(&holder, address.addr());
                self.record(ident, *address, *is_container);
            }
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

    fn claim_own(&mut self, claim: &Claim) -> Result<bool, Error> {
        let Claim {
            ident,
            address,
            is_container,
            ..
        } = claim;
        let at = number(address.addr());
        let text = address.addr().to_string();
        match self.ledger.holder(address.addr()) {
            // An address that is in use already is noted in any case.
            None if !claim.is_patient && self.available(Span::single(at)).is_empty() => Ok(false),
            None => {
                self.space.claim(at)?;
                self.record(ident, *address, *is_container);
                Ok(true)
            }
            Some(holder) if holder == ident || ident == ANONYMOUS => Ok(true),
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
        self.must_renumber(at, owner);
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
            Kind::Keep(keep) => {
                self.retry_keep(now, ticket, request.clone(), &keep.clone());
                return;
            }
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

    fn retry_keep(&mut self, now: Duration, ticket: Ticket, request: Request, keep: &Keep) {
        self.pending.put_back(ticket, request);
        if self.try_keep(now, keep) {
            self.pending.drop_keep(keep.address.addr());
        }
    }

    // ===== texts =====

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
        if let Some(hold) = self.hold_status().first() {
            return hold.to_string();
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
            (None, _) => {
                let range = kind.range(self.universe.span);
                let donors = range
                    .map(|range| self.ring.donors(range))
                    .unwrap_or_default();
                let mut missing = donors.keys().filter(|peer| !self.reachable.contains(peer));
                missing.next().map_or_else(
                    || "no peer has free addresses in the range".to_owned(),
                    |peer| format!("peer {peer}, which has free addresses, cannot be reached"),
                )
            }
        }
    }
}

/// An address with the prefix length of a subnet of the same family.
fn with_prefix_of(subnet: IpNet, address: IpAddr) -> IpNet {
    IpNet::new(address, subnet.prefix_len()).expect("invariant: subnet and address have one family")
}
