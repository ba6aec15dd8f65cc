//! What comes out of an allocator: answers, messages to send, events, errors.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::config::ConfigError;
use super::pending::MAX_PENDING;
use crate::address::AddressError;
use crate::message::Message;
use crate::peer::PeerId;
use crate::ring::{Conflict, Violation};
use crate::snapshot::SnapshotError;
use crate::space::SpaceError;
use crate::span::AddressRange;
use crate::status::HoldCause;

/// A request is answered, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome<T> {
    /// Answered.
    Ready(T),
    /// [`Event::Settled`] with this ticket will answer it, unless it is cancelled.
    Pending(Ticket),
}

/// A pending request. Later requests have greater tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// The answer to a request that was pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An allocation got this address.
    Address(IpNet),
    /// A claim is recorded, or the ring exists.
    Done,
}

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// To one peer. If it cannot be sent, say so with
    /// [`Allocator::handle_send_failed`](crate::Allocator::handle_send_failed).
    Unicast {
        /// The peer.
        to: PeerId,
        /// The message; see [`Message::stamp`].
        message: Message,
    },
    /// Our [`Allocator::state`](crate::Allocator::state), to everyone.
    Broadcast,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A pending request is answered.
    Settled {
        /// The request.
        ticket: Ticket,
        /// Its answer.
        result: Result<Answer, Error>,
    },
    /// There is a ring: formed, or received from a peer.
    RingEstablished,
    /// An entry of a peer's ring contradicts ours and was left out; the rest was merged. No
    /// addresses are handed out in its span until the peer changes its mind.
    Conflict {
        /// Whose ring says so.
        reporter: PeerId,
        /// What it says.
        conflict: Conflict,
    },
    /// A peer's ring was not merged at all.
    Refused {
        /// The sender, where the message tells.
        source: Option<PeerId>,
        /// Why.
        refusal: Refusal,
    },
    /// Peers know more of our own entries than we do: this peer's state was rolled back or lost, or
    /// another process runs under its name.
    Outdated {
        /// First address of the first such entry.
        token: IpAddr,
        /// How many entries.
        count: usize,
    },
    /// Another process runs under our name: evidence comes again and again. Stop or rename one.
    Twin {
        /// An entry of ours that it edits.
        token: IpAddr,
        /// Whose ring shows it.
        reporter: PeerId,
    },
    /// Nothing is given from our own space, or a part of it, until [`Event::HoldOver`].
    Held(HoldCause),
    /// What was held for this cause is given again.
    HoldOver(HoldCause),
    /// Our ring gave way to one that was formed by other peers.
    RingReplaced {
        /// Among whom the ring was formed that is no more.
        given_up: Vec<PeerId>,
        /// Among whom the other was formed.
        taken: Vec<PeerId>,
        /// Addresses in use whose owners are asked for them.
        unsettled: usize,
    },
    /// An address in use here belongs to another peer, which does not give it: the holder needs
    /// another.
    Renumber {
        /// The holder.
        ident: String,
        /// The address.
        address: IpNet,
        /// Whose it is.
        owner: PeerId,
    },
    /// A range that was ours belongs to another peer; nothing in it was in use.
    RangeLost(AddressRange),
    /// A takeover was not done.
    TakeoverRefused {
        /// As given.
        peer: String,
        /// Why not.
        reason: TakeoverRefusal,
    },
}

/// Why a peer's space is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverRefusal {
    /// Neither a nickname that is known nor a peer name.
    #[error("no such peer")]
    Unknown,
    /// Two peers have the nickname.
    #[error("more than one peer has this nickname: give the peer name")]
    Ambiguous,
    /// That is ourselves.
    #[error("this is our own name")]
    Ourselves,
    /// The peer is connected somewhere in the network.
    #[error("the peer is alive: stop it first")]
    Alive,
}

/// A ring that cannot be merged. The sender stays connected; our ring is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The two rings were formed separately.
    #[error(
        "IP allocation was seeded by different peers (received: {}, ours: {})",
        Names(.received), Names(.ours)
    )]
    Seeds {
        /// Their seeds with the nicknames we know.
        received: Vec<(PeerId, Option<String>)>,
        /// Ours.
        ours: Vec<(PeerId, Option<String>)>,
    },
    /// The sender is configured with another address range.
    #[error("Incompatible IP allocation ranges (received: {received}, ours: {ours})")]
    Universe {
        /// Theirs.
        received: AddressRange,
        /// Ours.
        ours: AddressRange,
    },
    /// The ring breaks an invariant.
    #[error("{0}")]
    Unsound(Violation),
    /// The merged ring would have more entries than a ring may have.
    #[error("a merge would give the ring {0} entries, more than it may have")]
    TooLarge(usize),
}

/// Why a request failed. The text is what Weave Net's HTTP interface says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The saved state cannot be used. Nothing was overwritten.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Not a subnet that addresses can be allocated from.
    #[error(transparent)]
    Subnet(#[from] AddressError),
    /// The subnet has no address in the universe.
    #[error("range {subnet} out of bounds: {universe}")]
    OutOfBounds {
        /// The subnet asked from.
        subnet: IpNet,
        /// The universe.
        universe: IpNet,
    },
    /// The allocator is shut down.
    #[error("{0} cancelled")]
    Cancelled(String),
    /// The deadline passed. What was being waited for is in the text.
    #[error("{request} not met in time: {waiting}")]
    Deadline {
        /// Which request.
        request: String,
        /// What it was waiting for.
        waiting: String,
    },
    /// Too many requests wait.
    #[error("{0} refused: {MAX_PENDING} requests wait already")]
    Busy(String),
    /// The claimed address has a holder.
    #[error("address {address} is already owned by {holder}")]
    AlreadyOwned {
        /// The address.
        address: IpNet,
        /// Who holds it.
        holder: String,
    },
    /// The claimed address was given to a holder without an id.
    #[error("address {0} already in use")]
    AlreadyInUse(IpNet),
    /// The claimed address, outside the universe, has a holder.
    #[error("address {address} already in use by {holder}")]
    AlreadyInUseBy {
        /// The address.
        address: IpNet,
        /// Who holds it.
        holder: String,
    },
    /// Another peer owns the claimed address and does not give it, or cannot be asked.
    #[error("address {address} is owned by other peer {peer} ({nickname}){}", Reason(.reason))]
    OtherPeer {
        /// The address.
        address: IpNet,
        /// The owner.
        peer: PeerId,
        /// Its nickname, empty if not known.
        nickname: String,
        /// Why it cannot be asked; `None` if it said no.
        reason: Option<String>,
    },
    /// The space set refuses.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The ident does not hold the address.
    #[error("Free: address {address} not found for {ident}")]
    NotHeld {
        /// The address.
        address: IpAddr,
        /// The ident.
        ident: String,
    },
    /// The ident holds nothing.
    #[error("Delete: no addresses for {0}")]
    NothingHeld(String),
}

struct Names<'a>(&'a [(PeerId, Option<String>)]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(peer, nickname)| match nickname {
            Some(nickname) => format!("{peer}({nickname})"),
            None => peer.to_string(),
        });
        write!(f, "[{}]", names.collect::<Vec<_>>().join(" "))
    }
}

struct Reason<'a>(&'a Option<String>);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .as_ref()
            .map_or(Ok(()), |reason| write!(f, " - {reason}"))
    }
}
