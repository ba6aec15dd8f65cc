//! `weave lab bench cni`: how long a container runtime waits for the plugin.
//!
//! On one host our plugin, with its daemon, and the plugins `bridge` and `host-local` of the CNI
//! project, where they are installed, add and delete pods: first one at a time by turns, then many
//! at once by turns. Times are those of whole processes, from their start to their end. Invariant:
//! both plugins get a fresh namespace for every pod and find a bridge with an address.

mod calls;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use self::calls::{Calls, Plugin};
use self::report::{Report, Samples};
use crate::http::client::Client;
use crate::lab::error::Error;
use crate::lab::once::once;
use crate::lab::plan::{Choice, Plan};
use crate::lab::pods::Runtime;
use crate::lab::process::CONTROL_ADDRESS;
use crate::lab::progress::Progress;
use crate::lab::record::{Record, StateDir};
use crate::lab::{build, underlay};

/// `weave lab bench cni`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Pods added and deleted one after the other, by each plugin.
    #[arg(long, default_value_t = 1000, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(10..=1_000_000))]
    count: usize,
    /// Pods added at once, by each plugin.
    #[arg(long, default_value_t = 50, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=200))]
    parallel: usize,
    /// How often that many are added at once.
    #[arg(long, default_value_t = 10, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=10_000))]
    bursts: usize,
    /// The directory with the plugins bridge and host-local [default: the first of
    /// `CNI_PATH` and the usual ones that has both].
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Prefix of the names of all namespaces.
    #[arg(long, default_value = "weave-bench-cni", value_name = "NAME")]
    name: String,
}

/// Makes a host, measures, and removes it whatever happens.
///
/// # Errors
/// Why there is nothing to measure, or which call failed.
pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let state = StateDir::named(&arguments.name);
    let record = Record::new(
        Plan::new(&Choice::full(&arguments.name, 1, 0))?,
        "info".to_owned(),
    );
    let stop = AtomicBool::new(false);
    let work = measured(arguments, &state, record, &progress);
    once(&state, &progress, arguments.json, &stop, work).await
}

async fn measured(
    arguments: &Arguments,
    state: &StateDir,
    mut record: Record,
    progress: &Progress,
) -> Result<Report, Error> {
    let begun = Instant::now();
    let rival = rival(arguments)?;
    build::build(state, &mut record, true, progress).await?;
    expose(&record).await?;
    let mut plugins = vec![ours(state)];
    plugins.extend(rival.map(|directory| theirs(state, directory)));
    if plugins.len() == 1 {
        progress.say("note: no plugins bridge and host-local to compare with; see --plugins");
    }
    let host = underlay::open(&record.plan.hosts[0].namespace)?;
    let mut samples: Vec<Samples> = vec![Samples::default(); plugins.len()];
    // The first calls read programs from the disk and make the bridge of the other plugin.
    for number in 0..arguments.count + WARM_UP {
        progress.update(&format!("pod {number} of {}", arguments.count));
        for turn in 0..plugins.len() {
            let at = (turn + number) % plugins.len();
            let calls = Calls::new(&arguments.name, &host, &plugins[at]);
            let one = calls.one().await?;
            if number >= WARM_UP {
                samples[at].sequential.push(one);
            }
        }
    }
    for number in 0..arguments.bursts {
        progress.update(&format!("burst {number} of {}", arguments.bursts));
        for turn in 0..plugins.len() {
            let at = (turn + number) % plugins.len();
            let calls = Calls::new(&arguments.name, &host, &plugins[at]);
            let burst = calls.burst(arguments.parallel).await?;
            samples[at].parallel.extend(burst);
        }
    }
    let names = plugins.iter().map(|plugin| plugin.name);
    let counts = (arguments.count, arguments.parallel, arguments.bursts);
    Report::new(names.zip(samples), counts, begun.elapsed())
        .ok_or_else(|| Error::State("a sample is missing; nothing to compare".to_owned()))
}

/// Where the plugins to compare with are; nothing when nobody names a place and none is usual.
fn rival(arguments: &Arguments) -> Result<Option<PathBuf>, Error> {
    let has_both = |directory: &Path| {
        ["bridge", "host-local"]
            .iter()
            .all(|name| directory.join(name).is_file())
    };
    if let Some(given) = &arguments.plugins {
        if has_both(given) {
            return Ok(Some(given.clone()));
        }
        let words = format!("{} has not both bridge and host-local", given.display());
        return Err(Error::State(words));
    }
    let named = std::env::var_os("CNI_PATH").unwrap_or_default();
    let usual = ["/opt/cni/bin", "/usr/lib/cni"].map(PathBuf::from);
    let mut all = std::env::split_paths(&named).chain(usual);
    Ok(all.find(|directory| has_both(directory)))
}

/// Gives the bridge its address, as the start of a node does.
async fn expose(record: &Record) -> Result<(), Error> {
    let host = underlay::open(&record.plan.hosts[0].namespace)?;
    let exposed = host
        .run_async(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let client = Client::new(CONTROL_ADDRESS).with_limit(EXPOSE_LIMIT);
            let asked = async {
                let given = client.post("/ip/weave:expose").await;
                let address = given.map_err(|error| error.to_string())?.body;
                let path = format!("/expose/{}", address.trim());
                let answer = client.post(&path).await;
                answer.map_err(|error| error.to_string())
            };
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(asked)
        })
        .await
        .map_err(|error| Error::kernel("expose", error))?;
    match exposed {
        Ok(answer) if answer.is_success() => Ok(()),
        Ok(answer) => Err(Error::State(answer.body)),
        Err(reason) => Err(Error::State(reason)),
    }
}

fn ours(state: &StateDir) -> Plugin {
    Plugin {
        name: "weave",
        program: state.bin().join("weave-net"),
        runtime: Runtime::of_lab(state, 1),
    }
}

/// The same for the pod: a bridge that hairpins, an address and a default route.
fn theirs(state: &StateDir, directory: PathBuf) -> Plugin {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "reference",
        "type": "bridge",
        "bridge": "reference0",
        "isGateway": true,
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "dataDir": state.path().join("host-local"),
            "ranges": [[{"subnet": "10.200.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    });
    Plugin {
        name: "bridge",
        program: directory.join("bridge"),
        runtime: Runtime {
            bin: directory,
            config,
            pending: state.host(1).join("cni-pending"),
        },
    }
}

/// Calls of each plugin that are not counted.
const WARM_UP: usize = 5;
const EXPOSE_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::args::alone;

    #[test]
    fn the_acceptance_is_what_is_done_without_arguments() {
        let Arguments {
            count, parallel, ..
        } = alone("").unwrap();

        assert_eq!((count, parallel), (1000, 50));
    }

    #[test]
    fn a_directory_without_the_plugins_is_named() {
        let arguments = alone("--plugins /proc").unwrap();

        let error = rival(&arguments).unwrap_err().to_string();

        assert!(error.contains("/proc has not both"), "{error}");
    }
}
