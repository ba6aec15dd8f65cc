//! The picture for operators.

use std::collections::BTreeMap;

use super::Allocator;
use crate::peer::PeerId;
use crate::span::AddressRange;
use crate::status::{EntryStatus, OwnerStatus, PaxosStatus, Phase, Status};

impl Allocator {
    /// Everything an operator may want to know.
    #[must_use]
    pub fn status(&self) -> Status {
        let family = self.universe.family;
        let entries = self.entries();
        let owners = self.owners(&entries);
        let ranges = |span| AddressRange { family, span }.to_string();
        let unreachable = owners.iter().filter(|owner| !owner.is_reachable);
        let claims = self.pending.claims();
        let allocates = self.pending.allocates();
        Status {
            phase: self.phase(),
            universe: self.config.universe,
            universe_size: self.universe.span.size(),
            default_subnet: self.default_subnet(),
            paxos: self.is_awaiting.then(|| PaxosStatus {
                is_elector: self.paxos.is_elector(),
                known_nodes: self.paxos.votes().len(),
                // An observer counts no votes.
                quorum: self
                    .paxos
                    .quorum()
                    .filter(|_| self.paxos.is_elector())
                    .unwrap_or_default(),
            }),
            active: self.space.count_in_use(),
            unreachable: unreachable.map(|owner| owner.addresses).sum(),
            pending_claims: claims.map(|(_, c)| (c.ident.clone(), c.address)).collect(),
            pending_allocates: allocates.map(|a| (a.ident.clone(), a.subnet)).collect(),
            pending_primes: self.pending.primes(),
            contested: self
                .contests
                .spans()
                .map(|(peer, span)| (ranges(span), peer))
                .collect(),
            conflicts: self.conflicts(),
            refusals: self.refusals.values().map(ToString::to_string).collect(),
            holds: self.hold_status(),
            doubt: self.doubt_status(),
            renumber: self.renumber_status(),
            donated: self.donated,
            events_dropped: self.events.dropped(),
            entries,
            owners,
        }
    }

    /// What was given to peers that asked, since the start.
    pub fn donated(&self) -> crate::status::Donated {
        self.donated
    }

    pub(super) fn phase(&self) -> Phase {
        if !self.ring.is_empty() {
            let mut owners = self.ring.entries().iter().map(|entry| entry.peer);
            return if !owners.any(|peer| self.is_present(peer)) {
                Phase::Stranded
            } else if self.pending.allocates().next().is_some() {
                Phase::Waiting
            } else {
                Phase::Ready
            };
        }
        match (self.is_awaiting, self.paxos.is_elector()) {
            (true, true) => Phase::Voting {
                quorum: self.paxos.quorum().unwrap_or_default(),
                known: self.paxos.votes().len(),
            },
            (true, false) => Phase::Priming,
            (false, _) => Phase::Idle,
        }
    }

    fn entries(&self) -> Vec<EntryStatus> {
        let mut entries = Vec::with_capacity(self.ring.entries().len());
        for (index, entry) in self.ring.entries().iter().enumerate() {
            let (head, tail) = self.ring.spans_at(index);
            for span in head.into_iter().chain([tail]) {
                entries.push(EntryStatus {
                    token: self.universe.family.address(span.start()),
                    size: span.size(),
                    peer: entry.peer,
                    nickname: self.nickname(entry.peer),
                    is_known_peer: self.is_present(entry.peer),
                    version: entry.version,
                    free: entry.free,
                });
            }
        }
        entries
    }

    fn conflicts(&self) -> Vec<String> {
        let family = self.universe.family;
        let conflicts = self.contests.conflicts();
        conflicts
            .map(|(reporter, conflict)| {
                let range = AddressRange {
                    family,
                    span: conflict.span,
                };
                let (ours, theirs) = (conflict.version, conflict.rival_version);
                let rival = conflict.rival;
                format!(
                    "{conflict} ({range}: v{ours} here, v{theirs} of {rival} in the ring of \
                     {reporter}; nothing is given there)"
                )
            })
            .collect()
    }

    fn owners(&self, entries: &[EntryStatus]) -> Vec<OwnerStatus> {
        let mut sums: BTreeMap<PeerId, u128> = BTreeMap::new();
        for entry in entries {
            *sums.entry(entry.peer).or_default() += entry.size;
        }
        let total = self.universe.span.size();
        let mut owners: Vec<OwnerStatus> = sums
            .into_iter()
            .map(|(peer, addresses)| OwnerStatus {
                peer,
                nickname: self.nickname(peer),
                addresses,
                share: ratio(addresses, total),
                is_reachable: self.is_present(peer),
                is_local: peer == self.config.peer,
            })
            .collect();
        owners.sort_by_key(|owner| !owner.is_local);
        owners
    }

    /// In the network, or ourselves.
    fn is_present(&self, peer: PeerId) -> bool {
        peer == self.config.peer || self.reachable.contains(&peer)
    }

    fn nickname(&self, peer: PeerId) -> String {
        self.nicknames.get(&peer).cloned().unwrap_or_default()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share for display needs few digits"
)]
fn ratio(part: u128, total: u128) -> f64 {
    part as f64 / total as f64
}
