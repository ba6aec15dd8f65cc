//! A lab that is made for one measurement, and removed whatever happens.

use std::future::Future;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use super::commands::{INTERRUPTED, clear_remains, until_signal};
use super::error::Error;
use super::progress::Progress;
use super::record::StateDir;
use super::teardown;
use crate::stdout;

/// What a measurement found.
pub(super) trait Finding {
    /// Whether it is what was looked for.
    fn passed(&self) -> bool;

    /// As one JSON object.
    fn to_json(&self) -> String;

    /// For people, with the last line ended.
    fn text(&self) -> String;
}

/// Runs `measure`, which makes the lab, and prints what it found. `stop` is set when a signal ends
/// it early.
///
/// # Errors
/// Why there is no lab, or what `measure` says.
pub(super) async fn once<T: Finding>(
    state: &StateDir,
    progress: &Progress,
    json: bool,
    stop: &AtomicBool,
    measure: impl Future<Output = Result<T, Error>>,
) -> Result<ExitCode, Error> {
    let _lock = state.lock()?;
    clear_remains(state, progress)?;
    let found = until_signal(measure, stop).await;
    take_down(state, progress);
    let Some(found) = found else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let found = found?;
    if json {
        stdout::show_line(found.to_json());
    } else {
        stdout::show(found.text());
    }
    Ok(if found.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Removes the lab. What could not be removed is said and does not change the outcome.
pub(super) fn take_down(state: &StateDir, progress: &Progress) {
    progress.step("removing the lab");
    let removed = teardown::remove(state);
    progress.clear();
    if let Err(error) = removed {
        progress.say(&format!("weave lab: {error}"));
    }
}
