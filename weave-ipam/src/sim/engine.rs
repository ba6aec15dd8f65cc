//! Either kind of peer, as the shell sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::legacy::{Legacy, Output};
use crate::allocator::{Allocator, Answer, Event, Outcome, Ticket, Transmit};
use crate::message::{Message, State};
use crate::peer::PeerId;
use crate::ring::{MergeError, Ring};
use crate::snapshot::Snapshot;

#[derive(Clone, Debug)]
pub(super) enum Engine {
    Native(Box<Allocator>),
    Legacy(Box<Legacy>),
}

/// Names a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slip {
    Native(Ticket),
    Legacy(u64),
}

/// How a request stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// Met; the address, for allocations and claims alike.
    Met(IpNet),
    Waits(Slip),
    Failed,
}

/// What came out of an engine, in order.
#[derive(Debug)]
pub(super) enum Effect {
    Broadcast,
    Unicast(PeerId, Message),
    Settled(Slip, Option<Answer>),
    Event(Event),
}

impl Engine {
    pub(super) fn native(&self) -> Option<&Allocator> {
        match self {
            Self::Native(allocator) => Some(allocator),
            Self::Legacy(_) => None,
        }
    }

    pub(super) fn ring(&self) -> &Ring {
        match self {
            Self::Native(allocator) => allocator.ring(),
            Self::Legacy(legacy) => legacy.ring(),
        }
    }

