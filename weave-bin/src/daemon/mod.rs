//! The daemon: from its command line to a running host, and to a clean stop.
//!
//! ```text
//!   settings ─▶ state file ─▶ peer name ─▶ bridge, fast path ─▶ mesh ─▶ tasks ─▶ HTTP
//! ```
//!
//! Whatever can be refused is refused before anything is changed. Stopping ends tasks and sockets
//! only: bridge, pods, programs in the kernel and the state file stay, and traffic goes on.

mod datapath;
mod error;
#[cfg(feature = "bpf")]
mod fast;
#[cfg(feature = "bpf")]
mod guard;
pub mod host;
mod ipv6;
mod local;
mod mtu;
mod names;
mod passwords;
pub mod peername;
pub mod peers;
mod prepare;
mod sleeve;
mod slow;
mod start;
mod untracked;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

pub use error::StartError;
pub use ipv6::LeftOut;
pub use passwords::PasswordError;
pub use start::{Daemon, Plumbing};

use crate::args::daemon::Settings;
use crate::{logging, stdout};

/// Runs the daemon until a signal ends it.
pub fn run(words: &[String]) -> ExitCode {
    let settings = match Settings::read(words, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => {
            logging::fatal(&error.to_string());
            return ExitCode::from(error.exit_code());
        }
    };
    if settings.print_version {
        stdout::show_line(format_args!("weave {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    logging::start(settings.log_level, settings.log_format);
    // One thread: the daemon moves no packets, and a second one would cost memory, not save time.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            logging::fatal(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(settings)) {
        Ok(()) => {
            logging::settle();
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::fatal(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The peer name a daemon with these settings has.
///
/// # Errors
/// The state file or the kernel cannot be read.
pub async fn peer_name(settings: &Settings) -> Result<weave_mesh::peer::PeerName, StartError> {
    prepare::peer_name(settings).await
}

/// Takes the IPv6 range out of the settings where this host cannot have such addresses.
///
/// # Errors
/// It is the only range.
pub fn leave_out_ipv6(settings: &mut Settings) -> Result<(), StartError> {
    ipv6::leave_out(settings, std::path::Path::new(ipv6::SYS))
}

/// Checks that no range of the settings is routed elsewhere on this host.
///
/// # Errors
/// It is; or the kernel does not answer.
pub async fn check_range(settings: &Settings) -> Result<(), StartError> {
    let ranges = settings.ranges();
    if ranges.is_empty() {
        return Ok(());
    }
    let host = host::Host::open(&settings.bridge)?;
    for range in ranges {
        host.check_range(range).await?;
    }
    Ok(())
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// It does not start, or a part of it has ended by itself.
pub async fn serve(settings: Settings) -> Result<(), StartError> {
    if settings.print_peer_name {
        stdout::show(prepare::peer_name(&settings).await?);
        return Ok(());
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let mut daemon = tokio::select! {
        started = Daemon::start(settings, Plumbing::Kernel) => started?,
        // What was begun stays, as when a running daemon ends.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        broken = daemon.broken() => Err(broken),
    };
    info!("Stopping; bridge, pods and forwarding stay in place");
    daemon.stop().await;
    outcome
}

/// The ident of the bridge's own addresses.
const EXPOSE: &str = "weave:expose";
