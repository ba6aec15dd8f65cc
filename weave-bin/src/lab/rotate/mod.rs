//! `weave lab rotate`: the password of a running mesh changed in three steps while every pair of
//! hosts pings.
//!
//! First every daemon accepts the new password beside the old one, then every daemon prefers it,
//! then the old one is dropped. Each step ends when all daemons say that they took it. Invariant:
//! nothing that is counted as lost was lost by the lab: requests begin after every pair has
//! answered once and end before the lab changes anything else.
//!
//! [`traffic`] sends and counts, [`outcome`] says what it means.

mod outcome;
mod traffic;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;

use self::outcome::{Links, Outcome, Step};
use super::error::Error;
use super::once::once;
use super::plan::{Choice, Plan};
use super::process::{self, Process};
use super::progress::Progress;
use super::record::{Protection, Record, StateDir};
use super::{build, daemons, pods};
use crate::status::model::{Passwords, Report};

/// `weave lab rotate`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Number of hosts.
    #[arg(long, default_value_t = 4, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=200))]
    hosts: usize,
    /// Milliseconds between requests of a pair.
    #[arg(long, default_value_t = 10, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    interval: u64,
    /// Seconds to wait after each step.
    #[arg(long, default_value_t = 2, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    settle: u64,
    /// Encrypt the frames of pods too; otherwise hosts trust each other's networks.
    #[arg(long)]
    untrusted: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-rotate", value_name = "NAME")]
    name: String,
}