    pub(super) fn state(&self, unix_seconds: i64) -> State {
        match self {
            Self::Native(allocator) => allocator.state(unix_seconds),
            Self::Legacy(legacy) => legacy.state(unix_seconds),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        match self {
            Self::Native(allocator) => allocator.snapshot(),
            Self::Legacy(legacy) => legacy.snapshot(),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Native(allocator) => allocator.revision(),
            Self::Legacy(legacy) => legacy.revision(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Native(allocator) => allocator.poll_timeout(),
            Self::Legacy(legacy) => legacy.poll_timeout(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        match self {
            Self::Native(allocator) => allocator.handle_timeout(now),
            Self::Legacy(legacy) => legacy.handle_timeout(now),
        }
    }

    pub(super) fn handle_reachable(&mut self, now: Duration, peers: BTreeSet<PeerId>, all: usize) {
        match self {
            Self::Native(allocator) => allocator.handle_reachable(now, peers, all),
            Self::Legacy(legacy) => legacy.handle_reachable(peers),
        }
    }

    pub(super) fn handle_unicast(
        &mut self,
        now: Duration,
        from: PeerId,
        message: Message,
    ) -> Result<(), MergeError> {
        match self {
            Self::Native(allocator) => {
                allocator.handle_unicast(now, from, message);
                Ok(())
            }
            Self::Legacy(legacy) => legacy.handle_unicast(now, from, message),
        }
    }

    /// Whether to pass the broadcast on.
    pub(super) fn handle_broadcast(
        &mut self,
        now: Duration,
        source: PeerId,
        state: State,
    ) -> Result<bool, MergeError> {
        match self {
            Self::Native(allocator) => Ok(allocator.handle_broadcast(now, source, state)),
            Self::Legacy(legacy) => legacy.handle_state(now, Some(source), state).map(|()| true),
        }
    }

    /// Whether it told us anything worth passing on.
    pub(super) fn handle_gossip(
        &mut self,
        now: Duration,
        state: State,
    ) -> Result<bool, MergeError> {
        match self {
            Self::Native(allocator) => Ok(allocator.handle_gossip(now, state)),
            Self::Legacy(legacy) => legacy.handle_state(now, None, state).map(|()| false),
        }
    }

    pub(super) fn handle_send_failed(&mut self, now: Duration, to: PeerId) {
        if let Self::Native(allocator) = self {
            allocator.handle_send_failed(now, to);
        }
    }

    pub(super) fn allocate(&mut self, now: Duration, ident: &str) -> Reply {
        match self {
            Self::Native(allocator) => match allocator.allocate(now, ident, None, true) {
                Ok(Outcome::Ready(address)) => Reply::Met(address),
                Ok(Outcome::Pending(ticket)) => Reply::Waits(Slip::Native(ticket)),
                Err(_) => Reply::Failed,
            },
            Self::Legacy(legacy) => match legacy.allocate(now, ident) {
                Ok(address) => Reply::Met(address),
                Err(ticket) => Reply::Waits(Slip::Legacy(ticket)),
            },
        }
    }

    /// `is_found`: the address was found in use on this host.
    pub(super) fn claim(
        &mut self,
        now: Duration,
        ident: &str,
        address: IpNet,
        is_found: bool,
    ) -> Reply {
        match self {
            Self::Native(allocator) => {
                let outcome = if is_found {
                    allocator.reclaim(now, ident, address, true)
                } else {
                    allocator.claim(now, ident, address, true)
                };
                match outcome {
                    Ok(Outcome::Ready(())) => Reply::Met(address),
                    Ok(Outcome::Pending(ticket)) => Reply::Waits(Slip::Native(ticket)),
                    Err(_) => Reply::Failed,
                }
            }
            Self::Legacy(legacy) => match legacy.claim(now, ident, address) {
                Ok(address) => Reply::Met(address),
                Err(ticket) => Reply::Waits(Slip::Legacy(ticket)),
            },
        }
    }

    pub(super) fn set_deadline(&mut self, slip: Slip, at: Duration) {
        if let (Self::Native(allocator), Slip::Native(ticket)) = (self, slip) {
            allocator.set_deadline(ticket, at);
        }
    }

    pub(super) fn cancel(&mut self, slip: Slip) {
        match (self, slip) {
            (Self::Native(allocator), Slip::Native(ticket)) => {
                allocator.cancel(ticket);
            }
            (Self::Legacy(legacy), Slip::Legacy(ticket)) => legacy.cancel(ticket),
            _ => {}
        }
    }

    pub(super) fn delete(&mut self, now: Duration, ident: &str) {
        match self {
            // Nothing is held if the answer never came.
            Self::Native(allocator) => drop(allocator.delete(now, ident)),
            Self::Legacy(legacy) => legacy.delete(now, ident),
        }
    }

    pub(super) fn takeover(&mut self, now: Duration, victim: PeerId) {
        match self {
            Self::Native(allocator) => {
                allocator.takeover(now, &victim.to_string());
            }
            Self::Legacy(legacy) => {
                legacy.takeover(now, victim);
            }
        }
    }

    pub(super) fn shutdown(&mut self, now: Duration) {
        match self {
            Self::Native(allocator) => allocator.shutdown(now),
            Self::Legacy(legacy) => legacy.shutdown(now),
        }
    }

    /// What idents hold.
    pub(super) fn holdings(&self) -> Vec<(String, Vec<IpNet>)> {
        let own = |(ident, held): (&str, &[IpNet])| (ident.to_owned(), held.to_vec());
        match self {
            Self::Native(allocator) => allocator.owned().map(own).collect(),
            Self::Legacy(legacy) => legacy.owned().map(own).collect(),
        }
    }

    /// Takes everything out: events first, then messages.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self {
            Self::Native(allocator) => {
                while let Some(event) = allocator.poll_event() {
                    effects.push(match event {
                        Event::Settled { ticket, result } => {
                            Effect::Settled(Slip::Native(ticket), result.ok())
                        }
                        event => Effect::Event(event),
                    });
                }
                while let Some(transmit) = allocator.poll_transmit() {
                    effects.push(match transmit {
                        Transmit::Broadcast => Effect::Broadcast,
                        Transmit::Unicast { to, message } => Effect::Unicast(to, message),
                    });
                }
            }
            Self::Legacy(legacy) => {
                while let Some(output) = legacy.poll_output() {
                    effects.push(match output {
                        Output::Broadcast => Effect::Broadcast,
                        Output::Unicast(to, message) => Effect::Unicast(to, message),
                        Output::Settled(ticket, address) => {
                            Effect::Settled(Slip::Legacy(ticket), address.map(Answer::Address))
                        }
                    });
                }
            }
        }
        effects
    }
}
