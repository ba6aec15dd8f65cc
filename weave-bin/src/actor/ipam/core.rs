//! The allocator and those who wait for it, without I/O.
//!
//! Answers are collected, not given: the task gives them once the state is saved. An answer that
//! promises something (an address, a release) turns into a failure when saving failed; an answer
//! that only tells something is given all the same.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ipnet::IpNet;
use weave_ipam::{Allocator, Answer, Event, Outcome, PeerId, TakeoverRefusal, Ticket};
use weave_mesh::peer::PeerName;

use super::channel::Input;
use super::{Command, Failure, Grant, Reply};
use crate::actor::keeper::SaveError;

/// The allocator with its callers.
pub(super) struct Core {
    /// The allocator.
    pub(super) allocator: Allocator,
    waiting: HashMap<Ticket, Waiter>,
    answers: Vec<PendingAnswer>,
    relays: Vec<Relay>,
    known: BTreeSet<PeerId>,
    targets: usize,
}

/// What is to be passed on because it was news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relay {
    /// To random neighbours.
    Gossip,
    /// Along the tree of this peer.
    Broadcast(PeerName),
}

enum Waiter {
    /// Waits for an address; had these before.
    Address(Reply<Grant>, Vec<IpNet>),
    Done(Reply<()>),
}

type PendingAnswer = Box<dyn FnOnce(Result<(), &SaveError>) + Send>;

impl Core {
    pub(super) fn new(allocator: Allocator, us: PeerName, targets: usize) -> Self {
        Self {
            allocator,
            waiting: HashMap::new(),
            answers: Vec::new(),
            relays: Vec::new(),
            known: BTreeSet::from([us.into()]),
            targets,
        }
    }

    /// Does what a caller asks, unless it has gone away already.
    pub(super) fn handle_command(&mut self, now: Duration, command: Command) {
        if command.is_abandoned() {
            return;
        }
        match command {
            Command::Allocate {
                ident,
                subnet,
                is_container,
                reply,
            } => {
                let held = self.allocator.lookup(&ident, subnet);
                match self.allocator.allocate(now, &ident, subnet, is_container) {
                    Ok(Outcome::Ready(address)) => self.promise(reply, Ok(grant(address, &held))),
                    Ok(Outcome::Pending(ticket)) => {
                        self.waiting.insert(ticket, Waiter::Address(reply, held));
                    }
                    Err(error) => self.promise(reply, Err(refused(&error))),
                }
            }
            Command::Claim {
                ident,
                address,
                is_container,
                reply,
            } => {
                let outcome = self.allocator.claim(now, &ident, address, is_container);
                self.settle(outcome, reply);
            }
            Command::Reclaim {
                ident,
                address,
                is_container,
                reply,
            } => {
                // Whether at once or later, the allocator sees to it; nobody waits.
                let outcome = self.allocator.reclaim(now, &ident, address, is_container);
                self.promise(reply, outcome.map(drop).map_err(|error| refused(&error)));
            }
            Command::Prime { reply } => {
                let outcome = self.allocator.prime(now);
                self.settle(Ok(outcome), reply);
            }
            Command::Free {
                ident,
                address,
                reply,
            } => {
                let result = self.allocator.free(now, &ident, address);
                self.promise(reply, result.map_err(|error| refused(&error)));
            }
            Command::Delete { ident, reply } => {
                let result = self.allocator.delete(now, &ident);
                self.promise(reply, result.map_err(|error| refused(&error)));
            }
            Command::Takeover { peer, reply } => {
                let gained = match self.allocator.try_takeover(now, &peer) {
                    // Weave Net says the same of a peer it does not know, and of itself.
                    Err(TakeoverRefusal::Unknown | TakeoverRefusal::Ourselves) => Ok(0),
                    Err(reason) => Err(Failure::Refused(format!(
                        "{peer} is not taken over: {reason}"
                    ))),
                    Ok(gained) => Ok(gained),
                };
                self.promise(reply, gained);
            }
            Command::Leave { reply } => {
                self.allocator.shutdown(now);
                self.promise(reply, Ok(()));
            }
            Command::Targets(count) => {
                self.targets = count;
                self.reach(now);
            }
            question => self.answer(question),
        }
    }

    /// Merges what a peer sent.
    pub(super) fn handle_input(&mut self, now: Duration, input: Input) {
        match input {
            Input::Gossip(state) => {
                if self.allocator.handle_gossip(now, state) {
                    self.relays.push(Relay::Gossip);
                }
            }
            Input::Broadcast { source, state } => {
                if self.allocator.handle_broadcast(now, source.into(), state) {
                    self.relays.push(Relay::Broadcast(source));
                }
            }
            Input::Unicast { source, message } => {
                self.allocator.handle_unicast(now, source.into(), message);
            }
        }
    }

