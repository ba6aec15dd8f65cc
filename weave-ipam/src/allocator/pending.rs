//! Requests that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;

use super::event::Ticket;
use crate::span::{AddressRange, Span, number};

/// The requests that could not be answered at once, by ticket.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    requests: BTreeMap<Ticket, Request>,
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
    Claim(Claim),
    Allocate(Allocate),
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

    /// Tickets in the order in which to retry them: primes, claims, allocations; each by age.
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
                Kind::Prime | Kind::Allocate(_) => None,
            })
    }

    pub(super) fn allocates(&self) -> impl Iterator<Item = &Allocate> {
        self.requests
            .values()
            .filter_map(|request| match &request.kind {
                Kind::Allocate(allocate) => Some(allocate),
                Kind::Prime | Kind::Claim(_) => None,
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
    const fn rank(&self) -> u8 {
        match self {
            Self::Prime => 0,
            Self::Claim(_) => 1,
            Self::Allocate(_) => 2,
        }
    }

    /// The space that would meet the request.
    pub(super) fn range(&self, universe: Span) -> Option<Span> {
        match self {
            Self::Prime => None,
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
            Self::Claim(claim) => format!("Claim request for {}", claim.ident),
            Self::Allocate(allocate) => format!("Allocate request for {}", allocate.ident),
        }
    }
}
