//! `kube-utils`: the cluster helper of Weave Net, for scripts that call it.
//!
//! Nothing of ours needs it; the flags, the output and the exit statuses are kept (Weave Net
//! Kubernetes add-on, "Command line"). One thing differs on purpose: a mode that prints a version
//! or a UID prints nothing more.

use std::process::ExitCode;
use std::time::Instant;

use super::api::{Api, ApiError};
use super::daemon::Daemon;
use super::membership;
use super::reclaim::Reclaimer;
use super::record::Me;
use super::round::{Round, RoundError};
use super::state::Board;
use super::task::{self, Setup};
use crate::args::flags::{Flag, FlagError, Parsed};
use crate::logging;
use crate::stdout;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Addresses,
    CheckPeerNew,
    Reclaim,
    ReclaimDaemon,
    SetNodeStatus,
    Version,
    Uid,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("there is no ConfigMap kube-system/weave-net yet")]
    NoRecord,
}

/// Does what `words` ask; 9 means that the peer is in the list.
pub fn run(words: &[String]) -> ExitCode {
    let parsed = match read(words) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let level = parsed.value("log-level").unwrap_or("info");
    match level.parse() {
        Ok(level) => logging::start(level, logging::Format::asked()),
        Err(_) => {
            logging::fatal(&format!("not a valid logrus Level: {level:?}"));
            return ExitCode::FAILURE;
        }
    }
    let name = |flag| parsed.value(flag).unwrap_or("unknown").to_owned();
    let me = Me {
        peer: name("peer-name"),
        node: name("node-name"),
        uid: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(answer(mode(&parsed), me)),
        Err(error) => {
            logging::fatal(&format!("[kube-peers] cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            logging::fatal(&format!("[kube-peers] {error}"));
            ExitCode::FAILURE
        }
    }
}

fn read(words: &[String]) -> Result<Parsed, FlagError> {
    Parsed::read(FLAGS, words)
}

fn mode(parsed: &Parsed) -> Mode {
    let modes = [
        ("print-k8s-version", Mode::Version),
        ("print-uid", Mode::Uid),
        ("check-peer-new", Mode::CheckPeerNew),
        ("reclaim", Mode::Reclaim),
        ("run-reclaim-daemon", Mode::ReclaimDaemon),
        ("set-node-status", Mode::SetNodeStatus),
    ];
    let asked = modes.iter().find(|(flag, _)| parsed.is_on(flag));
    asked.map_or(Mode::Addresses, |(_, mode)| *mode)
}

async fn answer(mode: Mode, me: Me) -> Result<u8, HelperError> {
    let api = Api::from_env().await?;
    match mode {
        Mode::Addresses => {
            let nodes = api.nodes().await?;
            for address in nodes.iter().filter_map(|node| node.address) {
                stdout::show_line(address);
            }
        }
        Mode::CheckPeerNew => {
            let nodes = api.nodes().await?;
            let (record, _) = membership::decide(&api, &me, &nodes, Some(&[])).await?;
            return Ok(if record.entry(&me.peer).is_some() {
                IN_LIST
            } else {
                0
            });
        }
        Mode::Reclaim => {
            let (board, _reader) = Board::new(&me.node);
            let round = Round {
                api: &api,
                daemon: &local(),
                board: &board,
                start: Instant::now(),
            };
            let nodes = api.nodes().await?;
            let left = round.run(&mut Reclaimer::new(me), nodes).await?;
            left.iter()
                .for_each(|one| tracing::info!("[kube] left alone: {one}"));
        }
        Mode::ReclaimDaemon => follow(api, me).await,
        Mode::SetNodeStatus => api.set_available(&me.node, &task::now()).await?,
        Mode::Version => stdout::show_line(api.version().await?),
        Mode::Uid => {
            let stored = api.record().await?.ok_or(HelperError::NoRecord)?;
            stdout::show_line(stored.uid());
        }
    }
    Ok(0)
}

/// Follows the Nodes until a signal.
async fn follow(api: Api, me: Me) {
    let (board, _reader) = Board::new(&me.node);
    let setup = Setup {
        api: Some(api),
        me,
        daemon: local(),
        board,
        extra: Vec::new(),
        follows: true,
        is_confirmed: true,
        expose: None,
    };
    let stop = crate::launch::signals::Stop::new();
    tokio::select! {
        () = task::follow_only(setup) => {}
        () = stop.received() => {}
    }
}

fn local() -> Daemon {
    Daemon::new(&std::env::var("WEAVE_HTTP_ADDR").unwrap_or_default())
}

const IN_LIST: u8 = 9;
const FLAGS: &[Flag] = &[
    Flag::switch("check-peer-new"),
    Flag::switch("reclaim"),
    Flag::switch("run-reclaim-daemon"),
    Flag::switch("set-node-status"),
    Flag::switch("print-k8s-version"),
    Flag::switch("print-uid"),
    Flag::value("peer-name"),
    Flag::value("node-name"),
    Flag::value("log-level"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_of_either_dash_name_the_mode() {
        for (line, expected) in [
            ("", Mode::Addresses),
            ("-check-peer-new -peer-name=a", Mode::CheckPeerNew),
            ("--reclaim -node-name n", Mode::Reclaim),
            ("-run-reclaim-daemon", Mode::ReclaimDaemon),
            ("-set-node-status", Mode::SetNodeStatus),
            ("-print-k8s-version", Mode::Version),
            ("-print-uid", Mode::Uid),
        ] {
            assert_eq!(mode(&read(&words(line)).unwrap()), expected, "{line}");
        }
        assert!(read(&words("-no-such-flag")).is_err());
    }
}
