//! `weave npc`: what policies mean, asked of manifests and without a cluster; and the controller.
//!
//! ```text
//! args → input (files → world) ─┬→ decide   one flow with its reason, or the whole table
//!                               ├→ render   the nft ruleset of a node
//!                               └→ diff     the flows that change
//! args → ask ── HTTP ── controller          status, explain, blocked, rules
//! ```
//!
//! The answers come from `weave-npc`; this module reads files and prints.

pub(crate) mod args;
mod ask;
pub(crate) mod controller;
mod decide;
mod diff;
mod error;
mod input;
mod render;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::stdout;
use args::{Arguments, Command};
use error::Error;

/// What a command prints, and how it ends.
#[derive(Debug)]
struct Outcome {
    text: String,
    code: ExitCode,
}

impl Outcome {
    /// A text, and success.
    fn shown(text: String) -> Self {
        Self {
            text,
            code: ExitCode::SUCCESS,
        }
    }
}

/// Runs `weave npc` with `words`.
pub fn run(words: Vec<String>) -> ExitCode {
    let words = std::iter::once("weave npc".to_owned()).chain(words);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    match carry_out(&arguments.command) {
        Ok(outcome) => {
            stdout::show(outcome.text);
            outcome.code
        }
        Err(error) => {
            eprintln!("weave npc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the controller of this node answers: `WEAVE_NPC_ADDR`, else the default.
pub fn control_address() -> String {
    let given = std::env::var("WEAVE_NPC_ADDR").ok();
    given
        .filter(|address| !address.is_empty())
        .unwrap_or_else(|| controller::settings::CONTROL.to_owned())
}

/// Runs the controller with `words`.
pub fn run_controller(words: &[String]) -> ExitCode {
    controller::run(words)
}

fn carry_out(command: &Command) -> Result<Outcome, Error> {
    match command {
        Command::Decide(decide) => decide::run(decide),
        Command::Render(render) => render::run(render),
        Command::Diff(diff) => diff::run(diff),
        Command::Status(status) => ask::status(status),
        Command::Explain(explain) => ask::explain(explain),
        Command::Blocked(blocked) => ask::blocked(blocked),
        Command::Rules(rules) => ask::rules(rules),
    }
}

/// Prints the help that was asked for, or what is wrong with the words.
fn explain(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::DisplayHelp {
        stdout::show(error);
        return ExitCode::SUCCESS;
    }
    eprint!("{error}");
    ExitCode::from(2)
}
