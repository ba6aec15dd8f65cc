//! The hosts that faults are planted on.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use weave_datapath::netns::{Namespace, named_path};

use super::faults::{Fault, SPARE};
use crate::doctor::Finding;
use crate::lab::error::Error;
use crate::lab::plan::{CABLED, Choice, Plan};
use crate::lab::process::{self, CONTROL_ADDRESS, Process, clean_environment, search_path};
use crate::lab::progress::Progress;
use crate::lab::record::{Protection, Record, StateDir};
use crate::lab::{build, daemons, pods, underlay};

/// The hosts.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) state: StateDir,
    /// The network: all but the spare machine.
    pub(super) record: Record,
    /// All machines.
    pub(super) plan: Plan,
    /// What ends the page that stands in for a daemon's.
    pub(super) stand_in: CancellationToken,
}

impl Bed {
    /// Makes three hosts one network, with a pod each, and a machine beside them.
    ///
    /// # Errors
    /// What cannot be made, or a daemon that does not join.
    pub(super) async fn build(state: &StateDir, progress: &Progress) -> Result<Self, Error> {
        let mut choice = Choice::full(state.name(), SPARE, 1);
        // Passwords for the mesh, and the fast overlay all the same.
        choice.conditions.trusted = Some(CABLED.to_owned());
        let plan = Plan::new(&choice)?;
        let mut whole = Record::new(plan.clone(), "info".to_owned());
        whole.password = Some(PASSWORD.to_owned());
        whole.protection = Some(Protection { trusted: true });
        progress.step("making three hosts and a spare machine");
        build::make_files(state, &whole)?;
        state.save(&whole)?;
        underlay::build(&plan).await?;
        let mut record = whole;
        record.plan.hosts.truncate(SPARE - 1);
        for host in &mut record.plan.hosts {
            host.neighbours.retain(|other| other.number != SPARE);
        }
        let mut bed = Self {
            state: state.clone(),
            record,
            plan,
            stand_in: CancellationToken::new(),
        };
        for host in 1..=SPARE {
            bed.forward(host).await?;
        }
        for host in bed.hosts() {
            bed.start(host, true)?;
        }
        progress.step("waiting for the daemons to be one network");
        daemons::wait_ready(&bed.state, &bed.record, progress).await?;
        for host in bed.hosts() {
            pods::add(&bed.state, &mut bed.record, host).await?;
        }
        Ok(bed)
    }

    /// The hosts of the network.
    pub(super) fn hosts(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.record.plan.hosts.len()
    }

    /// The address of a machine on the switch.
    pub(super) fn address(&self, host: usize) -> String {
        let mut all = self.plan.hosts.iter().flat_map(|other| &other.neighbours);
        let found = all.find(|other| other.number == host);
        found
            .map(|other| other.address.to_string())
            .unwrap_or_default()
    }

    /// The interface of a machine to the switch.
    pub(super) fn device(&self, host: usize) -> String {
        let mut cables = self.plan.cables.iter();
        let cable = cables.find(|cable| cable.a.host == Some(host));
        cable
            .map(|cable| cable.a.device.clone())
            .unwrap_or_default()
    }

    /// The namespace of a machine.
    pub(super) fn namespace(&self, host: usize) -> Result<Namespace, Error> {
        underlay::open(&self.plan.hosts[host - 1].namespace)
    }

    /// Lets a machine forward, as one with pods must.
    pub(super) async fn forward(&self, host: usize) -> Result<(), Error> {
        underlay::write_setting(&self.namespace(host)?, "net/ipv4/ip_forward", "1").await
    }

