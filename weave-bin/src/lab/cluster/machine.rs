//! The machines of a cluster: what is on their disks, and their weave containers.
//!
//! A machine is the network namespace of its host and the host's directory; another machine under
//! the same name has neither of what the one before had. Containers are this program, called by the
//! names that the manifest calls it, with the variables that the manifest sets.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use weave_datapath::netns::named_path;

use crate::lab::error::Error;
use crate::lab::plan::DEFAULT_RANGE;
use crate::lab::pods::Runtime;
use crate::lab::process::{self, Process, clean_environment, log_tail};
use crate::lab::record::{Record, StateDir};
use crate::lab::{build, underlay};

/// The machine of a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    state: &'a StateDir,
    number: usize,
}

impl<'a> Machine<'a> {
    /// Of host `number`.
    pub(super) fn new(state: &'a StateDir, number: usize) -> Self {
        Self { state, number }
    }

    /// The name of its Node.
    pub(super) fn name(self) -> String {
        format!("node-{}", self.number)
    }

    /// Empties the disk: a machine that has never run, with this machine id and `kubeconfig`.
    pub(super) fn install(self, id: &str, kubeconfig: &str) -> Result<(), Error> {
        let directory = self.state.host(self.number);
        for gone in [directory.clone(), self.pins()] {
            if gone.exists() {
                fs::remove_dir_all(&gone).map_err(Error::file(&gone))?;
            }
        }
        build::make_dir(&directory.join("root/etc"))?;
        for (file, text) in [
            (directory.join("root/etc/machine-id"), format!("{id}\n")),
            (directory.join("kubeconfig"), kubeconfig.to_owned()),
        ] {
            fs::write(&file, text).map_err(Error::file(&file))?;
        }
        Ok(())
    }

    /// The machine id on the disk.
    pub(super) fn id(self) -> Result<String, Error> {
        let file = self.state.host(self.number).join("root/etc/machine-id");
        let text = fs::read_to_string(&file).map_err(Error::file(&file))?;
        Ok(text.trim().to_owned())
    }

    /// Runs the init container and starts the weave container.
    ///
    /// # Errors
    /// What the init container says, or why the other does not start.
    pub(super) async fn start(self, record: &Record) -> Result<Child, Error> {
        self.init(record).await?;
        let namespace = named_path(&record.plan.hosts[self.number - 1].namespace);
        let pins = self.pins().display().to_string();
        let level = &record.log_level;
        let words = [
            "launch.sh".to_owned(),
            format!("--bpf-dir={pins}"),
            format!("--log-level={level}"),
        ];
        let words = words.map(Into::into);
        let variables = self.variables();
        process::start_with(
            self.state,
            self.number,
            &namespace,
            true,
            &words,
            &variables,
        )
    }

    async fn init(self, record: &Record) -> Result<(), Error> {
        let host = underlay::open(&record.plan.hosts[self.number - 1].namespace)?;
        let program = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
        let mut command = Command::new(&program);
        clean_environment(&mut command);
        command
            .arg("init.sh")
            .envs(self.variables())
            .stdin(Stdio::null());
        let failed = |error: &dyn std::fmt::Display| Error::kernel("init container", error);
        let ran = host.run_async(move || command.output()).await;
        let output = ran.map_err(|error| failed(&error))?;
        let output = output.map_err(|error| failed(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(&said.trim()))
    }

    /// As the manifest sets them, with the directories of this machine.
    fn variables(self) -> Vec<(&'static str, String)> {
        let directory = self.state.host(self.number);
        let path = |name: &str| directory.join(name).display().to_string();
        vec![
            ("HOSTNAME", self.name()),
            ("INIT_CONTAINER", "true".to_owned()),
            ("WEAVE_CNI_CONFIG_WHEN_READY", "1".to_owned()),
            // There is no controller of policies in the lab, which would let pods through.
            ("EXPECT_NPC", "0".to_owned()),
            ("IPALLOC_RANGE", DEFAULT_RANGE.to_owned()),
            ("HOST_ROOT", path("root")),
            // The plugins of all machines are one: they are this program.
            (
                "WEAVE_CNI_PLUGIN_DIR",
                self.state.bin().display().to_string(),
            ),
            ("DB_PREFIX", path("weave-net")),
            ("KUBECONFIG", path("kubeconfig")),
        ]
    }

    /// Ends the weave container as a runtime does, or as a power cut does.
    ///
    /// # Errors
    /// It does not end.
    pub(super) async fn stop(self, signal: Signal) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::kernel("end the container", error);
        let Some(container) = self.container() else {
            return Ok(());
        };
        let begun = Instant::now();
        container.signal(signal).map_err(failed)?;
        while self.container().is_some() {
            if begun.elapsed() > END_LIMIT {
                let reason = format!("it does not end after {signal}");
                return Err(self.trouble(&reason));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The weave container, while it runs.
    pub(super) fn container(self) -> Option<Process> {
        Process::written(&self.state.pid(self.number))
    }

    /// What the container logged.
    pub(super) fn log(self) -> String {
        fs::read_to_string(self.state.log(self.number)).unwrap_or_default()
    }

    /// A failure of the container with the end of its log.
    pub(super) fn trouble(self, reason: &str) -> Error {
        Error::Daemon {
            host: self.number,
            reason: format!("{reason}\n  {}", log_tail(self.state, self.number)),
        }
    }

    /// How its container runtime calls the plugin: by the files that were installed.
    ///
    /// # Errors
    /// There is no configuration yet, so the Node is not ready.
    pub(super) fn runtime(self) -> Result<Runtime, Error> {
        let directory = self.state.host(self.number);
        let file = directory.join("root/etc/cni/net.d/10-weave.conflist");
        let text = fs::read_to_string(&file).map_err(Error::file(&file))?;
        let config = first_plugin(&text).map_err(|reason| Error::Record { path: file, reason })?;
        Ok(Runtime {
            bin: self.state.bin(),
            config,
            pending: directory.join("cni-pending"),
        })
    }

    /// Where its daemon pins what the kernel keeps.
    fn pins(self) -> PathBuf {
        self.state.bpf().join(format!("host-{}", self.number))
    }
}

/// The configuration of the first plugin of a list, as a runtime passes it on (CNI specification
/// 1.1.0, section 3 "Deriving request configuration from plugin configuration").
fn first_plugin(list: &str) -> Result<Value, String> {
    let list: Value = serde_json::from_str(list).map_err(|error| error.to_string())?;
    let mut plugin = list["plugins"][0].clone();
    if !plugin.is_object() {
        return Err("it lists no plugin".to_owned());
    }
    for key in ["cniVersion", "name"] {
        plugin[key] = list[key].clone();
    }
    Ok(plugin)
}

/// A container that was asked to end has this long.
const END_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_name_and_version_of_the_list() {
        let list = r#"{"cniVersion": "1.0.0", "name": "weave", "plugins": [
            {"type": "weave-net", "hairpinMode": true}, {"type": "portmap"}]}"#;

        let plugin = first_plugin(list).unwrap();

        let expected = serde_json::json!({"cniVersion": "1.0.0", "name": "weave",
            "type": "weave-net", "hairpinMode": true});
        assert_eq!(plugin, expected);
        assert!(first_plugin(r#"{"plugins": []}"#).is_err());
    }
}
