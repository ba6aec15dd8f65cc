//! The words after `weave lab`.

use std::num::ParseIntError;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::Ipv4Net;

use super::bench;
#[cfg(feature = "kube")]
use super::cluster;
use super::plan::{Choice, DEFAULT_RANGE, Topology};
use super::{doctor, mesh};
use super::{policy, restart, rotate};
use commands::{Blocking, Cut, Exec, Launch, OneHost, OnePod, Ping, Stream};
use terrain::Terrain;

pub(crate) mod commands;
mod terrain;

/// Hosts as network namespaces of this machine, with real daemons, pods and packets.
#[derive(Debug, Parser)]
#[command(
    name = "weave lab",
    bin_name = "weave lab",
    disable_version_flag = true
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands of the lab.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a lab, probe everything, print what was found, remove the lab.
    Run(Run),
    /// Make a lab and leave it running.
    Up(Up),
    /// Probe a running lab, as `run` does.
    Probe(Probe),
    /// Run a command in a host (2) or a pod (2/1).
    Exec(Exec),
    /// Remove a lab and all that is left of it.
    Down(Place),
    /// Cut hosts off from the others; among themselves they stay connected.
    Cut(Cut),
    /// Let no packet of a UDP port through between two hosts.
    Block(Blocking),
    /// Undo blocks of a UDP port between two hosts.
    Unblock(Blocking),
    /// Undo all cuts.
    Heal(Place),
    /// Kill a host's daemon with SIGKILL.
    Kill(OneHost),
    /// Start a host's daemon.
    Start(OneHost),
    /// Add a pod to a host through the CNI plugin.
    AddPod(OneHost),
    /// Remove a pod through the CNI plugin.
    DelPod(OnePod),
    /// Send echo requests between two places at a steady rate and count what is lost.
    Ping(Ping),
    /// Send over TCP between two places and see when it flows and whether it stalls.
    Stream(Stream),
    /// Change the password of a mesh in three steps while every pair of hosts pings.
    Rotate(rotate::Arguments),
    /// End and start a daemon many times under traffic and count what is lost.
    Restart(restart::Arguments),
    /// Start many daemons without data path and measure what the mesh costs.
    Mesh(mesh::Arguments),
    /// Run a Kubernetes cluster through its life: nodes and pods come and go, the API server is away.
    #[cfg(feature = "kube")]
    Cluster(cluster::Arguments),
    /// Plant faults on hosts and see whether the doctor names each and nothing else.
    Doctor(doctor::Arguments),
    /// Make the hosts and pods of manifests and see which connections their policies let through.
    Policy(policy::Arguments),
    /// Measure the overlay and the policies against the kernel's own means.
    Bench(bench::Arguments),
    /// Enter a namespace and become a command.
    #[command(hide = true)]
    Launch(Launch),
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Prefix of the names of all namespaces; several labs need several names.
    #[arg(long, default_value = "weave-lab", value_name = "NAME")]
    pub(crate) name: String,
    /// Where the lab keeps its files [default: /run/NAME].
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// Size and form of a lab.
#[derive(Debug, Clone, Args)]
pub(crate) struct Shape {
    /// Number of hosts.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) hosts: usize,
    /// Number of pods on each host.
    #[arg(long, default_value_t = 2, value_name = "M")]
    pub(crate) pods: usize,
    /// How hosts are cabled.
    #[arg(long, value_enum, default_value_t = Topology::Full)]
    pub(crate) topology: Topology,
    /// Range of the pods' addresses.
    #[arg(long, default_value = DEFAULT_RANGE, value_name = "CIDR")]
    pub(crate) ipalloc_range: Ipv4Net,
    /// Give pods IPv6 addresses too, of `fd00:10:32::/64`.
    #[arg(long)]
    pub(crate) dual_stack: bool,
    /// MTU of the pods [default: the daemon's].
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u16>,
    /// Log level of the daemons.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,
    /// Run name servers; they ask those that HOST/resolv.conf in the lab's files names for the rest.
    #[arg(long)]
    pub(crate) dns: bool,
    /// Encrypt connections between daemons with this password.
    #[arg(long, value_name = "WORD")]
    pub(crate) password: Option<String>,
    #[command(flatten)]
    pub(crate) terrain: Terrain,
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Shape {
    /// What is to be planned.
    pub(crate) fn choice(&self) -> Choice {
        Choice {
            name: self.place.name.clone(),
            hosts: self.hosts,
            pods: self.pods,
            topology: self.topology,
            range: self.ipalloc_range.trunc(),
            is_dual_stack: self.dual_stack,
            mtu: self.mtu,
            conditions: self.terrain.conditions(),
        }
    }
}

/// `weave lab run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Leave the lab running.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) report: Report,
}

