//! The policy controllers of a lab: the program itself, one process per host.
//!
//! Invariant: [`Controllers::sync`] returns only when every controller has answered that all that
//! is in its directory at that moment is in force in its kernel.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weave_datapath::netns::Namespace;

use super::scene::Scene;
use crate::http::client::Client;
use crate::lab::error::Error;
use crate::lab::process::{self, Process, log_tail};
use crate::lab::record::StateDir;

/// The controllers of all hosts.
#[derive(Debug)]
pub(super) struct Controllers {
    state: StateDir,
    manifests: PathBuf,
    hosts: Vec<Place>,
}

/// Where a controller runs.
#[derive(Debug, Clone)]
struct Place {
    number: usize,
    node: String,
    namespace: Namespace,
}

impl Controllers {
    /// Starts one controller per host of `scene`; all read the directory `manifests`.
    ///
    /// # Errors
    /// When a program cannot be started or its files cannot be written.
    pub(super) fn start(
        state: &StateDir,
        scene: &Scene,
        manifests: PathBuf,
    ) -> Result<Self, Error> {
        let hosts = scene.hosts.iter().map(|(node, host)| Place {
            number: host.number,
            node: node.to_string(),
            namespace: host.namespace.clone(),
        });
        let controllers = Self {
            state: state.clone(),
            manifests,
            hosts: hosts.collect(),
        };
        for place in &controllers.hosts {
            controllers.launch(place)?;
        }
        Ok(controllers)
    }

    /// Waits until every controller enforces what is in the directory. How long that took.
    ///
    /// # Errors
    /// A controller ended, or does not get there in time.
    pub(super) async fn sync(&self) -> Result<Duration, Error> {
        let begun = Instant::now();
        for place in &self.hosts {
            self.sync_one(place, begun + LIMIT).await?;
        }
        Ok(begun.elapsed())
    }

    /// Ends every controller with `signal`, waits until they are gone, and starts them again.
    ///
    /// # Errors
    /// As [`Controllers::start`]; or one does not end.
    pub(super) async fn restart(&self, signal: Signal) -> Result<(), Error> {
        for place in &self.hosts {
            if let Some(process) = Process::written(&self.state.pid(place.number)) {
                let failed = |error| Error::kernel(format!("end controller {}", place.node), error);
                process.signal(signal).map_err(failed)?;
            }
        }
        let deadline = Instant::now() + LIMIT;
        for place in &self.hosts {
            while Process::written(&self.state.pid(place.number)).is_some() {
                if Instant::now() > deadline {
                    return Err(self.fault(place, &format!("{signal} does not end it")));
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        self.hosts.iter().try_for_each(|place| self.launch(place))
    }

    fn launch(&self, place: &Place) -> Result<(), Error> {
        let dir = self.state.host(place.number);
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        let words: [&OsStr; 8] = [
            "weave-npc".as_ref(),
            "--node-name".as_ref(),
            place.node.as_ref(),
            "--manifests".as_ref(),
            self.manifests.as_ref(),
            "--control-addr".as_ref(),
            CONTROL.as_ref(),
            "--metrics-addr=".as_ref(),
        ];
        let words = words.map(OsStr::to_owned);
        let namespace = place.namespace.path();
        process::start(&self.state, place.number, namespace, true, &words).map(drop)
    }

    async fn sync_one(&self, place: &Place, deadline: Instant) -> Result<(), Error> {
        loop {
            let reason = match ask(&place.namespace, "/sync").await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            let has_ended = Process::written(&self.state.pid(place.number)).is_none();
            if has_ended || Instant::now() > deadline {
                let reason = if has_ended { "it ended" } else { &reason };
                return Err(self.fault(place, reason));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn fault(&self, place: &Place, reason: &str) -> Error {
        let log = log_tail(&self.state, place.number);
        Error::State(format!("controller of {}: {reason}\n  {log}", place.node))
    }
}

/// Asks the controller in `host`; an error unless it answers with success.
async fn ask(host: &Namespace, path: &'static str) -> Result<(), String> {
    // The socket belongs to the namespace of the thread that opens it.
    let answer = host
        .run_async(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let client = Client::new(CONTROL).with_limit(ASK_LIMIT);
            runtime.map(|runtime| runtime.block_on(client.get(path)))
        })
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    if answer.is_success() {
        Ok(())
    } else {
        Err(format!(
            "{path} answers {}: {}",
            answer.status,
            answer.body.trim()
        ))
    }
}

/// Where every controller of a lab listens, each on its own host's loopback.
const CONTROL: &str = "127.0.0.1:6785";
const ASK_LIMIT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
