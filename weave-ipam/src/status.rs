//! What an operator wants to know, as plain data.

use std::fmt;
use std::net::IpAddr;

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
