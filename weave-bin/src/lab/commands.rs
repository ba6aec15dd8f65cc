//! The commands, each from its arguments to its exit code.
//!
//! A command that changes a lab holds its lock. `run` removes what it made whatever happens:
//! failure, Ctrl-C, a probe that found faults; only `--keep` leaves it.

use std::collections::BTreeSet;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::args::commands::{Blocking, Cut, Exec, OneHost, OnePod};
use super::args::{Command, Place, Probe, Report, Run, Shape, Up};
#[cfg(feature = "kube")]
use super::cluster;
use super::error::Error;
use super::once::take_down;
use super::plan::{Block, Plan};
use super::process::{self, Process};
use super::progress::Progress;
use super::record::{Phase, Protection, Record, StateDir};
use super::render::summary;
use super::survey::{Survey, survey};
use super::{
    bench, build, daemons, doctor, faults, mesh, pods, policy, restart, rotate, steady, teardown,
    underlay,
};
use crate::stdout;

/// Does what `command` says.
pub(crate) fn run(command: Command) -> Result<ExitCode, Error> {
    if let Command::Exec(exec) = &command {
        return become_command(exec);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::kernel("start the runtime", error))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Run(run) => run_once(&run).await,
            Command::Up(up) => bring_up(&up).await,
            Command::Probe(probe) => probe_again(&probe).await,
            Command::Down(place) => bring_down(&place),
            Command::Cut(cut) => cut_off(&cut).await,
            Command::Heal(place) => heal(&place).await,
            Command::Kill(host) => kill_daemon(&host),
            Command::Start(host) => start_daemon(&host).await,
            Command::AddPod(host) => add_pod(&host).await,
            Command::DelPod(pod) => del_pod(&pod).await,
            Command::Bench(bench) => bench::run(&bench).await,
            Command::Rotate(rotate) => rotate::run(&rotate).await,
            Command::Restart(restart) => restart::run(&restart).await,
            Command::Mesh(mesh) => mesh::run(&mesh).await,
            #[cfg(feature = "kube")]
            Command::Cluster(cluster) => cluster::run(&cluster).await,
            Command::Doctor(doctor) => doctor::run(&doctor).await,
            Command::Policy(policy) => policy::run(&policy).await,
            Command::Ping(ping) => steady::ping_steadily(&ping).await,
            Command::Stream(stream) => steady::stream_steadily(&stream).await,
            Command::Block(block) => change_blocks(&block, true).await,
            Command::Unblock(block) => change_blocks(&block, false).await,
            Command::Exec(_) | Command::Launch(_) => Ok(ExitCode::FAILURE),
        }
    });
    // Threads that probe look at their stop flag within milliseconds.
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

// ===== run, up, down, probe =====

async fn run_once(run: &Run) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let progress = Progress::new();
    let (state, mut record) = prepare(&run.shape, &progress)?;
    let _lock = state.lock()?;
    clear_remains(&state, &progress)?;
    let stop = Arc::new(AtomicBool::new(false));
    let work = async {
        build::build(&state, &mut record, !run.keep, &progress).await?;
        if run.keep {
            record.phase = Phase::Up;
            state.save(&record)?;
        }
        survey(&state, &record, run.report.patience(), &stop, &progress).await
    };
    let outcome = until_signal(work, &stop).await;
    if !run.keep {
        take_down(&state, &progress);
    }
    let code = match outcome {
        Some(survey) => show(survey?, begun, &run.report, &progress),
        None => ExitCode::from(INTERRUPTED),
    };
    if run.keep {
        progress.say(&usage(&state));
    }
    Ok(code)
}

async fn bring_up(up: &Up) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let (state, mut record) = prepare(&up.shape, &progress)?;
    let _lock = state.lock()?;
    clear_remains(&state, &progress)?;
    let stop = Arc::new(AtomicBool::new(false));
    let work = async {
        build::build(&state, &mut record, false, &progress).await?;
        record.phase = Phase::Up;
        state.save(&record)
    };
    let outcome = until_signal(work, &stop).await;
    progress.clear();
    if let Some(Ok(())) = outcome {
        stdout::show_line(usage(&state));
        return Ok(ExitCode::SUCCESS);
    }
    let removed = teardown::remove(&state);
    outcome.unwrap_or(Ok(()))?;
    removed?;
    Ok(ExitCode::from(INTERRUPTED))
}

