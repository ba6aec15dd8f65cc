//! The words after `weave npc`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use weave_npc::model::Transport;

use super::controller::settings::CONTROL;

/// What network policies mean, asked of ordinary manifests and without a cluster, and what the
/// controller of this node does about them.
#[derive(Debug, Parser)]
#[command(
    name = "weave npc",
    bin_name = "weave npc",
    disable_version_flag = true
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether a connection is allowed and what decides that; exit code 1 if it is denied.
    Decide(Decide),
    /// Print the nft ruleset that enforces the policies on a node.
    Render(Render),
    /// Print the connections that one set of manifests allows and another denies.
    Diff(Diff),
    /// Print how the controller of this node is.
    Status(Status),
    /// Say whether the controller of this node allows a connection and why; exit code 1 if not.
    Explain(Explain),
    /// Print which connections were blocked on this node lately, and by what.
    Blocked(Blocked),
    /// Print how often each rule of a policy decided about a connection of this node.
    Rules(Status),
}

/// Where the controller answers.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Its control address: IP:PORT or the path of a socket.
    #[arg(long, value_name = "ADDR", env = "WEAVE_NPC_ADDR", default_value = CONTROL)]
    pub(super) addr: String,
}

/// `weave npc status` and `weave npc rules`.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) place: Place,
    /// Print JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// `weave npc explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The client: NAMESPACE/POD or an IP address.
    #[arg(value_name = "FROM")]
    pub(super) from: String,
    /// The server: NAMESPACE/POD or an IP address.
    #[arg(value_name = "TO")]
    pub(super) to: String,
    /// The port and protocol, as 80/TCP; or icmp.
    #[arg(value_name = "PORT")]
    pub(super) port: Transport,
    #[command(flatten)]
    pub(super) place: Place,
    /// Print a list of records instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// `weave npc blocked`.
#[derive(Debug, Args)]
pub(super) struct Blocked {
    /// How far to look back.
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    pub(super) minutes: u32,
    #[command(flatten)]
    pub(super) place: Place,
    /// Print a list of records instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// Manifests of one world.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Manifests (JSON or YAML) with Namespaces, Nodes, Pods, NetworkPolicies and
    /// ClusterNetworkPolicies; a directory stands for its files, - for standard input.
    #[arg(short = 'f', long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// The answers to what Kubernetes leaves open.
#[derive(Debug, Default, Args)]
pub(super) struct Choices {
    /// Hold pods to their egress rules also towards their own node.
    #[arg(long)]
    pub(super) filter_own_node: bool,
}

impl Choices {
    /// The same for the library.
    pub(super) fn options(&self) -> weave_npc::verdict::Options {
        let mut options = weave_npc::verdict::Options::default();
        options.filter_own_node = self.filter_own_node;
        options
    }
}

/// `weave npc decide`.
#[derive(Debug, Args)]
pub(super) struct Decide {
    #[command(flatten)]
    pub(super) files: Files,
    /// The client: NAMESPACE/POD or an IP address.
    #[arg(long, value_name = "END", required_unless_present = "all")]
    pub(super) from: Option<String>,
    /// The server: NAMESPACE/POD or an IP address.
    #[arg(long, value_name = "END", required_unless_present = "all")]
    pub(super) to: Option<String>,
    /// The port and protocol, as 80/TCP; or icmp.
    #[arg(
        long,
        value_name = "PORT",
        required_unless_present = "all",
        conflicts_with = "ports"
    )]
    pub(super) port: Option<Transport>,
    /// Every pod to every pod; with --from or --to only from or to that one.
    #[arg(long)]
    pub(super) all: bool,
    /// The ports of the table [default: those that policies and pods name].
    #[arg(long, value_name = "PORTS", value_delimiter = ',', requires = "all")]
    pub(super) ports: Vec<Transport>,
    /// Further ends of the table: IP addresses.
    #[arg(long, value_name = "IP", value_delimiter = ',', requires = "all")]
    pub(super) with: Vec<std::net::IpAddr>,
    #[command(flatten)]
    pub(super) choices: Choices,
    /// Print a list of records instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// `weave npc render`.
#[derive(Debug, Args)]
pub(super) struct Render {
    #[command(flatten)]
    pub(super) files: Files,
    /// The node whose rules are printed.
    #[arg(long, value_name = "NAME")]
    pub(super) node: String,
    #[command(flatten)]
    pub(super) choices: Choices,
    /// Print an object with the ruleset as text instead of the text alone.
    #[arg(long)]
    pub(super) json: bool,
}

/// `weave npc diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The manifests before and after; each a file or a directory.
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// The ports that are compared [default: those that policies and pods name].
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    pub(super) ports: Vec<Transport>,
    /// Further ends besides pods: IP addresses.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub(super) with: Vec<std::net::IpAddr>,
    #[command(flatten)]
    pub(super) choices: Choices,
    /// Print a list of records instead of text.
    #[arg(long)]
    pub(super) json: bool,
}
