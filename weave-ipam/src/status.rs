//! What an operator wants to know, as plain data.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::peer::PeerId;

/// A picture of an allocator at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// What it is doing; prints as `weave status` says it.
    pub phase: Phase,
    /// The universe.
    pub universe: IpNet,
    /// Addresses in the universe.
    pub universe_size: u128,
    /// Where addresses come from by default.
    pub default_subnet: IpNet,
    /// The vote, while it goes on.
    pub paxos: Option<PaxosStatus>,
    /// Addresses in use here, inside the universe.
    pub active: u128,
    /// Addresses that peers outside the network own.
    pub unreachable: u128,
    /// Ranges in token order; one that goes round the end of the universe gives two.
    pub entries: Vec<EntryStatus>,
    /// Owners: ourselves first if we own something, then by name.
    pub owners: Vec<OwnerStatus>,
    /// Claims that wait: ident and address.
    pub pending_claims: Vec<(String, IpNet)>,
    /// Allocations that wait: ident and subnet.
    pub pending_allocates: Vec<(String, IpNet)>,
    /// Callers that wait for the ring.
    pub pending_primes: usize,
    /// Ranges in which nothing is handed out because another peer claims them, and that peer.
    pub contested: Vec<(String, PeerId)>,
    /// Entries that contradict ours, as text.
    pub conflicts: Vec<String>,
    /// The last refusal of each source, as text.
    pub refusals: Vec<String>,
    /// What of our own space is not given at this time, and why.
    pub holds: Vec<HoldStatus>,
    /// Why another process may run under our name.
    pub doubt: Option<DoubtStatus>,
    /// Addresses in use here that other peers own: to be given to us, or renumbered.
    pub renumber: Vec<RenumberStatus>,
    /// What was given to peers that asked, since the start.
    pub donated: Donated,
    /// Events left out because nobody took them.
    pub events_dropped: u64,
}

/// Space given to peers that asked for it, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Donated {
    /// Ranges given.
    pub ranges: u64,
    /// Addresses in them.
    pub addresses: u128,
}

/// What an allocator is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Phase {
    /// There is a ring, and none of its owners is in the network.
    Stranded,
    /// Allocations wait for an address.
    Waiting,
    /// Nothing is wanting.
    Ready,
    /// A vote is going on.
    Voting {
        /// How many must agree.
        quorum: usize,
        /// Voters known.
        known: usize,
    },
    /// An observer waits for a ring.
    Priming,
    /// No ring, and no one has asked for anything.
    Idle,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranded => f.write_str(
                "all IP ranges owned by unreachable peers - use 'rmpeer' if they are dead",
            ),
            Self::Waiting => f.write_str("waiting for IP(s) to become available"),
            Self::Ready => f.write_str("ready"),
            Self::Voting { quorum, known } => {
                write!(f, "awaiting consensus (quorum: {quorum}, known: {known})")
            }
            Self::Priming => f.write_str("priming"),
            Self::Idle => f.write_str("idle"),
        }
    }
}

/// Why own space is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum HoldCause {
    /// After a start from saved state the others are heard first.
    Restart,
    /// Another process may run under our name.
    Doubt,
    /// What was taken over is not given before the others were heard.
    Takeover,
}

impl fmt::Display for HoldCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "hearing the other peers after a restart",
            Self::Doubt => "another process may run under our name",
            Self::Takeover => "hearing the other peers after a takeover",
        })
    }
}

/// Own space that is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HoldStatus {
    /// Why.
    pub cause: HoldCause,
    /// Which of it.
    pub ranges: Vec<String>,
    /// When it ends at the latest, in the caller's time.
    pub until: Duration,
    /// Whose rings are waited for.
    pub awaited: Vec<PeerId>,
}

impl fmt::Display for HoldStatus {
    /// `10.32.0.0/12 held: hearing the other peers after a restart (waiting for 2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} held: {}", self.ranges.join(" "), self.cause)?;
        match self.awaited.len() {
            0 => Ok(()),
            count => write!(f, " (waiting for {count})"),
        }
    }
}

/// Evidence that another process edits our entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DoubtStatus {
    /// Whether evidence came so often that the other process must be running.
    pub is_twin: bool,
    /// An entry of ours that is known better elsewhere.
    pub token: IpAddr,
    /// By whose ring.
    pub reporter: PeerId,
    /// The version it has there.
    pub version: u32,
    /// When it was first seen, in the caller's time.
    pub since: Duration,
}

impl fmt::Display for DoubtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            reporter,
            version,
            ..
        } = self;
        if self.is_twin {
            write!(
                f,
                "another process runs under our name, seen by {reporter} at {token} v{version}: \
                 stop one of the two or give it a name of its own"
            )
        } else {
            write!(
                f,
                "peer {reporter} knows our entry {token} v{version} better than we do: our state was \
                 rolled back or lost, or another process runs under our name"
            )
        }
    }
}

/// An address in use here that another peer owns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RenumberStatus {
    /// Who holds it here.
    pub ident: String,
    /// The address.
    pub address: IpNet,
    /// Who owns it by the ring, or refused to give it.
    pub owner: PeerId,
    /// Whether the owner refused: then the holder needs another address.
    pub is_refused: bool,
}

impl fmt::Display for RenumberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ident,
            address,
            owner,
            ..
        } = self;
        if self.is_refused {
            write!(
                f,
                "{address} of {ident} belongs to {owner}: give it another address"
            )
        } else {
            write!(f, "{address} of {ident} is being asked for from {owner}")
        }
    }
}

/// The vote on who forms the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PaxosStatus {
    /// Whether we vote.
    pub is_elector: bool,
    /// Voters known.
    pub known_nodes: usize,
    /// How many must agree.
    pub quorum: usize,
}

/// One range.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EntryStatus {
    /// Its first address.
    pub token: IpAddr,
    /// Its addresses.
    pub size: u128,
    /// Its owner.
    pub peer: PeerId,
    /// The owner's nickname, empty if not known.
    pub nickname: String,
    /// Whether the owner is in the network.
    pub is_known_peer: bool,
    /// Version of the entry.
    pub version: u32,
    /// Free addresses last reported.
    pub free: u32,
}

/// One owner.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OwnerStatus {
    /// The peer.
    pub peer: PeerId,
    /// Its nickname, empty if not known.
    pub nickname: String,
    /// Addresses it owns.
    pub addresses: u128,
    /// Share of the universe, 0 to 1.
    pub share: f64,
    /// Whether it is in the network; we always are.
    pub is_reachable: bool,
    /// Whether it is ourselves.
    pub is_local: bool,
}
