//! Calls of a plugin as a runtime makes them, and how long they take.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use weave_datapath::netns::{Namespace, named_path};

use crate::lab::error::Error;
use crate::lab::pods::{self, Runtime, exchange, words_of};
use crate::lab::process::clean_environment;

/// A plugin and its configuration.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    /// As it is called in the report.
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) runtime: Runtime,
}

/// Milliseconds of the calls for one pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) add: f64,
    pub(super) del: f64,
}

/// Calls on one host.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    lab: String,
    host: Namespace,
    plugin: Plugin,
}

impl Calls {
    /// Of `plugin` on `host` of the lab called `lab`.
    pub(super) fn new(lab: &str, host: &Namespace, plugin: &Plugin) -> Self {
        Self {
            lab: lab.to_owned(),
            host: host.clone(),
            plugin: plugin.clone(),
        }
    }

    /// Adds and deletes one pod.
    ///
    /// # Errors
    /// What the plugin said.
    pub(super) async fn one(&self) -> Result<Times, Error> {
        let all = self.burst(1).await?;
        let times = all.first().copied();
        times.ok_or_else(|| Error::State("no pod was added".to_owned()))
    }

    /// Adds `count` pods at the same moment; when all are there, deletes them at the same moment.
    ///
    /// # Errors
    /// What the plugin said first.
    pub(super) async fn burst(&self, count: usize) -> Result<Vec<Times>, Error> {
        let mut pods = Vec::with_capacity(count);
        for number in 1..=count {
            let namespace = format!("{}-1-pod-{number}", self.lab);
            let made = Namespace::create_named(&namespace);
            made.map_err(|error| Error::kernel(&namespace, error))?;
            let id = pods::fresh_id().map_err(|error| Error::kernel("random numbers", error))?;
            pods.push((namespace, id));
        }
        let calls = self.clone();
        let work = move || {
            let times = calls.all(&pods);
            for (namespace, _) in &pods {
                let gone = Namespace::delete_named(namespace);
                gone.map_err(|error| error.to_string())?;
            }
            times
        };
        let times = self.host.run_async(work).await;
        times
            .map_err(|error| Error::kernel("call the plugin", error))?
            .map_err(Error::State)
    }

    /// Every pod on a thread of its own, which is in the host as the calling one is.
    fn all(&self, pods: &[(String, String)]) -> Result<Vec<Times>, String> {
        let together = Barrier::new(pods.len());
        std::thread::scope(|scope| {
            let threads: Vec<_> = pods
                .iter()
                .map(|(namespace, id)| {
                    let together = &together;
                    scope.spawn(move || {
                        together.wait();
                        let add = self.call("ADD", namespace, id);
                        together.wait();
                        let del = self.call("DEL", namespace, id);
                        Ok(Times {
                            add: add?,
                            del: del?,
                        })
                    })
                })
                .collect();
            let broken = || Err("a thread that calls the plugin broke".to_owned());
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|times| times.unwrap_or_else(|_| broken()))
                .collect()
        })
    }

    /// Milliseconds of one call.
    fn call(&self, command: &'static str, namespace: &str, id: &str) -> Result<f64, String> {
        let mut process = Command::new(&self.plugin.program);
        clean_environment(&mut process);
        process
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", named_path(namespace))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.plugin.runtime.bin)
            .env("WEAVE_CNI_PENDING_DIR", &self.plugin.runtime.pending)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let config = self.plugin.runtime.config.to_string();
        let failed = |reason: String| format!("{command} by {}: {reason}", self.plugin.name);
        let (output, took) =
            exchange(&mut process, &config).map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(milliseconds(took))
        } else {
            Err(failed(words_of(&output)))
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