    /// The peers of the topology are these.
    pub(super) fn handle_known(&mut self, now: Duration, known: BTreeSet<PeerId>) {
        self.known = known;
        self.reach(now);
    }

    /// Gives up requests whose callers have gone away.
    pub(super) fn sweep(&mut self) {
        let Self {
            waiting, allocator, ..
        } = self;
        waiting.retain(|ticket, waiter| {
            let gone = match waiter {
                Waiter::Address(reply, _) => reply.is_closed(),
                Waiter::Done(reply) => reply.is_closed(),
            };
            if gone {
                allocator.cancel(*ticket);
            }
            !gone
        });
    }

    /// Collects the allocator's answers; other events are for the log.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let mut others = Vec::new();
        while let Some(event) = self.allocator.poll_event() {
            let Event::Settled { ticket, result } = event else {
                others.push(event);
                continue;
            };
            match (self.waiting.remove(&ticket), result) {
                (Some(Waiter::Address(reply, held)), Ok(Answer::Address(address))) => {
                    self.promise(reply, Ok(grant(address, &held)));
                }
                (Some(Waiter::Done(reply)), Ok(_)) => self.promise(reply, Ok(())),
                (Some(Waiter::Address(reply, _)), Err(error)) => {
                    self.promise(reply, Err(refused(&error)));
                }
                (Some(Waiter::Done(reply)), Err(error)) => {
                    self.promise(reply, Err(refused(&error)));
                }
                // Nobody waits any more, or the answer is of another kind than the question.
                _ => {}
            }
        }
        others
    }

    /// What is to be relayed since the last call, each once.
    pub(super) fn take_relays(&mut self) -> Vec<Relay> {
        let mut relays = std::mem::take(&mut self.relays);
        relays.dedup();
        relays
    }

    /// Gives the answers collected; `saved` tells whether the state is durable.
    pub(super) fn give_answers(&mut self, saved: Result<(), &SaveError>) {
        for answer in self.answers.drain(..) {
            answer(saved);
        }
    }

    /// Whether anybody is to be answered.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    fn reach(&mut self, now: Duration) {
        self.allocator
            .handle_reachable(now, self.known.clone(), self.targets);
    }

    fn answer(&mut self, question: Command) {
        match question {
            Command::Lookup {
                ident,
                subnet,
                reply,
            } => {
                let found = self.allocator.lookup(&ident, subnet);
                self.tell(reply, found);
            }
            Command::Owned { reply } => {
                let owned = self
                    .allocator
                    .owned()
                    .map(|(ident, addresses)| (ident.to_owned(), addresses.to_vec()))
                    .collect();
                self.tell(reply, owned);
            }
            Command::Status { reply } => {
                let status = Box::new(self.allocator.status());
                self.tell(reply, status);
            }
            _ => {}
        }
    }

    /// Answers a request, or notes who waits for it.
    fn settle(&mut self, outcome: Result<Outcome<()>, weave_ipam::Error>, reply: Reply<()>) {
        match outcome {
            Ok(Outcome::Ready(())) => self.promise(reply, Ok(())),
            Ok(Outcome::Pending(ticket)) => {
                self.waiting.insert(ticket, Waiter::Done(reply));
            }
            Err(error) => self.promise(reply, Err(refused(&error))),
        }
    }

    /// An answer that holds only when it is saved.
    fn promise<T: Send + 'static>(&mut self, reply: Reply<T>, result: Result<T, Failure>) {
        self.answers.push(Box::new(move |saved| {
            let result = match saved {
                Ok(()) => result,
                Err(error) => result.and(Err(Failure::NotSaved(error.to_string()))),
            };
            // A caller that has gone away finds its address when it asks again.
            let _ = reply.send(result);
        }));
    }

    fn tell<T: Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        self.answers.push(Box::new(move |_| {
            let _ = reply.send(Ok(value));
        }));
    }
}

fn grant(address: IpNet, held: &[IpNet]) -> Grant {
    let is_fresh = !held.iter().any(|held| held.addr() == address.addr());
    Grant { address, is_fresh }
}

fn refused(error: &weave_ipam::Error) -> Failure {
    match error {
        weave_ipam::Error::Cancelled(_) => Failure::Cancelled,
        other => Failure::Refused(other.to_string()),
    }
}
