//! Requests that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::event::Ticket;
use crate::span::{AddressRange, Span, number};

/// Requests that may wait at one time.
pub(super) const MAX_PENDING: usize = 1 << 16;

/// The requests that could not be answered at once, by ticket.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    requests: BTreeMap<Ticket, Request>,
    /// The requests that keep an address.
    kept: BTreeMap<IpAddr, Ticket>,
    next: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) deadline: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Prime,
    Keep(Keep),
    Claim(Claim),
    Allocate(Allocate),
}

/// An address in use that another peer owns by the ring. Nobody waits for the answer.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    pub(super) ident: String,
    pub(super) address: IpNet,
}

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) ident: String,
    pub(super) address: IpNet,
    pub(super) is_container: bool,
    /// Never gives up because the owner cannot be asked.
    pub(super) is_patient: bool,
    /// Ticks spent waiting.
    pub(super) tries: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Allocate {
    pub(super) ident: String,
    pub(super) subnet: IpNet,
    pub(super) is_container: bool,
}

impl Pending {
    pub(super) fn insert(&mut self, kind: Kind) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        if let Kind::Keep(keep) = &kind {
            self.kept.insert(keep.address.addr(), ticket);
        }
        self.requests.insert(
            ticket,
            Request {
                kind,
                deadline: None,
            },
        );
        ticket
    }

    pub(super) fn put_back(&mut self, ticket: Ticket, request: Request) {
        self.requests.insert(ticket, request);
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Request> {
        self.requests.remove(&ticket)
    }

    /// The request that keeps an address.
    pub(super) fn keeps(&self, address: IpAddr) -> Option<&Keep> {
        let ticket = self.kept.get(&address);
        let request = ticket.and_then(|ticket| self.requests.get(ticket));
        request.and_then(|request| request.kind.keep())
    }

    pub(super) fn all_keeps(&self) -> impl Iterator<Item = &Keep> {
        let requests = self.kept.values().filter_map(|t| self.requests.get(t));
        requests.filter_map(|request| request.kind.keep())
    }

    pub(super) fn drop_keep(&mut self, address: IpAddr) {
        if let Some(ticket) = self.kept.remove(&address) {
            self.requests.remove(&ticket);
        }
    }

    pub(super) fn drop_keeps(&mut self) {
        for ticket in std::mem::take(&mut self.kept).into_values() {
            self.requests.remove(&ticket);
        }
    }

    /// The requests of an ident that somebody waits for.
    pub(super) fn of_ident(&self, ident: &str) -> Vec<Ticket> {
        let is_its = |kind: &Kind| match kind {
            Kind::Claim(claim) => claim.ident == ident,
            Kind::Allocate(allocate) => allocate.ident == ident,
            Kind::Prime | Kind::Keep(_) => false,
        };
        let requests = self.requests.iter();
        requests
            .filter(|(_, request)| is_its(&request.kind))
            .map(|(ticket, _)| *ticket)
            .collect()
    }

    /// Whether no more requests may wait.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() - self.kept.len() >= MAX_PENDING
    }

    pub(super) fn set_deadline(&mut self, ticket: Ticket, deadline: Duration) -> bool {
        let request = self.requests.get_mut(&ticket);
        request
            .map(|request| request.deadline = Some(deadline))
            .is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.requests
            .values()
            .filter_map(|request| request.deadline)
            .min()
    }

    /// Tickets in the order in which to retry them: primes, addresses to keep, claims,
    /// allocations; each by age.
    pub(super) fn in_order(&self) -> Vec<Ticket> {
        let mut tickets: Vec<_> = self
            .requests
            .iter()
            .map(|(ticket, request)| (request.kind.rank(), *ticket))
            .collect();
        tickets.sort_unstable();
        tickets.into_iter().map(|(_, ticket)| ticket).collect()
    }

    pub(super) fn allocations(&self) -> Vec<Ticket> {
        let requests = self.requests.iter();
        requests
            .filter(|(_, request)| matches!(request.kind, Kind::Allocate(_)))
            .map(|(ticket, _)| *ticket)
            .collect()
    }

    pub(super) fn overdue(&self, now: Duration) -> Vec<Ticket> {
        let requests = self.requests.iter();
        requests
            .filter(|(_, request)| request.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(ticket, _)| *ticket)
            .collect()
    }

    /// A tick has passed.
    pub(super) fn count_tries(&mut self) {
        for request in self.requests.values_mut() {
            if let Kind::Claim(claim) = &mut request.kind {
                claim.tries = claim.tries.saturating_add(1);
            }
        }
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = (Ticket, &Claim)> {
        self.requests
            .iter()
            .filter_map(|(ticket, request)| match &request.kind {
                Kind::Claim(claim) => Some((*ticket, claim)),
                Kind::Prime | Kind::Keep(_) | Kind::Allocate(_) => None,
            })
    }

    pub(super) fn allocates(&self) -> impl Iterator<Item = &Allocate> {
        self.requests
            .values()
            .filter_map(|request| match &request.kind {
                Kind::Allocate(allocate) => Some(allocate),
                Kind::Prime | Kind::Keep(_) | Kind::Claim(_) => None,
            })
    }

    pub(super) fn primes(&self) -> usize {
        self.requests
            .values()
            .filter(|request| matches!(request.kind, Kind::Prime))
            .count()
    }

    /// The ranges for which requests wait.
    pub(super) fn ranges(&self, universe: Span) -> BTreeSet<Span> {
        let requests = self.requests.values();
        requests
            .filter_map(|request| request.kind.range(universe))
            .collect()
    }
}

impl Kind {
    const fn keep(&self) -> Option<&Keep> {
        match self {
            Self::Keep(keep) => Some(keep),
            Self::Prime | Self::Claim(_) | Self::Allocate(_) => None,
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Prime => 0,
            Self::Keep(_) => 1,
            Self::Claim(_) => 2,
            Self::Allocate(_) => 3,
        }
    }

    /// The space that would meet the request.
    pub(super) fn range(&self, universe: Span) -> Option<Span> {
        match self {
            Self::Prime => None,
            Self::Keep(keep) => Some(Span::single(number(keep.address.addr()))),
            Self::Claim(claim) => Some(Span::single(number(claim.address.addr()))),
            Self::Allocate(allocate) => AddressRange::of(allocate.subnet)
                .span
                .intersection(universe),
        }
    }

    /// How the request is called in texts.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Prime => "Prime request".to_owned(),
            Self::Keep(keep) => format!("Keep request for {}", keep.ident),
            Self::Claim(claim) => format!("Claim request for {}", claim.ident),
            Self::Allocate(allocate) => format!("Allocate request for {}", allocate.ident),
        }
    }
}
