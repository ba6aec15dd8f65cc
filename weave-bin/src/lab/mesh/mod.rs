//! `weave lab mesh`: many daemons without data path or pods, to see what the mesh itself costs.
//!
//! All daemons are started at once and left alone. Measured are the time until each holds an
//! established connection to every other, the bytes on the cables, and what the processes take at
//! rest. The lab's own questions are few and small: while the mesh forms it asks one daemon at a
//! time, at rest none.

mod measure;
mod outcome;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;

use self::outcome::{Outcome, spread};
use super::args::Place;
use super::error::Error;
use super::once::once;
use super::plan::{Choice, Plan};
use super::progress::Progress;
use super::record::{Protection, Record, StateDir};
use super::{build, daemons, process, underlay};

/// `weave lab mesh`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Number of hosts.
    #[arg(long, default_value_t = 10, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=200))]
    hosts: usize,
    /// Encrypt the connections with this password.
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Give every daemon the addresses of all others, not only of the first.
    #[arg(long)]
    all_addresses: bool,
    /// Seconds after which a mesh that is not complete counts as failed.
    #[arg(long, default_value_t = 120, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// Seconds to leave the mesh alone before it is measured at rest.
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    settle: u64,
    /// Seconds over which the mesh is measured at rest.
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    rest: u64,
    /// Log level of the daemons.
    #[arg(long, default_value = "warn", value_name = "LEVEL")]
    log_level: String,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-mesh", value_name = "NAME")]
    name: String,
    /// Where the lab keeps its files [default: /run/NAME].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<std::path::PathBuf>,
}