/// Makes a lab, rotates, and removes the lab whatever happens.
///
/// # Errors
/// Why there is no lab, or which daemon did not take a step.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::named(&arguments.name);
    let mut record = Record::new(Plan::new(&choice(arguments))?, "info".to_owned());
    record.protection = Some(Protection {
        trusted: !arguments.untrusted,
    });
    let stop = Arc::new(AtomicBool::new(false));
    let work = rotate(arguments, &state, &mut record, &stop, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

fn choice(arguments: &Arguments) -> Choice {
    Choice::full(&arguments.name, arguments.hosts, 1)
}

async fn rotate(
    arguments: &Arguments,
    state: &StateDir,
    record: &mut Record,
    stop: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let random = |reason: String| Error::kernel("random numbers", reason);
    let old = pods::fresh_id().map_err(random)?;
    let new = pods::fresh_id().map_err(random)?;
    for host in &record.plan.hosts {
        fs::create_dir_all(state.host(host.number)).map_err(Error::file(state.path()))?;
        write_passwords(state, host.number, &[&old])?;
    }
    build::build(state, record, true, progress).await?;
    progress.step("pinging between all hosts");
    let traffic = traffic::start(record, Duration::from_millis(arguments.interval), stop).await?;
    let settle = Duration::from_secs(arguments.settle);
    tokio::time::sleep(settle).await;

    let before = links(record).await;
    let mut steps = Vec::new();
    let plan: [(&str, Vec<&str>); 3] = [
        ("add", vec![&old, &new]),
        ("prefer", vec![&new, &old]),
        ("drop", vec![&new]),
    ];
    for (name, passwords) in plan {
        progress.step(&format!("step {name:?}"));
        steps.push(step(name, &passwords, state, record).await?);
        tokio::time::sleep(settle).await;
    }
    let after = links(record).await;

    progress.step("counting what was answered");
    stop.store(true, Ordering::Relaxed);
    let traffic = traffic.finish().await?;
    let connections = Links::compare(&before, &after);
    progress.step("restarting a daemon with the old password, then with the new");
    let (old_refused, new_accepted) = check_passwords(state, record, &old, &new, progress).await?;
    Ok(Outcome {
        hosts: record.plan.hosts.len(),
        trusted: !arguments.untrusted,
        interval_ms: arguments.interval,
        steps,
        traffic,
        connections,
        old_refused,
        new_accepted,
        elapsed_s: begun.elapsed().as_secs_f64(),
    })
}

/// Gives every daemon `passwords`, the preferred first, and waits until all have taken them.
async fn step(
    name: &'static str,
    passwords: &[&str],
    state: &StateDir,
    record: &Record,
) -> Result<Step, Error> {
    let begun = Instant::now();
    for host in &record.plan.hosts {
        write_passwords(state, host.number, passwords)?;
        if let Some(daemon) = Process::written(&state.pid(host.number)) {
            let told = daemon.signal(Signal::SIGHUP);
            told.map_err(|error| Error::kernel("signal a daemon", error))?;
        }
    }
    loop {
        let reports = daemons::reports(record).await;
        let lacking = reports.iter().find_map(|(host, report)| {
            let reason = match report {
                Ok(report) => lack(name, report)?,
                Err(reason) => reason.clone(),
            };
            Some((*host, reason))
        });
        let Some((host, reason)) = lacking else {
            return Ok(Step {
                name,
                took_s: begun.elapsed().as_secs_f64(),
            });
        };
        if begun.elapsed() > STEP_LIMIT {
            let reason = format!("step {name:?}: {reason}");
            return Err(Error::Daemon { host, reason });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What keeps the daemon that made `report` from having taken the step `name`. Its connections all
/// began with the old password.
fn lack(name: &str, report: &Report) -> Option<String> {
    let Some(passwords) = report.router.passwords else {
        return Some("it reports no password".to_owned());
    };
    let Passwords {
        accepted,
        with_current,
        with_other,
        with_dropped,
    } = passwords;
    let taken = match name {
        "add" => accepted == 2 && with_other + with_dropped == 0,
        "prefer" => accepted == 2 && with_current + with_dropped == 0,
        _ => accepted == 1 && with_current + with_other == 0,
    };
    (!taken).then(|| {
        format!(
            "it accepts {accepted} passwords, its connections have {with_current} times the \
             preferred one, {with_other} times another, {with_dropped} times a dropped one"
        )
    })
}

/// Whether host 1, started again, is refused with the old password and accepted with the new.
async fn check_passwords(
    state: &StateDir,
    record: &Record,
    old: &str,
    new: &str,
    progress: &Progress,
) -> Result<(bool, bool), Error> {
    restart(state, record, old).await?;
    tokio::time::sleep(REFUSAL).await;
    let reports = daemons::reports(record).await;
    let alone = match reports.get(&1) {
        Some(Ok(report)) => daemons::connections(report).is_empty(),
        _ => false,
    };
    let named = reports.iter().any(
        |(host, report)| matches!(report, Ok(report) if *host != 1 && !report.router.refused.is_empty()),
    );
    restart(state, record, new).await?;
    let joined = daemons::wait_ready(state, record, progress).await;
    Ok((alone && named, joined.is_ok()))
}

/// Starts the daemon of host 1 again with nothing but `password`.
async fn restart(state: &StateDir, record: &Record, password: &str) -> Result<(), Error> {
    write_passwords(state, 1, &[password])?;
    if let Some(daemon) = Process::written(&state.pid(1)) {
        let killed = daemon.kill();
        killed.map_err(|error| Error::kernel("kill the daemon", error))?;
    }
    drop(process::start_daemon(state, record, 1, true)?);
    daemons::wait_answer(state, record, 1).await
}

/// Replaces the password file of host `number` at once: a daemon reads all of it or none.
fn write_passwords(state: &StateDir, number: usize, passwords: &[&str]) -> Result<(), Error> {
    let path = state.passwords(number);
    let draft = path.with_extension("new");
    let opened = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft);
    let mut file = opened.map_err(Error::file(&draft))?;
    for password in passwords {
        writeln!(file, "{password}").map_err(Error::file(&draft))?;
    }
    fs::rename(&draft, &path).map_err(Error::file(&path))
}

/// The live connections of every host, and how many have ended there since the daemon started.
async fn links(record: &Record) -> BTreeMap<usize, Links> {
    let reports = daemons::reports(record).await;
    let answered = reports.into_iter().filter_map(|(host, report)| {
        let report = report.ok()?;
        Some((host, Links::of(&report)))
    });
    answered.collect()
}

/// A daemon looks at its password file every few seconds even without a signal.
const STEP_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// A daemon that is let in is connected long before.
const REFUSAL: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::args::alone;

    #[test]
    fn a_rotation_needs_two_hosts() {
        assert!(alone::<Arguments>("--hosts 1").is_err());
        let choice = choice(&alone("--hosts 20 --untrusted").unwrap());
        assert_eq!((choice.hosts, choice.pods), (20, 1));
    }
}
