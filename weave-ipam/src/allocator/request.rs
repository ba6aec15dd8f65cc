//! What callers ask for: addresses, claims, releases.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::pending::{Allocate, Claim, Kind};
use super::{Allocator, Error, Outcome, Ticket};
use crate::address::{check_subnet, host_range};
use crate::ledger::{ANONYMOUS, Holding};
use crate::span::{Family, number};

impl Allocator {
    /// An address for `ident` from the subnet (the default subnet if none is given): the one it
    /// already holds there, else the lowest free one. If none is ours, peers are asked; that
    /// goes on until there is one or the request is cancelled. With the ident
    /// [`ANONYMOUS`] each call gives another address, held under its own text.
    ///
    /// # Errors
    ///
    /// [`Error::Subnet`], [`Error::OutOfBounds`], [`Error::Cancelled`] after a shutdown,
    /// [`Error::Busy`].
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
        let outcome = result.and_then(|found| match found {
            Some(address) => Ok(Outcome::Ready(address)),
            None => self.wait_for(Kind::Allocate(request)),
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

    /// Waits for the ring, and sees that it comes about. After a shutdown there is nothing to wait
    /// for.
    pub fn prime(&mut self, now: Duration) -> Outcome<()> {
        if self.is_shut_down {
            return Outcome::Ready(());
        }
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
        if !self.release_all(now, ident) {
            return Err(Error::NothingHeld(ident.to_owned()));
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
        let outcome = result.and_then(|is_met| match is_met {
            true => Ok(Outcome::Ready(())),
            false => self.wait_for(Kind::Claim(claim)),
        });
        self.commit(now);
        outcome
    }

    pub(super) fn record(&mut self, ident: &str, address: IpNet, is_container: bool) {
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

    /// Releases what an ident holds; whether it held anything.
    pub(super) fn release_all(&mut self, now: Duration, ident: &str) -> bool {
        self.dead.remove(ident);
        let addresses = self.ledger.release_all(ident);
        for address in &addresses {
            self.release(now, address.addr());
        }
        !addresses.is_empty()
    }

    fn wait_for<T>(&mut self, kind: Kind) -> Result<Outcome<T>, Error> {
        if self.pending.is_full() {
            return Err(Error::Busy(kind.describe()));
        }
        Ok(Outcome::Pending(self.pending.insert(kind)))
    }

    fn release(&mut self, now: Duration, address: IpAddr) {
        self.is_dirty = true;
        self.forget_kept(address);
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
}
