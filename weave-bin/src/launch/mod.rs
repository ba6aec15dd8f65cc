//! What ran as shell scripts: the start of the containers and the small programs they called.
//!
//! The paths of Weave Net's images answer here, so its manifests and people's scripts go on to
//! work. The program is process 1 of its container: it takes SIGTERM from the first moment on and
//! ends at once, leaving bridge, pods and forwarding as they are.

pub mod environment;
pub mod init;
pub mod install;
pub mod memory;
mod modules;
pub mod npc;
#[cfg(feature = "kube")]
pub mod signals;
#[cfg(feature = "kube")]
pub mod start;
pub mod utility;
pub mod words;

use std::process::ExitCode;

use environment::Environment;

use crate::logging;

/// The environment of this process; when a variable makes no sense, all such are logged.
fn read_environment() -> Result<Environment, ExitCode> {
    Environment::read(|name| std::env::var(name).ok()).map_err(|wrong| {
        for one in wrong {
            logging::fatal(&format!("environment variable {one}"));
        }
        ExitCode::FAILURE
    })
}

/// A runtime on this thread.
fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            logging::fatal(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        })
}
