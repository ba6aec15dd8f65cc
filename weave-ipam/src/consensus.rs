//! Who forms the ring: single-decree Paxos in which messages are the whole state.
//!
//! A node's state maps every voter it has heard of to that voter's claims; nodes gossip it until
//! some value has been accepted by a quorum. Invariant: the claims of a node only ever rise.
//! A voter is a name *and* an incarnation number, so a restarted process is another voter.
//!
//! The votes of others are bounded: at most [`MAX_NODES`] voters are remembered, each with a value
//! of at most as many names; what exceeds that is left out.

use std::collections::BTreeMap;

use crate::peer::PeerId;

/// Voters remembered, and names in one value.
pub const MAX_NODES: usize = 1024;

/// One incarnation of a peer. Ordered by name, then incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// The peer.
    pub name: PeerId,
    /// Drawn at every start of its process.
    pub uid: u64,
}

/// A proposal; round 0 means none. Ordered by round, then proposer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    /// Rounds count from 1.
    pub round: u64,
    /// Who proposed.
    pub proposer: NodeId,
}

/// A set of peers to seed the ring with, and the proposal that first carried it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedValue {
    /// The peers. Order and repetitions have no meaning.
    pub peers: Vec<PeerId>,
    /// The proposal this value was chosen for.
    pub origin: ProposalId,
}

/// What one voter has promised and accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Takes no part in earlier proposals.
    pub promise: ProposalId,
    /// The latest proposal accepted.
    pub accepted: ProposalId,
    /// Its value.
    pub value: AcceptedValue,
}

/// Everything known of every voter.
pub type Votes = BTreeMap<NodeId, Claims>;

/// Our part in the vote. An observer never votes and never sees a result.
#[derive(Clone, Debug)]
pub struct Participant {
    us: NodeId,
    is_elector: bool,
    quorum: Option<usize>,
    votes: Votes,
}

impl Participant {
    /// A voter. The quorum can be given later, before the first proposal.
    #[must_use]
    pub const fn elector(us: NodeId, quorum: Option<usize>) -> Self {
        Self {
            us,
            is_elector: true,
            quorum,
            votes: Votes::new(),
        }
    }

    /// A voter that goes on with what it claimed before a restart, so that it breaks no promise.
    #[must_use]
    pub fn resumed(us: NodeId, claims: Claims) -> Self {
        Self {
            votes: [(us, claims)].into(),
            ..Self::elector(us, None)
        }
    }

    /// A participant that only waits for others.
    #[must_use]
    pub const fn observer(us: NodeId) -> Self {
        Self {
            us,
            is_elector: false,
            quorum: None,
            votes: Votes::new(),
        }
    }

    /// Sets the quorum if none is set; it never changes afterwards.
    pub fn set_quorum(&mut self, quorum: usize) {
        if self.quorum.is_none() {
            self.quorum = Some(quorum.max(1));
        }
    }

    /// Learns what `theirs` knows; whether anything was new.
    pub fn update(&mut self, theirs: &Votes) -> bool {
        if !self.is_elector {
            return false;
        }
        let mut changed = false;
        for (node, claims) in theirs {
            if claims.value.peers.len() > MAX_NODES {
                continue;
            }
            let has_room = self.votes.len() < MAX_NODES;
            if let Some(known) = self.votes.get_mut(node) {
                changed |= known.raise(claims);
            } else if has_room {
                self.votes.insert(*node, claims.clone());
                changed = true;
            }
        }
        changed
    }

    /// Starts a round later than any known. With a quorum of one it is decided at once.
    /// Without a quorum, or for an observer, nothing happens.
    pub fn propose(&mut self) {
        let Some(quorum) = self.quorum.filter(|_| self.is_elector) else {
            return;
        };
        let rounds = self
            .votes
            .values()
            .flat_map(|c| [c.promise.round, c.accepted.round]);
        let round = rounds.max().unwrap_or(0).saturating_add(1);
        let ours = self.votes.entry(self.us).or_default();
        ours.promise = ProposalId {
            round,
            proposer: self.us,
        };
        if quorum == 1 {
            self.think();
        }
    }

