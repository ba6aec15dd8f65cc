//! Thousands of simulated networks (`ALGORITHM.md`, section "simulation"). A seed that fails is
//! printed; `cargo run --release --example ipam_sim -- --seed S` shows what happens in it.
//! `WEAVE_IPAM_SEEDS=20` runs 20 times as many.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::atomic::{AtomicU64, Ordering};

use weave_ipam::sim::{Fault, FaultSet, Options, Planted, Run, Tally, run};

/// Runs seeds on all cores. Returns the sum of faults.
fn run_seeds(first: u64, count: u64, options: &Options) -> Tally {
    let factor = std::env::var("WEAVE_IPAM_SEEDS").ok();
    let factor: u64 = factor.and_then(|text| text.parse().ok()).unwrap_or(1);
    let next = AtomicU64::new(first);
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads: Vec<_> = (0..cores)
            .map(|_| scope.spawn(|| take_seeds(&next, first + count * factor, options)))
            .collect();
        let runs = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        runs.collect()
    });
    let mut faults = Tally::default();
    for run in runs {
        assert!(
            run.violations.is_empty(),
            "seed {}: {}",
            run.seed,
            run.violations[0]
        );
        faults.add(&run.faults);
    }
    faults
}

fn take_seeds(next: &AtomicU64, end: u64, options: &Options) -> Vec<Run> {
    let mut runs = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return runs;
        }
        runs.push(run(seed, options));
    }
}

fn with_faults(faults: FaultSet) -> Options {
    let mut options = Options::default();
    options.faults = faults;
    options
}

#[test]
fn where_only_owners_edit_no_law_is_ever_broken() {
    let faults = run_seeds(0, 1000, &with_faults(FaultSet::ordinary()));

    for fault in FaultSet::ordinary().iter() {
        let is_forbidden = fault == Fault::LegacyRefusal;
        assert_eq!(faults.of(fault) == 0, is_forbidden, "{fault}");
    }
}

#[test]
fn after_faults_of_identity_the_weaker_laws_hold() {
    let faults = run_seeds(1_000_000, 1000, &with_faults(FaultSet::all()));

    for fault in FaultSet::all().iter().filter(|f| f.concerns_identity()) {
        assert!(faults.of(fault) > 0, "{fault}");
    }
}

#[test]
fn nothing_goes_wrong_where_no_fault_is() {
    run_seeds(2_000_000, 60, &with_faults(FaultSet::NONE));
}

#[test]
fn a_planted_bug_is_found() {
    for planted in Planted::ALL {
        let faults = match planted {
            Planted::RemovalNotTold => FaultSet::all(),
            _ => FaultSet::ordinary(),
        };
        let mut options = with_faults(faults);
        options.planted = Some(planted);

        let found = (0..1000).find(|seed| !run(*seed, &options).violations.is_empty());

        assert!(found.is_some(), "{planted:?} was not found in 1000 seeds");
    }
}

#[test]
fn a_seed_replays_bit_exactly() {
    let mut options = with_faults(FaultSet::all());
    options.is_logged = true;

    for seed in [3, 17, 4711] {
        let (first, second) = (run(seed, &options), run(seed, &options));

        assert!(first.log.len() > 100, "seed {seed} has a log");
        assert_eq!(first.log, second.log);
    }
    assert_ne!(run(3, &options).log, run(4, &options).log);
}
