//! What a peer must find again after a restart: its ring and who holds its addresses.
//!
//! A snapshot carries its format number, universe and peer, so that it is recognised when it
//! belongs to another configuration: then it is refused, never replaced by an empty state.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::consensus::{AcceptedValue, Claims, NodeId, ProposalId};
use crate::ledger::{Holding, Ledger};
use crate::peer::PeerId;
use crate::ring::{Entry, Ring, Violation};
use crate::span::{AddressRange, Family, number};

/// Durable state. With feature `serde` it can be written in any format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// [`Snapshot::FORMAT`] at the time of writing.
    pub format: u32,
    /// The configured universe.
    pub universe: IpNet,
    /// Whose state this is.
    pub peer: PeerId,
    /// The ring, once there is one.
    pub ring: Option<SnapshotRing>,
    /// Addresses by holder.
    pub owned: BTreeMap<String, Holding>,
    /// What we voted while there is no ring. Without it the next process is another voter.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub voter: Option<SnapshotVoter>,
}

/// The votes of a [`Snapshot`]; see [`Claims`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SnapshotVoter {
    /// The incarnation that votes.
    pub uid: u64,
    /// Round, proposer and its incarnation of what was promised.
    pub promise: (u64, PeerId, u64),
    /// The same of what was accepted; round 0 is nothing.
    pub accepted: (u64, PeerId, u64),
    /// The seeds that were accepted.
    pub seeds: Vec<PeerId>,
    /// The proposal that first carried them.
    pub origin: (u64, PeerId, u64),
}

impl SnapshotVoter {
    pub(crate) fn of(node: NodeId, claims: &Claims) -> Self {
        let parts = |id: ProposalId| (id.round, id.proposer.name, id.proposer.uid);
        Self {
            uid: node.uid,
            promise: parts(claims.promise),
            accepted: parts(claims.accepted),
            seeds: claims.value.peers.clone(),
            origin: parts(claims.value.origin),
        }
    }

    pub(crate) fn claims(&self) -> Claims {
        let proposal = |(round, name, uid)| ProposalId {
            round,
            proposer: NodeId { name, uid },
        };
        Claims {
            promise: proposal(self.promise),
            accepted: proposal(self.accepted),
            value: AcceptedValue {
                peers: self.seeds.clone(),
                origin: proposal(self.origin),
            },
        }
    }
}

/// The ring of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SnapshotRing {
    /// The peers the universe was first divided among.
    pub seeds: Vec<PeerId>,
    /// All entries, tokens ascending.
    pub entries: Vec<SnapshotEntry>,
}

/// A ring entry of a [`Snapshot`]; see [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SnapshotEntry {
    /// First address of the range.
    pub token: IpAddr,
    /// Its owner.
    pub peer: PeerId,
    /// Version of the entry.
    pub version: u32,
    /// Free addresses last reported.
    pub free: u32,
}

impl SnapshotEntry {
    /// The entry of `peer` that begins at `token`.
    #[must_use]
    pub fn new(token: IpAddr, peer: PeerId, version: u32, free: u32) -> Self {
        Self {
            token,
            peer,
            version,
            free,
        }
    }
}

impl Snapshot {
    /// The format this crate writes, and the only one it reads.
    pub const FORMAT: u32 = 1;

    /// The state of `peer` in `universe`, without a ring and with nothing owned: what another
    /// program's records are filled into.
    #[must_use]
    pub fn new(universe: IpNet, peer: PeerId) -> Self {
        Self {
            format: Self::FORMAT,
            universe,
            peer,
            ring: None,
            owned: BTreeMap::new(),
            voter: None,
        }
    }

    pub(crate) fn take(universe: IpNet, ring: &Ring, ledger: &Ledger) -> Self {
        let holdings = ledger.holdings();
        Self {
            format: Self::FORMAT,
            universe,
            peer: ring.peer(),
            ring: (!ring.is_empty()).then(|| SnapshotRing::of(ring)),
            owned: holdings
                .map(|(ident, held)| (ident.to_owned(), held.clone()))
                .collect(),
            voter: None,
        }
    }

    /// The ring and the ledger, if this is the state of this peer in this universe.
    pub(crate) fn restore(
        self,
        universe: IpNet,
        peer: PeerId,
    ) -> Result<(Ring, Ledger), SnapshotError> {
        if self.format != Self::FORMAT {
            return Err(SnapshotError::Format(self.format));
        }
        if self.peer != peer {
            return Err(SnapshotError::Peer {
                found: self.peer,
                ours: peer,
            });
        }
        if self.universe != universe {
            return Err(SnapshotError::Universe {
                found: self.universe,
                ours: universe,
            });
        }
        let range = AddressRange::of(universe);
        let ring = match self.ring {
            Some(ring) => ring.restore(range, peer)?,
            None => Ring::new(range, peer),
        };
        let mut ledger = Ledger::default();
        for (ident, holding) in self.owned {
            for address in holding.addresses {
                if let Some(holder) = ledger.holder(address.addr()) {
                    let idents = [holder.to_owned(), ident];
                    return Err(SnapshotError::HeldTwice {
                        address: address.addr(),
                        idents,
                    });
                }
                ledger.record(&ident, address, holding.is_container);
            }
        }
        Ok((ring, ledger))
    }
}

impl SnapshotRing {
    /// A ring of `entries`, first divided among `seeds`.
    #[must_use]
    pub fn new(seeds: Vec<PeerId>, entries: Vec<SnapshotEntry>) -> Self {
        Self { seeds, entries }
    }

    fn of(ring: &Ring) -> Self {
        let family = ring.universe().family;
        let entries = ring.entries().iter().map(|entry| SnapshotEntry {
            token: family.address(entry.token),
            peer: entry.peer,
            version: entry.version,
            free: entry.free,
        });
        Self {
            seeds: ring.seeds().to_vec(),
            entries: entries.collect(),
        }
    }

    fn restore(self, universe: AddressRange, peer: PeerId) -> Result<Ring, SnapshotError> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for SnapshotEntry {
            token,
            peer,
            version,
            free,
        } in self.entries
        {
            if Family::of(token) != universe.family {
                return Err(SnapshotError::Ring(Violation::OutOfRange));
            }
            entries.push(Entry {
                token: number(token),
                peer,
                version,
                free,
            });
        }
        let ring = Ring::from_parts(universe, peer, entries, self.seeds);
        ring.check().map_err(SnapshotError::Ring)?;
        Ok(ring)
    }
}

/// A snapshot that cannot be used. Keep it: it is the only record of who holds what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Written by another version of this crate.
    #[error(
        "saved address state has format {0}, this program reads format 1: use the program that wrote it"
    )]
    Format(u32),
    /// The state of another peer: a copied disk, or the peer name was changed.
    #[error(
        "saved address state belongs to peer {found}, this peer is {ours}: restore the name or move the file away"
    )]
    Peer {
        /// Whose state it is.
        found: PeerId,
        /// Our name.
        ours: PeerId,
    },
    /// The address range was reconfigured.
    #[error(
        "saved address state is for range {found}, the configured range is {ours}: restore the range or move the file away"
    )]
    Universe {
        /// The range it is for.
        found: IpNet,
        /// Our range.
        ours: IpNet,
    },
    /// The ring breaks an invariant.
    #[error("saved address state is damaged: {0}")]
    Ring(Violation),
    /// Two idents hold one address.
    #[error("saved address state is damaged: {address} is held by both {} and {}", .idents[0], .idents[1])]
    HeldTwice {
        /// The address.
        address: IpAddr,
        /// The holders.
        idents: [String; 2],
    },
}