    /// Draws conclusions from what is known; whether our own claims changed (then tell others).
    pub fn think(&mut self) -> bool {
        if !self.is_elector {
            return false;
        }
        let before = self.votes.get(&self.us).cloned().unwrap_or_default();
        let mut ours = before.clone();
        let promises = self.votes.values().map(|claims| claims.promise);
        ours.promise = promises.max().unwrap_or_default().max(ours.promise);
        self.votes.insert(self.us, ours.clone());

        let is_open = |ours: &Claims| ours.accepted != ours.promise && ours.promise.round > 0;
        if ours.promise.proposer == self.us
            && is_open(&ours)
            && let Some(value) = self.choose_value(ours.promise)
        {
            ours.accepted = ours.promise;
            ours.value = value;
            self.votes.insert(self.us, ours.clone());
        }
        if is_open(&ours) {
            let same = self
                .votes
                .values()
                .find(|claims| claims.accepted == ours.promise);
            if let Some(value) = same.map(|claims| claims.value.clone()) {
                ours.accepted = ours.promise;
                ours.value = value;
                self.votes.insert(self.us, ours.clone());
            }
        }
        ours != before
    }

    /// The value a quorum has accepted, if there is one.
    #[must_use]
    pub fn decided(&self) -> Option<&AcceptedValue> {
        let quorum = self.quorum.filter(|_| self.is_elector)?;
        let mut counts: BTreeMap<ProposalId, (usize, &AcceptedValue)> = BTreeMap::new();
        for claims in self
            .votes
            .values()
            .filter(|claims| claims.accepted.round > 0)
        {
            counts
                .entry(claims.value.origin)
                .or_insert((0, &claims.value))
                .0 += 1;
        }
        counts
            .into_values()
            .find(|(count, _)| *count >= quorum)
            .map(|(_, value)| value)
    }

    /// Whether we vote.
    #[must_use]
    pub const fn is_elector(&self) -> bool {
        self.is_elector
    }

    /// How many must agree; `None` before it was first needed.
    #[must_use]
    pub const fn quorum(&self) -> Option<usize> {
        self.quorum
    }

    /// Our own claims, once there are any, and under which incarnation they were made.
    #[must_use]
    pub fn ours(&self) -> Option<(NodeId, &Claims)> {
        self.votes.get(&self.us).map(|claims| (self.us, claims))
    }

    /// What is known of every voter, ourselves included.
    #[must_use]
    pub const fn votes(&self) -> &Votes {
        &self.votes
    }

    /// If a quorum has promised our proposal: the value we must accept for it, which is the latest
    /// one already accepted among exactly those, else all voters known.
    fn choose_value(&self, proposal: ProposalId) -> Option<AcceptedValue> {
        let promised: Vec<_> = self
            .votes
            .values()
            .filter(|claims| claims.promise == proposal)
            .collect();
        if self.quorum.is_none_or(|quorum| promised.len() < quorum) {
            return None;
        }
        let latest = promised.iter().max_by_key(|claims| claims.accepted);
        if let Some(claims) = latest.filter(|claims| claims.accepted.round > 0) {
            return Some(claims.value.clone());
        }
        let peers = self.votes.keys().map(|node| node.name).collect();
        Some(AcceptedValue {
            peers,
            origin: proposal,
        })
    }
}

impl Claims {
    fn raise(&mut self, theirs: &Self) -> bool {
        let mut changed = false;
        if self.promise < theirs.promise {
            self.promise = theirs.promise;
            changed = true;
        }
        if self.accepted < theirs.accepted {
            self.accepted = theirs.accepted;
            self.value = theirs.value.clone();
            changed = true;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: u64) -> NodeId {
        NodeId {
            name: PeerId(name),
            uid: name,
        }
    }

    #[test]
    fn a_quorum_of_one_decides_alone() {
        let mut alone = Participant::elector(node(1), Some(1));

        alone.propose();

        assert_eq!(
            alone.decided().map(|value| value.peers.as_slice()),
            Some(&[PeerId(1)][..])
        );
    }

    #[test]
    fn an_observer_neither_learns_nor_decides() {
        let mut elector = Participant::elector(node(1), Some(1));
        elector.propose();
        let mut observer = Participant::observer(node(2));

        assert!(!observer.update(elector.votes()));
        observer.propose();
        assert!(!observer.think());
        assert!(observer.votes().is_empty() && observer.decided().is_none());
    }

    #[test]
    fn hostile_votes_stay_within_the_bound() {
        let mut elector = Participant::elector(node(1), Some(2));
        let crowd: Votes = (0..5000)
            .map(|name| (node(name), Claims::default()))
            .collect();
        let long = AcceptedValue {
            peers: vec![PeerId(1); MAX_NODES + 1],
            ..Default::default()
        };
        let verbose = Claims {
            value: long,
            ..Default::default()
        };

        elector.update(&[(node(9_000), verbose)].into());
        elector.update(&crowd);

        assert_eq!(elector.votes().len(), MAX_NODES);
        assert!(!elector.votes().contains_key(&node(9_000)));
    }
}
