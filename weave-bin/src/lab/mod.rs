//! The lab: a Weave network of several hosts on one Linux machine.
//!
//! Hosts and pods are network namespaces, cables are veth pairs; the daemon in each host and the
//! CNI plugin that connects each pod are this program itself, started as on a real host. The lab
//! measures what works, never how it is meant to: probes are packets.
//!
//! ```text
//! args → plan ─┬→ build (files, underlay, process, daemons, pods) → record
//!              └→ survey (probe, daemons) → outcome → render
//!                 teardown removes what any of them made
//! ```

pub(crate) mod args;
mod bench;
mod build;
#[cfg(feature = "kube")]
pub mod cluster;
mod commands;
mod daemons;
mod doctor;
mod error;
mod faults;
mod mesh;
mod nat;
mod once;
mod outcome;
mod ping;
mod plan;
mod pods;
mod policy;
pub(crate) mod probe;
mod process;
mod progress;
mod record;
mod render;
mod restart;
mod rotate;
mod stats;
mod steady;
mod stream;
mod survey;
mod teardown;
mod underlay;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::{Arguments, Command};
use error::Error;

use crate::stdout;

/// Runs `weave lab` with `words`. Call it before any thread is started.
pub fn run(words: Vec<String>) -> ExitCode {
    let words = std::iter::once("weave lab".to_owned()).chain(words);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    if let Command::Launch(launch) = &arguments.command {
        return process::launch(launch);
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("{}", Error::NeedsRoot);
        return ExitCode::FAILURE;
    }
    match commands::run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weave lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the help that was asked for, or one line about what is wrong.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp => {
            stdout::show(error);
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => eprint!("{error}"),
        _ => eprintln!("weave lab: {}; see weave lab --help", args::one_line(error)),
    }
    ExitCode::from(2)
}
