//! The operator's commands: each asks the daemon over HTTP and prints what it says.
//!
//! Words are parsed into a command first, so that nothing is sent for a command line that
//! makes no sense. Exit statuses are Weave Net's: 0 done, 1 refused, 4 not there, 7 no daemon.

mod attach;
mod bridges;
mod connectivity;
mod echo;
mod expose;
mod names;
mod ps;
mod reset;
mod run;
mod service;
mod top;
pub(crate) mod usage;

use std::process::ExitCode;

use crate::doctor;
use crate::http::client::Client;

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the usage text; it was asked for.
    Help,
    /// The version.
    Version,
    /// A status page, or its part of the report as JSON.
    Status { page: Page, json: bool },
    /// The report as JSON.
    Report,
    /// The status page for a browser.
    Html,
    /// The report rendered by a template.
    Template(String),
    /// Connect to more peers, or to these only.
    Connect { peers: Vec<String>, replace: bool },
    /// Forget given peers.
    Forget(Vec<String>),
    /// Take over the addresses of dead peers.
    RemovePeers(Vec<String>),
    /// Wait until addresses can be allocated.
    Prime,
    /// Put addresses on the bridge.
    Expose {
        addresses: Vec<expose::Wanted>,
        masquerade: bool,
        name: Option<String>,
    },
    /// Take addresses off the bridge.
    Hide(Vec<expose::Wanted>),
    /// Register names of a container or of addresses.
    DnsAdd(names::Named),
    /// Delete names of a container or of addresses.
    DnsRemove(names::Named),
    /// Ask the name server for the addresses of a name.
    DnsLookup { name: String, json: bool },
    /// Print options that let a container ask the name server.
    DnsArgs { search: bool },
    /// Remove every trace.
    Reset(reset::Reset),
    /// What is wrong on this host.
    Doctor(doctor::Doctor),
    /// About addresses.
    Ipam(doctor::Ipam),
    /// Who has which addresses.
    Ps(ps::Asked),
    /// Try the ways to peers, pods and Services.
    Connectivity { json: bool },
    /// Who is connected by what, again and again.
    Top(top::Options),
    /// Join a namespace to the network.
    Attach {
        wanted: Vec<expose::Wanted>,
        target: attach::Target,
        multicast: bool,
    },
    /// Take addresses from a namespace, or the namespace off the network.
    Detach {
        wanted: Vec<expose::Wanted>,
        target: attach::Target,
    },
    /// Install the CNI plugins.
    Setup,
    /// What the bridge is made of.
    BridgeType,
    /// Join another bridge to ours.
    AttachBridge(String),
    /// Start the daemon in the background.
    Launch(service::Launch),
    /// Print what completes commands in a shell.
    Completion(&'static str),
    /// End the daemon.
    Stop(Vec<std::path::PathBuf>),
}

/// A status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/status`.
    Overview,
    /// `/status/targets`.
    Targets,
    /// `/status/connections`.
    Connections,
    /// `/status/peers`.
    Peers,
    /// `/status/dns`.
    Dns,
    /// `/status/ipam`.
    Ipam,
}

/// Why words are no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// One line before the usage text.
    Said(String),
    /// The usage text alone.
    Usage,
    /// A command removed long ago: these lines, no usage text.
    Removed(String),
}

/// Runs the command that `words` name.
pub fn run(words: &[String]) -> ExitCode {
    let command = match parse(words) {
        Ok(command) => command,
        Err(misuse) => {
            match misuse {
                Misuse::Said(line) => eprintln!("{line}\n{}", usage::text()),
                Misuse::Usage => eprintln!("{}", usage::text()),
                Misuse::Removed(text) => eprintln!("{text}"),
            }
            return ExitCode::from(1);
        }
    };
    if command == Command::Help {
        eprintln!("{}", usage::text());
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run::run(command, &Client::from_env()));
    ExitCode::from(outcome.print())
}

