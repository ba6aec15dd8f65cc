//! Many allocators in virtual time, with everything that goes wrong (feature `sim`).
//!
//! A run is fixed by its seed: which hosts there are, which of them behave as Weave Net does, what
//! goes wrong when. After every step the laws of `ALGORITHM.md`, section "simulation", are looked
//! at; at the end everything heals, and what was promised must come true within stated bounds.
//!
//! ```
//! use weave_ipam::sim::{Options, run};
//!
//! let result = run(7, &Options::default());
//! assert!(result.violations.is_empty(), "{:?}", result.violations);
//! ```
//!
//! Embedders can build a [`World`] of their own from a [`Plan`] and drive it by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

mod acts;
mod bits;
mod containers;
mod dice;
mod engine;
mod fault;
mod heal;
mod host;
mod laws;
mod legacy;
mod plan;
mod planted;
mod post;
mod queue;
mod shell;
mod wires;
mod world;

pub use self::fault::{Fault, FaultSet, Tally};
pub use self::heal::{BOUND, PATIENCE};
pub use self::laws::{Law, Violation};
pub use self::plan::{Birth, Options, Plan};
pub use self::planted::Planted;
pub use self::world::World;

/// What a run found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Laws that were broken; the run ends at the first.
    pub violations: Vec<Violation>,
    /// How often each fault happened.
    pub faults: Tally,
    /// How long it was in virtual time.
    pub simulated: Duration,
    /// Things that happened.
    pub steps: u64,
    /// Addresses that came to have two holders where that cannot be prevented.
    pub doubles: u64,
    /// The log, if it was asked for. The same for the same seed and options.
    pub log: Vec<String>,
}

/// Runs one seed. A panic of an allocator counts as a violation (where panics unwind).
#[must_use]
pub fn run(seed: u64, options: &Options) -> Run {
    let plan = Plan::draw(seed, options);
    let mut world = World::new(plan, options.is_logged);
    let caught = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Err(panic) = caught {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default();
        world.violate(Law::NoPanic, text);
    }
    world.into_run(seed)
}

impl World {
    /// The whole plan: trouble, then healing.
    pub fn live(&mut self) {
        let plan = format!("{:?}", self.plan);
        self.note(plan);
        self.queue.plan(Duration::from_secs(4), world::Task::Act);
        self.run_for(self.plan.chaos);
        if self.laws.violations.is_empty() {
            self.heal();
        }
    }

    /// Ends the world.
    #[must_use]
    pub fn into_run(self, seed: u64) -> Run {
        Run {
            seed,
            violations: self.laws.violations,
            faults: self.faults,
            simulated: self.now,
            steps: self.steps,
            doubles: self.laws.doubles,
            log: self.log.unwrap_or_default(),
        }
    }
}
