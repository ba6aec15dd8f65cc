//! `weave-npc`: the controller that enforces network policies on this node.
//!
//! ```text
//! settings ─▶ kernel ─▶ source ─▶ task ─▶ HTTP
//! ```
//!
//! What an earlier controller wrote stays in force until everything is known and the new rules take
//! its place in one batch. Stopping changes nothing in the kernel.

pub(crate) mod blocked;
#[cfg(feature = "kube")]
mod cluster;
pub(super) mod counted;
mod ears;
mod files;
mod guard;
mod http;
mod kernel;
pub(super) mod latency;
mod line;
mod metrics;
mod old;
mod ready;
mod request;
pub(crate) mod settings;
pub(crate) mod status;
mod sysctl;
mod task;
mod view;
mod waiting;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_npc::compile::Compiler;

use crate::{args, http as server, logging, stdout};
use kernel::Kernel;
use request::Handle;
use settings::{Settings, Source};
use task::{Input, Task};

/// Runs the controller until a signal ends it.
pub(crate) fn run(words: &[String]) -> ExitCode {
    if args::help::wants_help(words) {
        stdout::show(settings::help());
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::read(words, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            logging::fatal(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    logging::start(settings.level, settings.format);
    // Two threads: one for the task, which compiles, and one for those who ask meanwhile.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(serve(settings)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match outcome {
        Ok(signal) => {
            logging::fatal(&format!("Exiting: {signal}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            logging::fatal(&error);
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal comes; its name.
async fn serve(settings: Settings) -> Result<&'static str, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut terminate = signal(SignalKind::terminate()).map_err(text)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(text)?;
    info!(
        "Starting Weaveworks NPC {}; node name \"{}\"",
        env!("CARGO_PKG_VERSION"),
        settings.node
    );
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let table = Compiler::new("", settings.options.clone()).table().clone();
    let kernel = Kernel::open(table).map_err(|error| error.to_string())?;
    let control = server::bind(&settings.control).await.map_err(text)?;
    let metrics = match &settings.metrics {
        Some(address) => {
            let listener = server::bind(address).await.map_err(text)?;
            info!("Serving /metrics on {address}");
            Some(listener)
        }
        None => None,
    };
    let stop = CancellationToken::new();
    let (inputs, inbox) = mpsc::channel(QUEUE);
    let handle = Handle(inputs.clone());
    let (source, node) = (settings.source.clone(), settings.node.to_string());
    let mut tasks = JoinSet::new();
    tasks.spawn(Task::new(settings, kernel, inbox, stop.clone()).run());
    tasks.spawn(listen(control, http::control(handle.clone()), stop.clone()));
    if let Some(metrics) = metrics {
        tasks.spawn(listen(metrics, http::public(handle), stop.clone()));
    }
    follow(source, node, inputs, &mut tasks);
    let name = tokio::select! {
        _ = terminate.recv() => "terminated",
        _ = interrupt.recv() => "interrupt",
        _ = tasks.join_next() => return Err("a task ended: this is a fault of the program".to_owned()),
    };
    stop.cancel();
    Ok(name)
}

async fn listen(listener: server::Listener, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = server::serve(listener, router, server::Limits::default(), stop).await {
        warn!("HTTP: {error}");
    }
}

/// Starts what tells of objects.
fn follow(source: Source, node: String, inputs: mpsc::Sender<Input>, tasks: &mut JoinSet<()>) {
    match source {
        Source::Files(directory) => tasks.spawn(files::follow(directory, inputs)),
        Source::Cluster => tasks.spawn(follow_cluster(node, inputs)),
    };
}

#[cfg(feature = "kube")]
async fn follow_cluster(node: String, inputs: mpsc::Sender<Input>) {
    cluster::follow(node, inputs).await;
}

/// Says that nobody tells.
#[cfg(not(feature = "kube"))]
async fn follow_cluster(node: String, inputs: mpsc::Sender<Input>) {
    let fault = format!("node {node}: this program was built without a way to API servers");
    // Whoever does not listen any more needs no fault.
    let _ = inputs.send(Input::Faults(vec![fault])).await;
    inputs.closed().await;
}

const QUEUE: usize = 1024;

/// The metrics of a controller that has done nothing, with one connection blocked.
#[cfg(test)]
pub(crate) fn sample_metrics() -> String {
    let key = ("tcp".to_owned(), "80".to_owned());
    metrics::page(&status::Status::default(), &[(key, 1)].into())
}
