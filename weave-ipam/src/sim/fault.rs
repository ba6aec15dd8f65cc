//! The kinds of faults, sets of them, and how often each happened.

use std::fmt;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A message does not arrive.
    Loss,
    /// A message takes seconds.
    Delay,
    /// A message overtakes an earlier one on the same way.
    Reorder,
    /// A message arrives twice.
    Duplicate,
    /// The network falls into parts that do not hear each other.
    Partition,
    /// One direction of a link is silent, and the link is given up only after a while.
    OneWay,
    /// One link is down.
    LinkCut,
    /// A process dies, at any moment: also between a write and the messages that follow it.
    Crash,
    /// A host loses power: its containers end, what was not synced is lost.
    PowerCut,
    /// A write is half done when power fails; the file is damaged.
    TornWrite,
    /// The clock of a process leaps ahead, or the wall clock shows nonsense.
    ClockJump,
    /// A host whose disk and process take seconds for everything.
    SlowNode,
    /// A peer leaves in order and hands its space to an heir.
    Leave,
    /// A host is gone for ever.
    Retire,
    /// A host comes back empty, under another peer name.
    NewIdentity,
    /// A peer behaves as Weave Net does.
    Legacy,
    /// A peer of the old kind refuses a message and drops the connection.
    LegacyRefusal,
    /// A disk is replaced by an old copy of itself; containers live on or not.
    Rollback,
    /// A disk is emptied, the name stays.
    DiskLost,
    /// A copy of a host runs under the same name.
    Clone,
    /// A peer behind a partition is taken over while it is alive.
    RemovedAlive,
    /// A dead peer is taken over while not everyone hears of it.
    RemovedDead,
    /// Peers that cannot hear each other each form a ring.
    SplitBootstrap,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Loss,
        Self::Delay,
        Self::Reorder,
        Self::Duplicate,
        Self::Partition,
        Self::OneWay,
        Self::LinkCut,
        Self::Crash,
        Self::PowerCut,
        Self::TornWrite,
        Self::ClockJump,
        Self::SlowNode,
        Self::Leave,
        Self::Retire,
        Self::NewIdentity,
        Self::Legacy,
        Self::LegacyRefusal,
        Self::Rollback,
        Self::DiskLost,
        Self::Clone,
        Self::RemovedAlive,
        Self::RemovedDead,
        Self::SplitBootstrap,
    ];

    /// Whether the fault makes two processes the owner of one entry, so that only the weaker laws
    /// of `ALGORITHM.md`, section "simulation", can hold afterwards.
    #[must_use]
    pub const fn concerns_identity(self) -> bool {
        matches!(
            self,
            Self::Rollback
                | Self::DiskLost
                | Self::Clone
                | Self::RemovedAlive
                | Self::RemovedDead
                | Self::SplitBootstrap
        )
    }

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Reorder => "reorder",
            Self::Duplicate => "duplicate",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::LinkCut => "link-cut",
            Self::Crash => "crash",
            Self::PowerCut => "power-cut",
            Self::TornWrite => "torn-write",
            Self::ClockJump => "clock-jump",
            Self::SlowNode => "slow-node",
            Self::Leave => "leave",
            Self::Retire => "retire",
            Self::NewIdentity => "new-identity",
            Self::Legacy => "legacy-node",
            Self::LegacyRefusal => "legacy-refusal",
            Self::Rollback => "disk-rollback",
            Self::DiskLost => "disk-lost",
            Self::Clone => "clone",
            Self::RemovedAlive => "removed-alive",
            Self::RemovedDead => "removed-dead",
            Self::SplitBootstrap => "split-bootstrap",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(u32);

impl FaultSet {
    /// No fault.
    pub const NONE: Self = Self(0);

    /// Every fault.
    #[must_use]
    pub fn all() -> Self {
        Fault::ALL.into_iter().collect()
    }

    /// Every fault under which the strong laws hold.
    #[must_use]
    pub fn ordinary() -> Self {
        let faults = Fault::ALL.into_iter();
        faults.filter(|fault| !fault.concerns_identity()).collect()
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault.index())
    }

    /// The set without one.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault.index()))
    }

    /// Whether the fault is in the set.
    #[must_use]
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 & 1 << fault.index() != 0
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL
            .into_iter()
            .filter(move |fault| self.contains(*fault))
    }
}

impl FromIterator<Fault> for FaultSet {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        faults.into_iter().fold(Self::NONE, Self::with)
    }
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Fault::ALL.len()]);

impl Tally {
    /// One more.
    pub const fn count(&mut self, fault: Fault) {
        self.0[fault.index()] += 1;
    }

    /// How many.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> u64 {
        self.0[fault.index()]
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Each fault with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().map(|fault| (fault, self.of(fault)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_indices_and_names_of_their_own() {
        let names: std::collections::BTreeSet<&str> =
            Fault::ALL.into_iter().map(Fault::name).collect();

        assert_eq!(names.len(), Fault::ALL.len());
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.index(), index);
            assert!(FaultSet::all().contains(fault));
            assert!(!FaultSet::all().without(fault).contains(fault));
        }
    }
}
