//! `weave lab cluster`: a Kubernetes cluster without Kubernetes' own programs.
//!
//! Hosts are machines whose weave containers are started as the manifest starts them; each talks to
//! an API server. The lab is what is around them: it creates and deletes Nodes, starts and ends
//! containers, and calls the installed plugin as a kubelet does. Invariant: what is counted comes
//! from the daemons' books and from packets, never from what a step was meant to do.
//!
//! `server` is the API server and the way to it, `machine` a host, `stage` what all steps work with,
//! `steps` what happens, `books` and `outcome` what it means.

mod books;
mod machine;
mod outcome;
pub mod server;
mod stage;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};

use self::outcome::{Outcome, Timeline};
use self::server::Choice as ApiServer;
use self::stage::Stage;
use super::args::Place;
use super::error::Error;
use super::once::once;
use super::plan::{Choice, Plan};
use super::progress::Progress;
use super::record::{Record, StateDir};

/// `weave lab cluster`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Nodes at the beginning; one more joins later.
    #[arg(long, default_value_t = 5, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=50))]
    nodes: usize,
    /// Pods on each node.
    #[arg(long, default_value_t = 2, value_name = "M",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=50))]
    pods: usize,
    /// The API server: recorded (ours), real (the programs `KUBE_APISERVER` and ETCD name), or the
    /// URL of one that nobody else uses.
    #[arg(long, default_value = "recorded", value_name = "SERVER")]
    apiserver: ApiServer,
    /// A file with the token of an administrator of the server at the URL.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Seconds for which the API server is away while pods come and go.
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    outage: u64,
    /// Leave out these steps.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STEP")]
    skip: Vec<Step>,
    /// Log level of the daemons.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-cluster", value_name = "NAME")]
    name: String,
    /// Where the lab keeps its files [default: /run/NAME].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// What can happen to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// A node is drained, deleted, and comes back with what it remembers.
    Drain,
    /// A node is lost with its pods; another machine takes its name.
    Lose,
    /// A machine has the machine id of another.
    Twin,
    /// The API server is away.
    Outage,
    /// A daemon is away while a pod ends.
    Absence,
    /// A node joins.
    Grow,
}

/// Makes a cluster, has it live, and removes it whatever happens.
///
/// # Errors
/// Why there is no cluster. What goes wrong in its life is an event.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::new(&Place {
        name: arguments.name.clone(),
        state_dir: arguments.state_dir.clone(),
    });
    // One more than there are nodes at first: it joins later.
    let plan = Plan::new(&Choice::full(&arguments.name, arguments.nodes + 1, 0))?;
    let record = Record::new(plan, arguments.log_level.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let work = live(arguments, &state, record, &stop, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

async fn live(
    arguments: &Arguments,
    state: &StateDir,
    record: Record,
    stop: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let timeline = Timeline::new(progress);
    let mut stage = Stage::build(arguments, state, record, stop, timeline).await?;
    if let Err(error) = steps::all(&mut stage).await {
        stage.timeline.note(false, error.to_string());
    }
    Ok(stage.finish().await)
}

impl Arguments {
    fn has(&self, step: Step) -> bool {
        !self.skip.contains(&step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::args::alone;

    #[test]
    fn without_arguments_five_nodes_go_through_everything() {
        let arguments: Arguments = alone("").unwrap();

        assert_eq!((arguments.nodes, arguments.outage), (5, 10));
        assert_eq!(arguments.apiserver, ApiServer::Recorded);
        assert!(
            Step::value_variants()
                .iter()
                .all(|step| arguments.has(*step))
        );
    }

    #[test]
    fn steps_can_be_left_out() {
        let arguments: Arguments = alone("--skip drain,lose --skip twin").unwrap();

        assert!(!arguments.has(Step::Drain) && !arguments.has(Step::Twin));
        assert!(arguments.has(Step::Grow));
        for wrong in ["--skip everything", "--apiserver nowhere"] {
            assert!(alone::<Arguments>(wrong).is_err(), "{wrong}");
        }
    }
}
