//! Two rings that were formed separately become one (`ALGORITHM.md`, section "two rings").
//!
//! Invariant: an address in use that is not in our space is *unsettled*: a request to keep it waits,
//! or it is on the list of those that must be renumbered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::asking::Asks;
use super::contest::Contests;
use super::pending::{Keep, Kind};
use super::{Allocator, Event};
use crate::peer::PeerId;
use crate::ring::{MergeError, Ring};
use crate::span::{Family, number};
use crate::status::RenumberStatus;

impl Allocator {
    /// Gives our ring up for another. Nothing happens if it cannot be used.
    pub(super) fn change_sides(&mut self, now: Duration, theirs: &Ring) -> Result<(), MergeError> {
        let given_up = self.ring.seeds().to_vec();
        Arc::make_mut(&mut self.ring).adopt(theirs)?;
        self.contests = Contests::default();
        self.asks = Asks::default();
        self.refusals.clear();
        self.renumber.clear();
        self.is_awaiting = false;
        let ranges = crate::span::coalesce(self.ring.ranges_of(self.config.peer));
        if self.is_shut_down {
            self.space.clear();
        } else {
            // What is lost with addresses in use is asked for, one by one.
            let _ = self.space.resize(&ranges);
        }
        self.touched = super::Touched::Everything;
        self.is_dirty = true;
        self.is_broadcast_due = true;
        self.prune_nicknames();
        let unsettled = self.keep_addresses();
        self.events.push_back(Event::RingReplaced {
            given_up,
            taken: self.ring.seeds().to_vec(),
            unsettled,
        });
        self.retry(now);
        Ok(())
    }

    /// Sees to every address in use that is not in our space. How many there are.
    pub(super) fn keep_addresses(&mut self) -> usize {
        if self.ring.is_empty() {
            return 0;
        }
        let held = self.ledger.holdings();
        let held: Vec<(String, IpNet)> = held
            .flat_map(|(ident, holding)| {
                let addresses = holding.addresses.iter();
                addresses.map(|address| (ident.to_owned(), *address))
            })
            .filter(|(_, address)| {
                let at = number(address.addr());
                let is_inside = Family::of(address.addr()) == self.universe.family;
                is_inside && self.ring.contains(at) && !self.space.is_in_use(at)
            })
            .collect();
        let mut count = 0;
        for (ident, address) in held {
            let at = number(address.addr());
            if self.space.claim(at).is_ok() {
                self.touch(at);
            } else if self.pending.keeps(address.addr()).is_none() {
                self.pending.insert(Kind::Keep(Keep { ident, address }));
                count += 1;
            }
        }
        count
    }

    /// Whether the address is settled: in our space, or given up.
    pub(super) fn try_keep(&mut self, now: Duration, keep: &Keep) -> bool {
        let at = number(keep.address.addr());
        match self.ring.owner(at) {
            Some(owner) if owner == self.config.peer => {
                let _ = self.space.claim(at);
                self.touch(at);
                self.renumber.remove(&keep.address.addr());
                true
            }
            Some(owner) if self.reachable.contains(&owner) => {
                if !self.renumber.contains_key(&keep.address.addr()) {
                    self.ask_for_address(now, at, owner);
                }
                false
            }
            _ => false,
        }
    }

    /// The owner of an address that we use will not give it.
    pub(super) fn must_renumber(&mut self, at: u128, owner: PeerId) {
        let address = self.universe.family.address(at);
        let Some(keep) = self.pending.keeps(address) else {
            return;
        };
        let (ident, address) = (keep.ident.clone(), keep.address);
        if self.renumber.insert(address.addr(), owner).is_none() {
            self.events.push_back(Event::Renumber {
                ident,
                address,
                owner,
            });
        }
    }

    /// An address in use was released: it need not be kept.
    pub(super) fn forget_kept(&mut self, address: IpAddr) {
        self.renumber.remove(&address);
        self.pending.drop_keep(address);
    }

    pub(super) fn renumber_status(&self) -> Vec<RenumberStatus> {
        let keeps = self.pending.all_keeps();
        keeps
            .map(|keep| {
                let refused_by = self.renumber.get(&keep.address.addr());
                let at = number(keep.address.addr());
                let owner = refused_by.copied().or_else(|| self.ring.owner(at));
                RenumberStatus {
                    ident: keep.ident.clone(),
                    address: keep.address,
                    owner: owner.unwrap_or_default(),
                    is_refused: refused_by.is_some(),
                }
            })
            .collect()
    }
}
