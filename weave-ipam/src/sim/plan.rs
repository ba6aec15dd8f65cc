//! What one run is made of, drawn from its seed.

use std::time::Duration;

use ipnet::IpNet;

use super::dice::Dice;
use super::fault::{Fault, FaultSet};
use super::planted::Planted;

/// What may be chosen of a run, the rest being drawn from the seed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How many hosts; drawn if `None`. At least 1, at most 12.
    pub nodes: Option<usize>,
    /// Faults that may happen. Each run has some of them.
    pub faults: FaultSet,
    /// A defect to be found.
    pub planted: Option<Planted>,
    /// Whether to keep the log of events.
    pub is_logged: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: None,
            faults: FaultSet::all(),
            planted: None,
            is_logged: false,
        }
    }
}

/// How the ring of a run comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Birth {
    /// By vote; every host is told how many there are.
    Vote,
    /// By vote, but some hosts do not take part.
    VoteWithObservers,
    /// Everyone is given the same seeds.
    Seeds,
    /// By vote with a quorum of one, in a network that is divided.
    Split,
}

/// One run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Fixes everything.
    pub seed: u64,
    /// All addresses; at most 256.
    pub universe: IpNet,
    /// Hosts at the start.
    pub hosts: usize,
    /// How many of them behave as Weave Net does.
    pub legacy: usize,
    /// Where the ring comes from.
    pub birth: Birth,
    /// The faults of this run.
    pub faults: FaultSet,
    /// How long things go wrong.
    pub chaos: Duration,
    /// Mean time between two acts.
    pub pace: Duration,
    /// Time an address rests after its release.
    pub cool_down: Duration,
    /// Whether messages travel as bytes; only with feature `mesh`.
    pub is_encoded: bool,
    /// A defect to be found.
    pub planted: Option<Planted>,
}

impl Plan {
    /// A run in which nothing goes wrong.
    #[must_use]
    pub const fn quiet(universe: IpNet, hosts: usize, seed: u64) -> Self {
        Self {
            seed,
            universe,
            hosts,
            legacy: 0,
            birth: Birth::Vote,
            faults: FaultSet::NONE,
            chaos: Duration::from_secs(600),
            pace: Duration::from_secs(3),
            cool_down: Duration::ZERO,
            is_encoded: false,
            planted: None,
        }
    }

    /// Whether more than one ring may come about, so that one of them has to go.
    pub(super) fn is_born_twice(&self) -> bool {
        self.birth == Birth::Split || self.faults.contains(Fault::DiskLost)
    }

    /// The run of a seed.
    #[must_use]
    pub fn draw(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let hosts = options
            .nodes
            .unwrap_or_else(|| 2 + dice.below(5))
            .clamp(1, MAX_HOSTS);
        let faults = draw_faults(&mut dice, options.faults);
        let legacy = if faults.contains(Fault::Legacy) {
            1 + dice.below(hosts)
        } else {
            0
        };
        let universe = UNIVERSES[dice.below(UNIVERSES.len())];
        // Weave Net knows IPv4 only.
        let universe = if legacy > 0 { "10.32.0.0/26" } else { universe };
        let birth = match dice.below(6) {
            _ if faults.contains(Fault::SplitBootstrap) => Birth::Split,
            0..=2 => Birth::Vote,
            3 if hosts > 2 => Birth::VoteWithObservers,
            _ => Birth::Seeds,
        };
        Self {
            seed,
            universe: universe.parse().expect("invariant: the list is sound"),
            hosts,
            legacy,
            birth,
            faults,
            chaos: Duration::from_secs(300) + Duration::from_secs(60) * small(dice.below(15)),
            pace: Duration::from_millis(800) * (1 + small(dice.below(6))),
            cool_down: Duration::from_secs(7) * small(dice.below(3)),
            is_encoded: cfg!(feature = "mesh") && dice.one_in(8),
            planted: options.planted,
        }
    }
}

/// Each ordinary fault in every other run; faults of identity, one or two kinds, in half of the
/// runs.
fn draw_faults(dice: &mut Dice, allowed: FaultSet) -> FaultSet {
    let mut faults = FaultSet::NONE;
    let mut grave = Vec::new();
    for fault in allowed.iter() {
        if fault.concerns_identity() {
            grave.push(fault);
        } else if dice.one_in(if fault == Fault::Legacy { 4 } else { 2 }) {
            faults = faults.with(fault);
        }
    }
    if dice.one_in(2) {
        for _ in 0..=dice.below(2) {
            faults = dice.pick(&grave).map_or(faults, |fault| faults.with(fault));
        }
    }
    faults
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// More hosts make runs slow and find nothing else.
const MAX_HOSTS: usize = 12;

/// Small enough that space runs out and changes hands.
const UNIVERSES: [&str; 6] = [
    "10.32.0.0/27",
    "10.32.0.0/28",
    "10.32.0.0/26",
    "10.32.0.0/24",
    "fd00:77::/123",
    "fd00:77::/120",
];