/// Makes the mesh, measures, and removes it whatever happens.
///
/// # Errors
/// Why there is no lab, or which daemon ended.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::new(&Place {
        name: arguments.name.clone(),
        state_dir: arguments.state_dir.clone(),
    });
    let mut record = record(arguments)?;
    let stop = AtomicBool::new(false);
    let work = measured(arguments, &state, &mut record, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

fn record(arguments: &Arguments) -> Result<Record, Error> {
    let mut plan = Plan::new(&Choice::full(&arguments.name, arguments.hosts, 0))?;
    if !arguments.all_addresses {
        for host in &mut plan.hosts {
            host.neighbours.retain(|neighbour| neighbour.number == 1);
        }
    }
    let mut record = Record::new(plan, arguments.log_level.clone());
    record.mesh_only = true;
    record.protection = arguments
        .password
        .is_some()
        .then_some(Protection { trusted: true });
    Ok(record)
}

async fn measured(
    arguments: &Arguments,
    state: &StateDir,
    record: &mut Record,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let hosts = arguments.hosts;
    progress.step(&format!("making {hosts} hosts"));
    build::make_files(state, record)?;
    state.save(record)?;
    build::make_room_for_neighbours(record, progress);
    state.save(record)?;
    if let Some(password) = &arguments.password {
        write_passwords(state, record, password)?;
    }
    underlay::build(&record.plan).await?;

    progress.step(&format!("starting {hosts} daemons"));
    let before = measure::Cables::read(&record.plan).await?;
    let started = Instant::now();
    for number in 1..=hosts {
        // Nobody waits for the children: the lab knows them by their numbers.
        drop(process::start_daemon(state, record, number, true)?);
    }
    let starting = started.elapsed();
    progress.step("waiting until all are connected");
    let limit = Duration::from_secs(arguments.wait);
    let connected = wait_connected(state, record, started, limit, progress).await?;
    let formed = measure::Cables::read(&record.plan).await?;

    let mut outcome = Outcome {
        hosts,
        encrypted: arguments.password.is_some(),
        starting_s: starting.as_secs_f64(),
        connected_s: connected.map(|span| span.as_secs_f64()),
        forming_bytes: formed.since(&before),
        ..Outcome::default()
    };
    if connected.is_some() {
        progress.step(&format!(
            "letting the mesh settle for {} s",
            arguments.settle
        ));
        tokio::time::sleep(Duration::from_secs(arguments.settle)).await;
        rest(arguments, state, record, progress, &mut outcome).await?;
    }
    outcome.elapsed_s = begun.elapsed().as_secs_f64();
    Ok(outcome)
}

/// Measures the mesh at rest.
async fn rest(
    arguments: &Arguments,
    state: &StateDir,
    record: &Record,
    progress: &Progress,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let hosts = arguments.hosts;
    progress.step(&format!(
        "measuring the mesh at rest for {} s",
        arguments.rest
    ));
    let begun = Instant::now();
    let cables = measure::Cables::read(&record.plan).await?;
    let cpu = measure::processor(state, hosts)?;
    tokio::time::sleep(Duration::from_secs(arguments.rest)).await;
    let cpu_after = measure::processor(state, hosts)?;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let memory = measure::memory_kib(state, hosts)?;
    let cables_after = measure::Cables::read(&record.plan).await?;

    let used = cpu.iter().zip(&cpu_after);
    let used = used.map(|(before, after)| after.saturating_sub(*before).as_secs_f64() / minutes);
    (
        outcome.cpu_median_s_per_minute,
        outcome.cpu_max_s_per_minute,
    ) = spread(used.collect());
    let memory = memory.into_iter().map(|kib| measure::real(kib) / 1024.0);
    (outcome.rss_median_mib, outcome.rss_max_mib) = spread(memory.collect());
    outcome.bytes_per_minute = measure::real(cables_after.since(&cables)) / minutes;
    progress.step("asking all daemons");
    let mut ends = 0;
    for number in 1..=hosts {
        progress.update(&format!("asking daemon {number} of {hosts}"));
        ends += established(record, number).await.unwrap_or_default();
    }
    outcome.connections = ends / 2;
    Ok(())
}

/// Waits until every daemon is connected to every other; `None` if the time is up before.
async fn wait_connected(
    state: &StateDir,
    record: &Record,
    started: Instant,
    limit: Duration,
    progress: &Progress,
) -> Result<Option<Duration>, Error> {
    let hosts = record.plan.hosts.len();
    let mut complete = 0;
    while complete < hosts {
        let number = complete + 1;
        if process::Process::written(&state.pid(number)).is_none() {
            let reason = format!("it ended\n  {}", process::log_tail(state, number));
            return Err(Error::Daemon {
                host: number,
                reason,
            });
        }
        // A daemon that does not answer yet has no connections yet.
        let connections = established(record, number).await.unwrap_or_default();
        if connections + 1 >= hosts {
            complete += 1;
            continue;
        }
        progress.update(&format!(
            "{complete} of {hosts} daemons are connected to all; the next has {connections} \
             connections after {:.1} s",
            started.elapsed().as_secs_f64()
        ));
        if started.elapsed() > limit {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(Some(started.elapsed()))
}

/// How many established connections a daemon has.
async fn established(record: &Record, number: usize) -> Result<usize, String> {
    let host = &record.plan.hosts[number - 1].namespace;
    let host = underlay::open(host).map_err(|error| error.to_string())?;
    let answer = daemons::ask(&host, "/report", ASK_LIMIT).await?;
    let report: crate::status::model::Report =
        serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
    let connections = report.router.connections.iter();
    Ok(connections
        .filter(|connection| connection.state == "established")
        .count())
}

/// Writes the password of every host, readable by root alone.
fn write_passwords(state: &StateDir, record: &Record, password: &str) -> Result<(), Error> {
    for host in &record.plan.hosts {
        let file = state.passwords(host.number);
        let opened = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&file);
        let written = opened.and_then(|mut opened| writeln!(opened, "{password}"));
        written.map_err(Error::file(&file))?;
    }
    Ok(())
}

/// Time between two questions while the mesh forms.
const POLL: Duration = Duration::from_millis(100);
/// Time for an answer while all daemons are busy.
const ASK_LIMIT: Duration = Duration::from_secs(20);
