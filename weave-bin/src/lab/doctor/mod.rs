//! `weave lab doctor`: faults planted on real hosts, and what `weave doctor` says there.
//!
//! Three hosts are one healthy network, with a pod each; a fourth is a spare machine that joins it in a
//! way that is wrong. Each fault is planted, the doctor is asked until it names the fault and nothing
//! else, its command is typed where it is one, and the host is healthy again before the next. Invariant: a
//! fault passes only if one finding, of the expected check, is all there is, twice in a row.
//!
//! [`bed`] has the hosts, [`faults`] what can be wrong, [`plant`] how it is made so, [`outcome`] the
//! table.

mod bed;
mod faults;
mod outcome;
mod plant;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;

use self::bed::Bed;
use self::faults::{Cure, Fault};
use self::outcome::{Outcome, Row};
use super::error::Error;
use super::once::once;
use super::progress::Progress;
use super::record::StateDir;
use crate::doctor::Finding;

/// `weave lab doctor`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Plant this fault only; may be given several times.
    #[arg(long = "fault", value_enum, value_name = "NAME")]
    faults: Vec<Fault>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-doctor", value_name = "NAME")]
    name: String,
}

/// Makes the hosts, plants the faults, and removes the hosts whatever happens.
///
/// # Errors
/// Why there are no hosts, or a fault cannot be planted.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::named(&arguments.name);
    let stop = Arc::new(AtomicBool::new(false));
    let work = all(arguments, &state, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

async fn all(
    arguments: &Arguments,
    state: &StateDir,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let mut bed = Bed::build(state, progress).await?;
    let mut wanted: Vec<Fault> = Fault::all().collect();
    // In the order that they leave the hosts healthy in, whatever the order they are asked for in.
    wanted.retain(|fault| arguments.faults.is_empty() || arguments.faults.contains(fault));
    let mut outcome = Outcome {
        healthy: Vec::new(),
        rows: Vec::new(),
        elapsed_s: 0.0,
    };
    for host in bed.hosts() {
        progress.update(&format!("asking the doctor of healthy host {host}"));
        outcome
            .healthy
            .extend(settled(&bed, host, None, None).await?);
    }
    let count = wanted.len();
    for (number, fault) in wanted.into_iter().enumerate() {
        progress.update(&format!(
            "fault {} of {count}: {}",
            number + 1,
            fault.name()
        ));
        // One that cannot be planted is a failure of its own; the others are tried.
        let row = row(&mut bed, fault).await;
        outcome
            .rows
            .push(row.unwrap_or_else(|error| Row::broken(fault, &error)));
    }
    outcome.elapsed_s = begun.elapsed().as_secs_f64();
    Ok(outcome)
}

async fn row(bed: &mut Bed, fault: Fault) -> Result<Row, Error> {
    if let Some(program) = fault.needs().iter().find(|program| !bed::has(program)) {
        return Ok(Row::skipped(fault, program));
    }
    let begun = Instant::now();
    plant::plant(bed, fault).await?;
    let found = settled(bed, fault.host(), Some(fault), Some(fault.check())).await?;
    let mut row = Row::new(fault, found, begun.elapsed());
    let begun = Instant::now();
    let typed = match (fault.cure(), row.findings.first()) {
        (Cure::Typed, Some(finding)) if row.named => {
            row.typed = bed.type_in(fault.host(), finding).await?;
            row.typed
        }
        _ => false,
    };
    if typed {
        // Before the lab does anything: it is the command that must have cured.
        let left = settled(bed, fault.host(), Some(fault), None).await?;
        row.cured = Some(left.is_empty());
        row.left = left;
    }
    plant::mend(bed, fault, typed).await?;
    if fault.cure() == Cure::ByHand {
        let left = settled(bed, fault.host(), None, None).await?;
        row.cured = Some(left.is_empty());
        row.left = left;
    }
    row.cured_s = begun.elapsed().as_secs_f64();
    Ok(row)
}

/// What the doctor of `host`, in the surroundings of `fault`, says when it says the same twice and it is what
/// is expected: one finding of the check `expected`, or nothing. After a while, what it says then.
async fn settled(
    bed: &Bed,
    host: usize,
    fault: Option<Fault>,
    expected: Option<&str>,
) -> Result<Vec<Finding>, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut is_second = false;
    loop {
        let found = bed.doctor(host, fault).await?;
        let is_expected = match (expected, found.as_slice()) {
            (None, []) => true,
            (Some(check), [finding]) => finding.check == check,
            _ => false,
        };
        if (is_expected && is_second) || Instant::now() > deadline {
            return Ok(found);
        }
        is_second = is_expected;
        tokio::time::sleep(PAUSE).await;
    }
}

/// For a fault to show itself: the slowest are those that something must time out for.
const PATIENCE: Duration = Duration::from_secs(25);
const PAUSE: Duration = Duration::from_millis(200);