/// `weave lab up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) shape: Shape,
}

/// `weave lab probe`.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) report: Report,
}

/// How probing goes and is reported.
#[derive(Debug, Clone, Args)]
pub(crate) struct Report {
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds after which a pair that has not answered counts as failed.
    #[arg(long, default_value_t = 15, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) wait: u64,
}

impl Report {
    /// How long to wait for an answer.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

/// A host, or a pod on a host; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// The host.
    pub(crate) host: usize,
    /// The pod.
    pub(crate) pod: Option<usize>,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = |_: ParseIntError| TargetError(text.to_owned());
        let (host, pod) = match text.split_once('/') {
            Some((host, pod)) => (host, Some(pod.parse().map_err(wrong)?)),
            None => (text, None),
        };
        let host = host
            .strip_prefix("host-")
            .unwrap_or(host)
            .parse()
            .map_err(wrong)?;
        Ok(Self { host, pod })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pod {
            Some(pod) => write!(f, "{}/{pod}", self.host),
            None => write!(f, "host-{}", self.host),
        }
    }
}

/// A word that names no place in a lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host such as 2 nor a pod such as 2/1")]
pub(crate) struct TargetError(String);

/// A clap error as one line: what is wrong, and what may have been meant.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut one = String::new();
    for line in text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
    {
        let line = line
            .trim_start_matches("error: ")
            .trim_start_matches("tip: ");
        if line.is_empty() {
            continue;
        }
        match one.chars().last() {
            None => {}
            Some(':') => one.push(' '),
            Some(_) => one.push_str("; "),
        }
        one.push_str(line);
    }
    one
}

/// The arguments of one command, without its name, as the command line would have them.
#[cfg(test)]
pub(crate) fn alone<A: Args>(line: &str) -> Result<A, clap::Error> {
    #[derive(Parser)]
    struct Alone<A: Args> {
        #[command(flatten)]
        arguments: A,
    }

    let words = std::iter::once("weave").chain(line.split_whitespace());
    <Alone<A> as Parser>::try_parse_from(words).map(|alone| alone.arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("weave lab").chain(line.split_whitespace());
        Arguments::try_parse_from(words)
    }

    #[test]
    fn run_has_the_documented_defaults() {
        let Command::Run(run) = parse("run").unwrap().command else {
            panic!("another command");
        };

        let choice = run.shape.choice();
        assert_eq!((choice.hosts, choice.pods), (3, 2));
        assert_eq!(choice.topology, Topology::Full);
        assert_eq!(choice.range.to_string(), DEFAULT_RANGE);
        assert!(!run.keep && !run.report.json);
    }

    #[test]
    fn exec_takes_everything_after_the_target() {
        let Command::Exec(exec) = parse("exec 2/1 -- ls -l --all").unwrap().command else {
            panic!("another command");
        };

        assert_eq!(
            exec.target,
            Target {
                host: 2,
                pod: Some(1)
            }
        );
        assert_eq!(exec.command, ["ls", "-l", "--all"]);
    }

    #[test]
    fn targets_are_hosts_and_pods() {
        assert_eq!("3".parse(), Ok(Target { host: 3, pod: None }));
        assert_eq!(
            "host-3/2".parse(),
            Ok(Target {
                host: 3,
                pod: Some(2)
            })
        );
        for nonsense in ["", "/", "a", "1/", "1/b", "-1", "1/2/3"] {
            assert!(nonsense.parse::<Target>().is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn a_wrong_flag_names_the_nearest_in_one_line() {
        let line = one_line(&parse("run --host 3").unwrap_err());

        assert_eq!(
            line,
            "unexpected argument '--host' found; a similar argument exists: '--hosts'"
        );
    }

    #[test]
    fn wrong_values_are_one_line_too() {
        for words in [
            "run --hosts x",
            "run --topology ring",
            "run --ipalloc-range 10.0.0.0/33",
            "exec 1",
            "cut",
            "ping 1 2/x",
            "fly",
        ] {
            let line = one_line(&parse(words).unwrap_err());

            assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
        }
    }
}
