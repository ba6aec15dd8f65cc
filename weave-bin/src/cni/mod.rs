//! The CNI plugins `weave-net` and `weave-ipam`.
//!
//! A container runtime starts them on the host for every pod. They keep no state: addresses come
//! from the daemon over its control interface, interfaces are made in the kernel. Whatever
//! happens, exactly one JSON object (or nothing, for a successful DEL) goes to standard output
//! and log lines go to standard error.

mod call;
mod check;
mod config;
mod daemon;
mod delegate;
mod edge;
mod error;
mod ipam;
mod kernel;
mod lease;
mod net;
mod policy;
mod result;
#[cfg(test)]
mod tests;
mod upkeep;
mod version;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize as _;
use serde_json::{Value, json};

use call::{Call, Command};
use config::Network;
use daemon::{Daemon, Released};
use edge::Edge;
pub use error::{Code, Error};
use version::Version;

use crate::http::client::Client;
use crate::logging;
use crate::pods::spool;

/// Reads a network configuration as the plugins do, to its last key.
///
/// # Errors
/// What the plugins would answer: the key and what was found there.
pub fn check_config(input: &[u8]) -> Result<(), Error> {
    let network = Network::parse(input)?;
    network.settings()?;
    network.attachments().map(drop)
}

/// Which of the two plugins is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// `weave-net`, which connects pods.
    Net,
    /// `weave-ipam`, which only allocates.
    Ipam,
}

impl Plugin {
    /// What it is called in configurations.
    fn name(self) -> &'static str {
        match self {
            Self::Net => "weave-net",
            Self::Ipam => "weave-ipam",
        }
    }
}

/// Serves the one call that the environment and standard input describe.
pub fn run(plugin: Plugin) -> ExitCode {
    let reply = match Call::parse(|name| std::env::var(name).ok()) {
        Ok(None) => Reply::about(plugin),
        Ok(Some(call)) => serve(plugin, &call),
        Err(error) => Reply::failure(Version::newest(), &error),
    };
    reply.print()
}

fn serve(plugin: Plugin, call: &Call) -> Reply {
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().take(INPUT_LIMIT).read_to_end(&mut input) {
        let error = Error::new(Code::Io, format!("cannot read the configuration: {error}"));
        return Reply::failure(Version::newest(), &error);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::new(Code::Io, format!("cannot start the runtime: {error}"));
            return Reply::failure(Network::version_hint(&input), &error);
        }
    };
    let spool = std::env::var_os(SPOOL_VARIABLE).filter(|path| !path.is_empty());
    let world = World {
        edge: &kernel::Kernel,
        client: Client::from_env(),
        spool: spool.unwrap_or_else(|| spool::DEFAULT.into()).into(),
    };
    runtime.block_on(answer(plugin, call, &input, world))
}

/// What is around a call.
struct World<'a, E> {
    edge: &'a E,
    client: Client,
    /// Where releases wait for the daemon.
    spool: PathBuf,
}

/// Everything but the process around it: one call, one reply.
async fn answer<E: Edge>(plugin: Plugin, call: &Call, input: &[u8], world: World<'_, E>) -> Reply {
    let hint = Network::version_hint(input);
    let limit = match call.command {
        Command::Version => return Reply::success(Some(versions(hint))),
        Command::Add => ADD_LIMIT,
        Command::Del | Command::Check | Command::Status => DEL_LIMIT,
        Command::Gc => GC_LIMIT,
    };
    let network = match Network::parse(input) {
        Ok(network) => network,
        Err(error) => return Reply::failure(hint, &error),
    };
    let mut scene = Scene {
        plugin,
        call,
        input,
        network: &network,
        daemon: Daemon::new(world.client, limit),
        edge: world.edge,
        spool: world.spool,
        log: Vec::new(),
    };
    let outcome = match (call.command, plugin) {
        (Command::Add, Plugin::Net) => net::add(&mut scene).await.map(Some),
        (Command::Add, Plugin::Ipam) => ipam::add(&scene).await.map(Some),
        (Command::Check, Plugin::Net) => check::net(&scene).await.map(|()| None),
        (Command::Check, Plugin::Ipam) => check::ipam(&scene).await.map(|()| None),
        (Command::Status, _) => upkeep::status(&scene, plugin).await.map(|()| None),
        (Command::Gc, _) => upkeep::collect(&mut scene, plugin).await.map(|()| None),
        (_, Plugin::Net) => net::del(&mut scene).await.map(|()| None),
        (_, Plugin::Ipam) => ipam::del(&mut scene).await.map(|()| None),
    };
    let mut reply = match outcome {
        Ok(attachment) => Reply::success(attachment.map(|a| a.to_json(network.version))),
        Err(error) => Reply::failure(network.version, &error),
    };
    reply.log = scene.log;
    reply
}

