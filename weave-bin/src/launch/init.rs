//! The init container: what the host must have before the daemon can serve pods.
//!
//! Weave Net also proves here that iptables can match an ipset. Our rules are `nf_tables`' own, so
//! there is nothing of the kind to prove.

use std::path::Path;
use std::process::ExitCode;

use tracing::{info, warn};

use super::environment::Environment;
use super::{install, modules, read_environment};
use crate::logging;

/// Why the init container fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The plugins cannot be installed.
    #[error(transparent)]
    Install(#[from] install::InstallError),
}

/// Plays the init container.
pub fn run() -> ExitCode {
    let env = match read_environment() {
        Ok(env) => env,
        Err(code) => return code,
    };
    logging::start(level(&env), logging::Format::asked());
    match prepare(&env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::fatal(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Prepares the host.
///
/// # Errors
/// See [`InitError`]; what the kernel lacks is a warning.
pub fn prepare(env: &Environment) -> Result<(), InitError> {
    if env.expect_npc
        && let Err(reason) = modules::load(MODULE)
    {
        warn!("cannot load module {MODULE} ({reason}); ignore this if it is built in");
    }
    // Runtimes mount /proc/sys read-only where a container is not privileged; ours mounts the
    // host's beside it.
    let has_ipv6 = env.ranges.iter().any(|range| range.addr().is_ipv6());
    for calls in [Some(BRIDGE_CALLS), has_ipv6.then_some(BRIDGE_CALLS6)] {
        let Some(calls) = calls else { continue };
        let mounted = Path::new(&env.host_root).join(calls);
        let own = Path::new("/").join(calls);
        bridge_calls(if mounted.exists() { &mounted } else { &own });
    }
    let installed = install::install(env)?;
    info!("CNI plugins are in {}", installed.display());
    Ok(())
}

/// Lets bridged packets pass the rules of the host.
fn bridge_calls(path: &Path) {
    match std::fs::read_to_string(path) {
        Err(_) => warn!(
            "{} is not there: network policies and Services may not work on this node",
            path.display()
        ),
        Ok(value) if value.trim() == "1" => {}
        Ok(_) => {
            if let Err(error) = std::fs::write(path, "1\n") {
                warn!("cannot write 1 to {}: {error}", path.display());
            }
        }
    }
}

/// How much is logged before the daemon's flags are read.
pub(super) fn level(env: &Environment) -> logging::Level {
    let name = if env.debug { "debug" } else { "info" };
    name.parse().expect("invariant: both are names of levels")
}

const MODULE: &str = "br_netfilter";
const BRIDGE_CALLS: &str = "proc/sys/net/bridge/bridge-nf-call-iptables";
/// The same for IPv6 packets.
const BRIDGE_CALLS6: &str = "proc/sys/net/bridge/bridge-nf-call-ip6tables";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn bridged_packets_are_let_through_the_rules() {
        let scratch = Scratch::new();
        let path = scratch.path("bridge-nf-call-iptables");
        bridge_calls(&path);
        assert!(!path.exists());

        std::fs::write(&path, "0\n").unwrap();
        bridge_calls(&path);

        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    }
}