fn parse(words: &[String]) -> Result<Command, Misuse> {
    let Some((name, arguments)) = words.split_first() else {
        return Err(Misuse::Usage);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h")
        || arguments.first().is_some_and(|word| word == "--help")
    {
        return Ok(Command::Help);
    }
    match name.as_str() {
        "version" | "--version" => none(arguments).map(|()| Command::Version),
        "status" => status(arguments),
        "report" => report(arguments),
        "connect" => connect(arguments),
        "forget" => some(arguments).map(Command::Forget),
        "rmpeer" => some(arguments).map(Command::RemovePeers),
        "prime" => none(arguments).map(|()| Command::Prime),
        "expose" => expose::parse_expose(arguments),
        "hide" => expose::parse_hide(arguments),
        "dns-add" => names::parse(arguments).map(Command::DnsAdd),
        "dns-remove" => names::parse(arguments).map(Command::DnsRemove),
        "dns-args" => Ok(Command::DnsArgs {
            // A domain that is chosen already stays.
            search: !arguments
                .iter()
                .any(|word| word.starts_with("--dns-search")),
        }),
        "dns-lookup" => names::parse_lookup(arguments),
        "reset" => reset::parse(arguments),
        "doctor" => doctor::parse(arguments)
            .map(Command::Doctor)
            .ok_or(Misuse::Usage),
        "ipam" => doctor::parse_ipam(arguments)
            .map(Command::Ipam)
            .ok_or(Misuse::Usage),
        "ps" => Ok(Command::Ps(ps::parse(arguments))),
        "connectivity" => connectivity::parse(arguments),
        "top" => top::parse(arguments),
        "attach" => attach::parse_attach(arguments),
        "detach" => attach::parse_detach(arguments),
        "setup" | "setup-cni" => none(arguments).map(|()| Command::Setup),
        "completion" => completion(arguments),
        "attach-bridge" => bridges::parse_attach(arguments),
        "bridge-type" => none(arguments).map(|()| Command::BridgeType),
        "launch" => service::parse_launch(arguments),
        "stop" => service::parse_stop(arguments),
        docker if DOCKER.contains(&docker) => Err(Misuse::Removed(format!(
            "The 'weave {docker}' command is for a Docker client behind Weave Net's proxy.\n\
             There is none here: use 'weave attach' or the CNI plugin."
        ))),
        old if REMOVED.contains(&old) => Err(Misuse::Removed(format!(
            "The 'weave {old}' command was removed in version 2.0.\n\
             Containers join the network through the CNI plugin."
        ))),
        _ => Err(Misuse::Said(format!("Unknown weave command '{name}'"))),
    }
}

fn status(arguments: &[String]) -> Result<Command, Misuse> {
    let json = arguments.iter().any(|word| word == "--json");
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "--json")
        .collect();
    let page = match words.as_slice() {
        [] => Page::Overview,
        ["targets"] => Page::Targets,
        ["connections"] => Page::Connections,
        ["peers"] => Page::Peers,
        ["dns"] => Page::Dns,
        ["ipam"] => Page::Ipam,
        [other, ..] => {
            return Err(Misuse::Said(format!(
                "Invalid 'weave status' sub-command: {other}"
            )));
        }
    };
    Ok(Command::Status { page, json })
}

fn completion(arguments: &[String]) -> Result<Command, Misuse> {
    let text = match arguments {
        [shell] if shell == "bash" => include_str!("../../deploy/completion/weave.bash"),
        [shell] if shell == "zsh" => include_str!("../../deploy/completion/_weave"),
        [shell] if shell == "fish" => include_str!("../../deploy/completion/weave.fish"),
        _ => return Err(Misuse::Usage),
    };
    Ok(Command::Completion(text))
}

fn report(arguments: &[String]) -> Result<Command, Misuse> {
    match arguments {
        [] => Ok(Command::Report),
        [flag] if flag == "--html" => Ok(Command::Html),
        [flag, template] if flag == "-f" => Ok(Command::Template(template.clone())),
        _ => Err(Misuse::Usage),
    }
}

fn connect(arguments: &[String]) -> Result<Command, Misuse> {
    let (replace, peers) = match arguments.split_first() {
        Some((word, rest)) if word == "--replace" => (true, rest),
        _ => (false, arguments),
    };
    Ok(Command::Connect {
        peers: some(peers)?,
        replace,
    })
}

fn none(arguments: &[String]) -> Result<(), Misuse> {
    if arguments.is_empty() {
        Ok(())
    } else {
        Err(Misuse::Usage)
    }
}

fn some(arguments: &[String]) -> Result<Vec<String>, Misuse> {
    if arguments.is_empty() || arguments.iter().any(|word| word.starts_with('-')) {
        return Err(Misuse::Usage);
    }
    Ok(arguments.to_vec())
}

const REMOVED: [&str; 9] = [
    "run",
    "start",
    "restart",
    "launch-plugin",
    "stop-plugin",
    "launch-proxy",
    "stop-proxy",
    "launch-router",
    "stop-router",
];

/// Commands that only make sense with Docker.
const DOCKER: [&str; 3] = ["config", "docker-bridge-ip", "env"];

#[cfg(test)]
mod tests;