    /// Starts the daemon of a host of the network, which serves its status page to others or not.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&self, host: usize, serves: bool) -> Result<(), Error> {
        let mut words = process::daemon_flags(&self.state, &self.record, host);
        if serves {
            words.insert(0, format!("--status-addr=0.0.0.0:{STATUS_PORT}"));
        }
        self.launch(host, words)
    }

    /// Starts the daemon of the spare machine, on a disk of its own called `label`: with `flags`, and
    /// `peers` to dial.
    ///
    /// # Errors
    /// It cannot be started or does not answer.
    pub(super) async fn join(
        &self,
        label: &str,
        flags: &[&str],
        peers: &[usize],
    ) -> Result<(), Error> {
        let host = self.state.host(SPARE);
        let directory = host.join(label);
        build::make_dir(&directory)?;
        let pins = self.state.bpf().join(format!("spare-{label}"));
        let mut words = vec![
            format!("--db-prefix={}", directory.join("weave").display()),
            format!("--bpf-dir={}", pins.display()),
            format!("--host-root={}", host.join("root").display()),
            format!("--http-addr={CONTROL_ADDRESS}"),
            "--nickname=spare".to_owned(),
            "--no-dns".to_owned(),
        ];
        let is_given = |flag: &str| flags.iter().any(|given| given.starts_with(flag));
        if !is_given("--ipalloc-range") {
            words.push(format!("--ipalloc-range={}", self.plan.range));
        }
        if !is_given("--ipalloc-init") {
            words.push("--ipalloc-init=observer".to_owned());
        }
        if !is_given("--password") {
            let file = self.state.passwords(SPARE);
            words.push(format!("--password-file={}", file.display()));
            words.push(format!("--trusted-subnets={}", self.plan.networks(SPARE)));
        }
        words.extend(
            flags
                .iter()
                .filter(|flag| **flag != "--password=")
                .map(|flag| (*flag).to_owned()),
        );
        words.extend(peers.iter().map(|peer| self.address(*peer)));
        self.launch(SPARE, words)?;
        let mut record = self.record.clone();
        record.plan = self.plan.clone();
        daemons::wait_answer(&self.state, &record, SPARE).await
    }

    fn launch(&self, host: usize, words: Vec<String>) -> Result<(), Error> {
        let namespace = named_path(&self.plan.hosts[host - 1].namespace);
        let mut all = vec!["weaver".into()];
        all.extend(words.into_iter().map(Into::into));
        // Nobody waits for the child: the lab knows it by its number.
        drop(process::start(&self.state, host, &namespace, true, &all)?);
        Ok(())
    }

    /// Kills the daemon of a machine, if there is one.
    ///
    /// # Errors
    /// It does not go.
    pub(super) fn kill(&self, host: usize) -> Result<(), Error> {
        match Process::written(&self.state.pid(host)) {
            Some(process) => process
                .kill()
                .map_err(|error| Error::kernel("kill the daemon", error)),
            None => Ok(()),
        }
    }

    /// Puts a new machine in the place of the spare one.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(super) async fn replace_spare(&self) -> Result<(), Error> {
        self.kill(SPARE)?;
        underlay::replace_host(&self.plan, SPARE).await?;
        let id = pods::fresh_id().map_err(|error| Error::kernel("random numbers", error))?;
        self.name_machine(&id[..32])?;
        self.forward(SPARE).await
    }

    /// Gives the spare machine this machine id.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn name_machine(&self, id: &str) -> Result<(), Error> {
        let file = self.state.host(SPARE).join("root/etc/machine-id");
        fs::write(&file, format!("{id}\n")).map_err(Error::file(&file))
    }

    /// The machine id of a host.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn machine_id(&self, host: usize) -> Result<String, Error> {
        let file = self.state.host(host).join("root/etc/machine-id");
        let text = fs::read_to_string(&file).map_err(Error::file(&file))?;
        Ok(text.trim().to_owned())
    }

    /// Puts a file system of a megabyte where the spare machine's `label` disk is.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(super) fn mount_disk(&self, label: &str) -> Result<PathBuf, Error> {
        let directory = self.state.host(SPARE).join(label);
        build::make_dir(&directory)?;
        let size = Some("size=1m");
        mount(
            Some("tmpfs"),
            &directory,
            Some("tmpfs"),
            MsFlags::empty(),
            size,
        )
        .map_err(|error| Error::kernel(format!("mount {}", directory.display()), error))?;
        Ok(directory)
    }

    /// Runs a shell command on a host, which must succeed.
    ///
    /// # Errors
    /// What it said.
    pub(super) async fn shell(&self, host: usize, command: &str) -> Result<(), Error> {
        let output = self.output(host, &["sh", "-c", command], &[]).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::kernel(
            format!("host {host}: {command}"),
            said.trim(),
        ))
    }

    /// What the doctor of `host` finds, with the surroundings of `fault`.
    ///
    /// # Errors
    /// It cannot be run, or prints something else than JSON.
    pub(super) async fn doctor(
        &self,
        host: usize,
        fault: Option<Fault>,
    ) -> Result<Vec<Finding>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            findings: Vec<Finding>,
        }
        let root = format!(
            "--host-root={}",
            self.state.host(host).join("root").display()
        );
        let mut words = vec!["doctor", "--json"];
        let prefix = format!(
            "--db-prefix={}",
            self.state.host(host).join("weave").display()
        );
        if fault == Some(Fault::DaemonDown) {
            // Nobody else tells where they are.
            words.extend([root.as_str(), prefix.as_str()]);
        }
        let program = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
        let program = program.display().to_string();
        words.insert(0, &program);
        let variables = fault.map(Fault::variables).unwrap_or_default();
        let output = self.output(host, &words, &variables).await?;
        let answer: Result<Answer, _> = serde_json::from_slice(&output.stdout);
        answer.map(|answer| answer.findings).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            Error::kernel("weave doctor", format!("{error}: {}", said.trim()))
        })
    }

    /// Types the command of `finding` where it says; whether it succeeded.
    ///
    /// # Errors
    /// It cannot be run.
    pub(super) async fn type_in(&self, host: usize, finding: &Finding) -> Result<bool, Error> {
        let is_there = |other: &usize| {
            let address = self.address(*other);
            finding.on.as_ref().is_some_and(|on| *on == address)
        };
        let host = (1..=SPARE).find(is_there).unwrap_or(host);
        let words = ["sh", "-c", finding.fix.as_str()];
        Ok(self.output(host, &words, &[]).await?.status.success())
    }

    async fn output(
        &self,
        host: usize,
        words: &[&str],
        variables: &[(&'static str, String)],
    ) -> Result<Output, Error> {
        let mut command = Command::new(words[0]);
        clean_environment(&mut command);
        command
            .args(&words[1..])
            .env("PATH", search_path())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let failed = |error: &dyn std::fmt::Display| Error::kernel(words[0], error);
        let namespace = self.namespace(host)?;
        let ran = namespace.run_async(move || command.output());
        let output = ran.await.map_err(|error| failed(&error))?;
        output.map_err(|error| failed(&error))
    }
}

/// Whether there is a program of this name.
pub(super) fn has(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|directory| directory.join(program).exists())
}

/// What the hosts of the network share.
const PASSWORD: &str = "the password of the lab";
/// Where the add-on serves status pages.
pub(super) const STATUS_PORT: u16 = 6782;
