//! `weave lab restart`: one daemon ended and started again, many times, under traffic.
//!
//! Two hosts with a pod each. The pod of host 1 pings the other at a steady rate and holds many TCP
//! streams to it, while the daemon of host 1 is ended by SIGTERM and by SIGKILL in turn. Invariant:
//! a restart begins only when both daemons report the connection established, so what is lost is
//! lost by the restart; and the streams are read to the end before the lab changes anything else.
//!
//! [`streams`] holds and checks the streams, [`outcome`] says what it means.

mod outcome;
mod streams;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;

use self::outcome::{Outcome, Restart, Way};
use super::error::Error;
use super::once::once;
use super::plan::{Choice, OverlayChoice, Plan};
use super::probe::reach::{EchoSocket, plain, reach};
use super::process::{self, Process};
use super::progress::Progress;
use super::record::{Protection, Record, StateDir};
use super::{build, daemons, ping, pods, underlay};

/// `weave lab restart`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How often the daemon is ended, by SIGTERM and SIGKILL in turn.
    #[arg(long, default_value_t = 50, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    restarts: usize,
    /// TCP streams between the pods.
    #[arg(long, default_value_t = 100, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=1000))]
    streams: usize,
    /// Milliseconds between echo requests.
    #[arg(long, default_value_t = 1, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    interval: u64,
    /// Milliseconds to wait after each restart.
    #[arg(long, default_value_t = 500, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    settle: u64,
    /// Which overlays carry frames. What sleeve carries stands still while a daemon does not run.
    #[arg(long, value_enum, default_value_t = OverlayChoice::Fastdp)]
    overlay: OverlayChoice,
    /// Encrypt the frames of pods: they cross by sleeve.
    #[arg(long)]
    encrypted: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-restart", value_name = "NAME")]
    name: String,
}

/// Makes a lab, restarts, and removes the lab whatever happens.
///
/// # Errors
/// Why there is no lab, or that the daemon did not come back.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::named(&arguments.name);
    let mut record = Record::new(Plan::new(&choice(arguments))?, "info".to_owned());
    if arguments.encrypted {
        let random = |reason| Error::kernel("random numbers", reason);
        record.password = Some(pods::fresh_id().map_err(random)?);
        record.protection = Some(Protection { trusted: false });
    }
    let stop = Arc::new(AtomicBool::new(false));
    let work = measured(arguments, &state, &mut record, &stop, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

fn choice(arguments: &Arguments) -> Choice {
    let mut choice = Choice::full(&arguments.name, 2, 1);
    choice.conditions.overlay = arguments.overlay;
    choice
}

async fn measured(
    arguments: &Arguments,
    state: &StateDir,
    record: &mut Record,
    stop: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let begun = Instant::now();
    build::build(state, record, true, progress).await?;
    let interval = Duration::from_millis(arguments.interval);
    let pings = start_pings(record, interval, stop)?;
    let streams = streams::open(record, arguments.streams).await?;
    let settle = Duration::from_millis(arguments.settle);
    tokio::time::sleep(settle).await;

    let overlay = overlay(record).await;
    let mut restarts = Vec::new();
    for number in 0..arguments.restarts {
        let way = if number.is_multiple_of(2) {
            Way::Terminate
        } else {
            Way::Kill
        };
        progress.update(&format!("restart {} of {}", number + 1, arguments.restarts));
        restarts.push(restart(way, state, record, progress).await?);
        tokio::time::sleep(settle).await;
    }
    progress.step("counting what was answered");
    let streams = streams.finish().await;
    stop.store(true, Ordering::Relaxed);
    let pings = pings
        .await
        .map_err(|error| Error::kernel("ping", error))?
        .map_err(|reason| Error::kernel("ping", reason))?;
    Ok(Outcome {
        overlay_before: overlay,
        overlay_after: self::overlay(record).await,
        interval_ms: arguments.interval,
        restarts,
        pings,
        streams,
        elapsed_s: begun.elapsed().as_secs_f64(),
    })
}

/// Ends the daemon of host 1 and waits until it is back, with its connection.
async fn restart(
    way: Way,
    state: &StateDir,
    record: &Record,
    progress: &Progress,
) -> Result<Restart, Error> {
    let daemon = Process::written(&state.pid(1)).ok_or_else(|| Error::Daemon {
        host: 1,
        reason: format!("it ended by itself\n  {}", process::log_tail(state, 1)),
    })?;
    let failed = |error: std::io::Error| Error::kernel("end the daemon", error);
    let begun = Instant::now();
    match way {
        Way::Kill => daemon.kill().map_err(failed)?,
        Way::Terminate => {
            daemon.signal(Signal::SIGTERM).map_err(failed)?;
            while Process::written(&state.pid(1)).is_some() {
                if begun.elapsed() > END_LIMIT {
                    let reason = "it does not end after SIGTERM".to_owned();
                    return Err(Error::Daemon { host: 1, reason });
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
    let ended = begun.elapsed();
    drop(process::start_daemon(state, record, 1, true)?);
    daemons::wait_answer(state, record, 1).await?;
    let answering = begun.elapsed();
    daemons::wait_ready(state, record, progress).await?;
    Ok(Restart {
        way,
        ended_ms: milliseconds(ended),
        answering_ms: milliseconds(answering),
        ready_ms: milliseconds(begun.elapsed()),
    })
}

type Pings = tokio::task::JoinHandle<Result<ping::Tally, String>>;

/// Pings from the pod of host 1 to that of host 2, once the way is known.
fn start_pings(
    record: &Record,
    interval: Duration,
    stop: &Arc<AtomicBool>,
) -> Result<Pings, Error> {
    let failed = |reason: String| Error::kernel("ping", reason);
    let (from, to) = (record.pod(1, 1)?, record.pod(2, 1)?.address.addr());
    let namespace = underlay::open(&from.namespace)?;
    let open = |round: u64| {
        let token = u64::from(std::process::id()) << 16 | round;
        EchoSocket::open(&namespace, from.address.addr(), token).map_err(failed)
    };
    let (first, socket) = (open(1)?, open(2)?);
    socket
        .make_room(ROOM)
        .map_err(|error| failed(plain(&error)))?;
    let stop = Arc::clone(stop);
    Ok(tokio::task::spawn_blocking(move || {
        let found = reach(&first, &[to], Instant::now() + WARM_UP, &stop);
        if !found.iter().all(|target| target.answered) {
            return Err("the pod of host 2 does not answer that of host 1".to_owned());
        }
        Ok(ping::ping(&socket, to, u32::MAX, interval, &stop))
    }))
}

/// What host 1 sends its frames to host 2 by.
async fn overlay(record: &Record) -> String {
    let reports = daemons::reports(record).await;
    let Some(Ok(report)) = reports.get(&1) else {
        return "unknown".to_owned();
    };
    let connections = daemons::connections(report);
    let first = connections.first();
    first.map_or_else(
        || "none".to_owned(),
        |connection| connection.overlay.clone(),
    )
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A daemon that was asked to end has this long; more is a failure of the lab run, not a figure.
const END_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
/// Bytes of answers that may wait for the thread that pings.
const ROOM: usize = 8 << 20;
/// How long the first answer may take.
const WARM_UP: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::args::alone;

    #[test]
    fn the_acceptance_is_what_is_done_without_arguments() {
        let arguments = alone("").unwrap();

        let Arguments {
            restarts,
            streams,
            interval,
            ..
        } = arguments;
        assert_eq!((restarts, streams, interval), (50, 100, 1));
        assert_eq!(choice(&arguments).hosts, 2);
    }
}