fn versions(asked: Version) -> Value {
    let supported = Version::ALL.map(Version::as_str);
    json!({"cniVersion": asked.as_str(), "supportedVersions": supported})
}

/// What a command works with.
struct Scene<'a, E> {
    plugin: Plugin,
    call: &'a Call,
    /// Standard input, for a plugin we delegate to.
    input: &'a [u8],
    network: &'a Network,
    daemon: Daemon,
    edge: &'a E,
    /// Where releases wait for the daemon.
    spool: PathBuf,
    log: Vec<String>,
}

impl<E> Scene<'_, E> {
    /// Frees what the container has: at once, or when the daemon is there again.
    async fn release(&mut self) -> Result<Released, Error> {
        let id = &self.call.container_id;
        let error = match self.daemon.release(id).await {
            Err(error) if error.code() == Code::TryAgain => error,
            answered => return answered,
        };
        match spool::put(&self.spool, id) {
            Ok(()) => {
                self.log(format!("the address is released later: {error}"));
                Ok(Released::Freed)
            }
            Err(reason) => {
                let spool = self.spool.display();
                self.log(format!("cannot note it in {spool} either: {reason}"));
                Err(error)
            }
        }
    }

    /// Takes back a release that waits for the daemon.
    fn withdraw(&self, id: &str) -> Result<(), Error> {
        let withdrawn = spool::withdraw(&self.spool, id);
        withdrawn.map(drop).map_err(|error| {
            let path = self.spool.join(id);
            Error::new(
                Code::Io,
                format!("cannot remove {}: {error}", path.display()),
            )
        })
    }

    fn log(&mut self, line: String) {
        self.log.push(line);
    }
}

/// What the process leaves behind.
#[derive(Debug, Clone, PartialEq)]
struct Reply {
    stdout: Option<Value>,
    log: Vec<String>,
    failed: bool,
}

impl Reply {
    fn success(stdout: Option<Value>) -> Self {
        Self {
            stdout,
            log: Vec::new(),
            failed: false,
        }
    }

    fn failure(version: Version, error: &Error) -> Self {
        Self {
            stdout: Some(error.to_json(version.as_str())),
            log: Vec::new(),
            failed: true,
        }
    }

    /// For a person who starts a plugin by hand.
    fn about(plugin: Plugin) -> Self {
        let name = plugin.name();
        let versions = Version::ALL.map(Version::as_str).join(", ");
        let log = vec![
            format!(
                "{name} is a CNI plugin of Weave {}",
                env!("CARGO_PKG_VERSION")
            ),
            format!("CNI protocol versions supported: {versions}"),
        ];
        Self {
            stdout: None,
            log,
            failed: false,
        }
    }

    fn print(&self) -> ExitCode {
        for line in &self.log {
            logging::note("weave-cni", line);
        }
        if let Some(value) = &self.stdout {
            let mut text = Vec::new();
            let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
            let written = value
                .serialize(&mut serializer)
                .map_err(std::io::Error::other)
                .and_then(|()| {
                    text.push(b'\n');
                    std::io::stdout().write_all(&text)
                });
            if let Err(error) = written {
                logging::note("weave-cni", &format!("cannot write the result: {error}"));
                return ExitCode::FAILURE;
            }
        }
        if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Below the time a container runtime waits for a plugin.
const ADD_LIMIT: Duration = Duration::from_secs(25);
/// A daemon that does not answer in this time is treated as down.
const DEL_LIMIT: Duration = Duration::from_secs(3);
/// Every address that is freed is written first.
const GC_LIMIT: Duration = Duration::from_secs(25);
/// Names the directory where releases wait, for hosts that keep the daemon's state elsewhere.
const SPOOL_VARIABLE: &str = "WEAVE_CNI_PENDING_DIR";
/// A configuration with its previous result is a few kilobytes.
const INPUT_LIMIT: u64 = 4 << 20;
