//! The tasks that own the allocators: one for each family, joined by [`Rings`].
//!
//! Requests, payloads of peers, the reachable peers and time go in; after each batch the state is
//! saved, and only then are answers given, messages sent and the state published. So nobody is
//! ever told of an address or a donation that a power cut could undo, and one sync serves all that
//! happened meanwhile.
//!
//! A caller that goes away while it waits for an address takes its request with it.

mod channel;
mod core;
mod rings;
mod task;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{Notify, mpsc, oneshot};
use weave_ipam::Status;

pub use channel::{Inbox, IpamChannel, pair};
pub use rings::{Asked, Rings};
pub use task::{Surroundings, start};

/// A handle to the task of one family's allocator.
#[derive(Debug, Clone)]
pub struct Ipam {
    commands: mpsc::Sender<Command>,
    abandoned: Arc<Notify>,
    default_subnet: IpNet,
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The allocator says no; the text is for the caller.
    #[error("{0}")]
    Refused(String),
    /// The request was given up, because the host leaves the network.
    #[error("cancelled")]
    Cancelled,
    /// The result could not be saved, so it does not hold. Asking again tries again.
    #[error("cannot save the allocation: {0}")]
    NotSaved(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// An address given to an ident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The address, with the prefix length of the subnet asked for.
    pub address: IpNet,
    /// Whether the ident did not have it before it asked.
    pub is_fresh: bool,
}

type Reply<T> = oneshot::Sender<Result<T, Failure>>;

#[derive(Debug)]
enum Command {
    Allocate {
        ident: String,
        subnet: Option<IpNet>,
        is_container: bool,
        reply: Reply<Grant>,
    },
    Claim {
        ident: String,
        address: IpNet,
        is_container: bool,
        reply: Reply<()>,
    },
    Reclaim {
        ident: String,
        address: IpNet,
        is_container: bool,
        reply: Reply<()>,
    },
    Prime {
        reply: Reply<()>,
    },
    Free {
        ident: String,
        address: IpAddr,
        reply: Reply<()>,
    },
    Delete {
        ident: String,
        reply: Reply<()>,
    },
    Lookup {
        ident: String,
        subnet: Option<IpNet>,
        reply: Reply<Vec<IpNet>>,
    },
    Owned {
        reply: Reply<Vec<(String, Vec<IpNet>)>>,
    },
    Status {
        reply: Reply<Box<Status>>,
    },
    Takeover {
        peer: String,
        reply: Reply<u128>,
    },
    Leave {
        reply: Reply<()>,
    },
    Targets(usize),
}

impl Command {
    /// Whether whoever asked for something that takes effect only for them has gone away. Releases
    /// and the like are done all the same.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Allocate { reply, .. } => reply.is_closed(),
            Self::Claim { reply, .. } | Self::Prime { reply } => reply.is_closed(),
            _ => false,
        }
    }
}

impl Ipam {
    /// The subnet of requests that name none.
    pub fn default_subnet(&self) -> IpNet {
        self.default_subnet
    }

    /// Whether its addresses are IPv4.
    fn is_v4(&self) -> bool {
        self.default_subnet.addr().is_ipv4()
    }

    /// An address for `ident`, the same again for the same ident. Waits while there is none.
    ///
    /// # Errors
    /// See [`Failure`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up; an address given meanwhile stays with `ident`.
    pub async fn allocate(
        &self,
        ident: String,
        subnet: Option<IpNet>,
        is_container: bool,
    ) -> Result<Grant, Failure> {
        self.ask(|reply| Command::Allocate {
            ident,
            subnet,
            is_container,
            reply,
        })
        .await
    }

    /// Claims `address` for `ident`. Waits while its owner is not known.
    ///
    /// # Errors
    /// See [`Failure`].
    ///
    /// # Cancel safety
    /// As [`Ipam::allocate`].
    pub async fn claim(
        &self,
        ident: String,
        address: IpNet,
        is_container: bool,
    ) -> Result<(), Failure> {
        self.ask(|reply| Command::Claim {
            ident,
            address,
            is_container,
            reply,
        })
        .await
    }

    /// Claims an address that is in use already. Does not wait: while its owner is not known, the
    /// claim goes on in the background.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn reclaim(
        &self,
        ident: String,
        address: IpNet,
        is_container: bool,
    ) -> Result<(), Failure> {
        self.ask(|reply| Command::Reclaim {
            ident,
            address,
            is_container,
            reply,
        })
        .await
    }

    /// Waits until there is a ring.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn prime(&self) -> Result<(), Failure> {
        self.ask(|reply| Command::Prime { reply }).await
    }

    /// Frees one address of `ident`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn free(&self, ident: String, address: IpAddr) -> Result<(), Failure> {
        self.ask(|reply| Command::Free {
            ident,
            address,
            reply,
        })
        .await
    }

    /// Frees every address of `ident`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn delete(&self, ident: String) -> Result<(), Failure> {
        self.ask(|reply| Command::Delete { ident, reply }).await
    }

    /// The addresses of `ident` within `subnet`, or the default subnet.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn lookup(
        &self,
        ident: String,
        subnet: Option<IpNet>,
    ) -> Result<Vec<IpNet>, Failure> {
        self.ask(|reply| Command::Lookup {
            ident,
            subnet,
            reply,
        })
        .await
    }

    /// Every ident with its addresses.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn owned(&self) -> Result<Vec<(String, Vec<IpNet>)>, Failure> {
        self.ask(|reply| Command::Owned { reply }).await
    }

    /// What the allocator says about itself.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn status(&self) -> Result<Box<Status>, Failure> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Takes over the ranges of `peer`, a name or a nickname; the number of addresses gained, 0 for
    /// a peer that is not known.
    ///
    /// # Errors
    /// [`Failure::Refused`] if the peer is connected somewhere in the network or the nickname has
    /// two bearers; else see [`Failure`].
    pub async fn take_over(&self, peer: String) -> Result<u128, Failure> {
        self.ask(|reply| Command::Takeover { peer, reply }).await
    }

    /// Gives our ranges to another peer and stops allocating.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn leave(&self) -> Result<(), Failure> {
        self.ask(|reply| Command::Leave { reply }).await
    }

    /// Tells how many other peers were given, from which a quorum follows when none is set.
    pub async fn set_targets(&self, count: usize) {
        // A closed queue means that the daemon stops.
        let _ = self.commands.send(Command::Targets(count)).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| Failure::Stopping)?;
        let mut guard = Abandonment {
            notify: Some(Arc::clone(&self.abandoned)),
        };
        let result = answer.await;
        guard.notify = None;
        result.map_err(|_| Failure::Stopping)?
    }
}

/// Wakes the task when a caller stops waiting, so that it looks for requests nobody waits for.
struct Abandonment {
    notify: Option<Arc<Notify>>,
}

impl Drop for Abandonment {
    fn drop(&mut self) {
        if let Some(notify) = self.notify.take() {
            notify.notify_one();
        }
    }
}

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
