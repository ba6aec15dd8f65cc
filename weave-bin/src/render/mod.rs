//! `weave render`: the manifest of the Kubernetes add-on, from options instead of a web service.
//!
//! The objects, their names and labels are Weave Net's: `kubectl apply` over an old install changes
//! the same objects. Each variable stands on every container that reads it. The output is YAML and
//! the same for the same options.

mod manifest;
pub(crate) mod options;
mod yaml;

use std::process::ExitCode;

pub use manifest::{Form, manifest};
pub use options::{Options, OptionsError};

use crate::stdout;

/// Prints what `words` ask for.
pub fn run(words: &[String]) -> ExitCode {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        stdout::show_line(options::HELP);
        return ExitCode::SUCCESS;
    }
    match Options::read(words) {
        Ok(options) => {
            let document = manifest(&options);
            if options.json {
                stdout::show_line(format_args!("{document:#}"));
            } else {
                stdout::show(yaml::render(&document));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