async fn probe_again(probe: &Probe) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let progress = Progress::new();
    let state = StateDir::new(&probe.place);
    let record = state.load_up()?;
    let stop = Arc::new(AtomicBool::new(false));
    let work = survey(&state, &record, probe.report.patience(), &stop, &progress);
    match until_signal(work, &stop).await {
        Some(survey) => Ok(show(survey?, begun, &probe.report, &progress)),
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

fn bring_down(place: &Place) -> Result<ExitCode, Error> {
    let state = StateDir::new(place);
    let _lock = state.lock()?;
    if !teardown::remove(&state)? {
        stdout::show_line(format_args!("there is no lab {:?}", state.name()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Plans, and refuses what cannot be done before anything is touched.
fn prepare(shape: &Shape, progress: &Progress) -> Result<(StateDir, Record), Error> {
    let plan = Plan::new(&shape.choice())?;
    let mut record = Record::new(plan, shape.log_level.clone());
    record.password.clone_from(&shape.password);
    record.names = shape.dns;
    let protection = Protection { trusted: false };
    record.protection = shape.password.is_some().then_some(protection);
    let state = StateDir::new(&shape.place);
    progress.update("looking for an earlier lab");
    Ok((state, record))
}

/// Removes what a killed command left. A lab that was left on purpose stays.
pub(crate) fn clear_remains(state: &StateDir, progress: &Progress) -> Result<(), Error> {
    if let Ok(Some(Record {
        phase: Phase::Up, ..
    })) = state.load()
    {
        let name = state.name().to_owned();
        let suffix = if name == "weave-lab" {
            String::new()
        } else {
            format!(" --name {name}")
        };
        return Err(Error::IsUp { name, suffix });
    }
    if teardown::remove(state)? {
        progress.say("removed what an earlier run left behind");
    }
    Ok(())
}

/// Prints what was found; the exit code says whether everything passed.
fn show(survey: Survey, begun: Instant, report: &Report, progress: &Progress) -> ExitCode {
    let mut outcome = survey.outcome;
    outcome.elapsed_s = begun.elapsed().as_secs_f64();
    progress.clear();
    if report.json {
        stdout::show_line(outcome.to_json());
    } else {
        stdout::show_line(format_args!(
            "{}\n{}\n{}",
            survey.matrix,
            survey.ring,
            summary::draw(&outcome).trim_end()
        ));
    }
    if outcome.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn usage(state: &StateDir) -> String {
    let name = state.name();
    let flags = if name == "weave-lab" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    format!(
        "the lab {name:?} is up, its files are in {}\n\
         \x20 weave lab exec{flags} 1 -- weave status      a command in host 1\n\
         \x20 weave lab exec{flags} 1/2 -- ip address      a command in pod 2 of host 1\n\
         \x20 weave lab probe{flags}                       probe everything again\n\
         \x20 weave lab down{flags}                        remove the lab",
        state.path().display()
    )
}

/// The outcome of `work`, or `None` after a signal to end; `stop` is set then.
pub(crate) async fn until_signal<T>(work: impl Future<Output = T>, stop: &AtomicBool) -> Option<T> {
    tokio::select! {
        outcome = work => Some(outcome),
        () = end_signal() => {
            stop.store(true, Ordering::Relaxed);
            None
        }
    }
}

async fn end_signal() {
    tokio::select! {
        () = one_signal(SignalKind::interrupt()) => {}
        () = one_signal(SignalKind::terminate()) => {}
        () = one_signal(SignalKind::hangup()) => {}
    }
}

async fn one_signal(kind: SignalKind) {
    let heard = match signal(kind) {
        Ok(mut stream) => stream.recv().await.is_some(),
        Err(_) => false,
    };
    if !heard {
        // A signal that cannot be listened to keeps its usual effect.
        std::future::pending::<()>().await;
    }
}

// ===== commands about a running lab =====

fn become_command(exec: &Exec) -> Result<ExitCode, Error> {
    let record = StateDir::new(&exec.place).load_up()?;
    let namespace = underlay::open(record.namespace(exec.target)?)?;
    eprintln!(
        "weave lab exec: {}",
        process::become_command(&namespace, &exec.command)
    );
    Ok(ExitCode::from(127))
}

async fn cut_off(cut: &Cut) -> Result<ExitCode, Error> {
    let state = StateDir::new(&cut.place);
    let _lock = state.lock()?;
    let record = state.load_up()?;
    for host in &cut.hosts {
        record.require_host(*host)?;
    }
    let group: BTreeSet<usize> = cut.hosts.iter().copied().collect();
    underlay::cut(&record.plan, &group).await?;
    Ok(ExitCode::SUCCESS)
}

async fn heal(place: &Place) -> Result<ExitCode, Error> {
    let state = StateDir::new(place);
    let _lock = state.lock()?;
    underlay::heal(&state.load_up()?.plan).await?;
    Ok(ExitCode::SUCCESS)
}

/// Blocks or unblocks a port between two hosts.
async fn change_blocks(blocking: &Blocking, on: bool) -> Result<ExitCode, Error> {
    let state = StateDir::new(&blocking.place);
    let _lock = state.lock()?;
    let mut record = state.load_up()?;
    let Blocking { a, b, port, .. } = *blocking;
    record.require_host(a)?;
    record.require_host(b)?;
    record
        .blocks
        .retain(|block| !block.is_between(a, b) || block.port != port);
    if on {
        record.blocks.push(Block { a, b, port });
    }
    faults::put(&record.plan, &record.blocks).await?;
    state.save(&record)?;
    Ok(ExitCode::SUCCESS)
}

fn kill_daemon(one: &OneHost) -> Result<ExitCode, Error> {
    let state = StateDir::new(&one.place);
    let _lock = state.lock()?;
    state.load_up()?.require_host(one.host)?;
    let Some(process) = Process::written(&state.pid(one.host)) else {
        return Err(Error::State(format!(
            "the daemon of host {} does not run",
            one.host
        )));
    };
    process
        .kill()
        .map_err(|error| Error::kernel("kill the daemon", error))?;
    Ok(ExitCode::SUCCESS)
}

async fn start_daemon(one: &OneHost) -> Result<ExitCode, Error> {
    let state = StateDir::new(&one.place);
    let _lock = state.lock()?;
    let record = state.load_up()?;
    record.require_host(one.host)?;
    if Process::written(&state.pid(one.host)).is_some() {
        return Err(Error::State(format!(
            "the daemon of host {} runs",
            one.host
        )));
    }
    drop(process::start_daemon(&state, &record, one.host, false)?);
    daemons::wait_answer(&state, &record, one.host).await?;
    Ok(ExitCode::SUCCESS)
}

async fn add_pod(one: &OneHost) -> Result<ExitCode, Error> {
    let state = StateDir::new(&one.place);
    let _lock = state.lock()?;
    let mut record = state.load_up()?;
    record.require_host(one.host)?;
    pods::add(&state, &mut record, one.host).await?;
    state.save(&record)?;
    if let Some(pod) = record.pods.last() {
        let six = pod.address6.map(|address| format!(" {address}"));
        let six = six.unwrap_or_default();
        stdout::show_line(format_args!("{} {}{six}", pod.label(), pod.address));
    }
    Ok(ExitCode::SUCCESS)
}

async fn del_pod(one: &OnePod) -> Result<ExitCode, Error> {
    let state = StateDir::new(&one.place);
    let _lock = state.lock()?;
    let mut record = state.load_up()?;
    let Some(pod) = one.target.pod else {
        return Err(Error::State(format!(
            "{} is a host; name a pod as 2/1",
            one.target
        )));
    };
    pods::remove(&state, &mut record, one.target.host, pod).await?;
    state.save(&record)?;
    Ok(ExitCode::SUCCESS)
}

/// As shells report a command ended by SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;
