//! The words of commands about a lab that is up.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::{Place, Target};
use crate::lab::plan::TUNNEL_PORT;

/// `weave lab exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) place: Place,
    /// A host (2) or a pod (2/1).
    #[arg(value_name = "HOST[/POD]")]
    pub(crate) target: Target,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// `weave lab cut`.
#[derive(Debug, Args)]
pub(crate) struct Cut {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The hosts of one side.
    #[arg(required = true, value_name = "HOST")]
    pub(crate) hosts: Vec<usize>,
}

/// A command about one host.
#[derive(Debug, Args)]
pub(crate) struct OneHost {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The host's number.
    #[arg(value_name = "HOST")]
    pub(crate) host: usize,
}

/// A command about one pod.
#[derive(Debug, Args)]
pub(crate) struct OnePod {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The pod, as 2/1.
    #[arg(value_name = "HOST/POD")]
    pub(crate) target: Target,
}

/// `weave lab ping`.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Where requests come from: a host (2) or a pod (2/1).
    #[arg(value_name = "FROM")]
    pub(crate) from: Target,
    /// Where they go: a pod, or a host's bridge.
    #[arg(value_name = "TO")]
    pub(crate) to: Target,
    /// Number of requests.
    #[arg(long, default_value_t = 1000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) count: u32,
    /// Milliseconds between requests.
    #[arg(long, default_value_t = 1, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) interval: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `weave lab launch`.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Path of the network namespace.
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: PathBuf,
    /// End when the process that launched this ends.
    #[arg(long)]
    pub(crate) die_with_parent: bool,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// `weave lab block` and `weave lab unblock`.
#[derive(Debug, Args)]
pub(crate) struct Blocking {
    #[command(flatten)]
    pub(crate) place: Place,
    /// One host.
    #[arg(value_name = "HOST")]
    pub(crate) a: usize,
    /// The other.
    #[arg(value_name = "HOST")]
    pub(crate) b: usize,
    /// The UDP port: that of the fast overlay, or 6783 for sleeve.
    #[arg(long, default_value_t = TUNNEL_PORT, value_name = "PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
}

/// `weave lab stream`.
#[derive(Debug, Args)]
pub(crate) struct Stream {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Who sends: a host (2) or a pod (2/1).
    #[arg(value_name = "FROM")]
    pub(crate) from: Target,
    /// Who receives.
    #[arg(value_name = "TO")]
    pub(crate) to: Target,
    /// Seconds to send for.
    #[arg(long, default_value_t = 5, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}
