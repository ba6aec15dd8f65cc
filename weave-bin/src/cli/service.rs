//! `weave launch` and `weave stop`: the daemon of a host that has no service manager for it.
//!
//! `launch` starts `weave weaver` in the background with the defaults of a plain host, and returns when it
//! answers; what it is given comes after these, so that it counts. A daemon that ends at once is told with
//! the last lines of its log.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use super::run::Outcome;
use super::{Command, Misuse, reset};
use crate::args::daemon::Settings;
use crate::http::client::Client;

/// What `weave launch` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Where the daemon logs to.
    log: PathBuf,
    /// The words for the daemon.
    words: Vec<String>,
}

pub(super) fn parse_launch(arguments: &[String]) -> Result<Command, Misuse> {
    let mut log = PathBuf::from(LOG);
    let mut words = DEFAULTS.map(str::to_owned).to_vec();
    for word in arguments {
        match word.strip_prefix("--log-file=") {
            Some(path) => log = path.into(),
            None => words.push(word.clone()),
        }
    }
    match Settings::read(&words, |name| std::env::var(name).ok()) {
        Ok(_) => Ok(Command::Launch(Launch { log, words })),
        Err(error) => Err(Misuse::Removed(error.to_string())),
    }
}

pub(super) fn parse_stop(arguments: &[String]) -> Result<Command, Misuse> {
    let mut prefixes = Vec::new();
    for word in arguments {
        let prefix = word.strip_prefix("--db-prefix=").ok_or(Misuse::Usage)?;
        prefixes.push(prefix.into());
    }
    Ok(Command::Stop(prefixes))
}

/// Starts the daemon and waits until it answers.
pub(super) async fn launch(client: &Client, launch: &Launch) -> Outcome {
    if client
        .clone()
        .with_limit(ANSWER)
        .get("/status")
        .await
        .is_ok()
    {
        return Outcome::failure(1, "weave is already running".to_owned());
    }
    let settings = match Settings::read(&launch.words, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(error) => return Outcome::failure(error.exit_code(), error.to_string()),
    };
    let (child, from) = match start(launch) {
        Ok(started) => started,
        Err(error) => {
            let text = format!(
                "cannot start the daemon with log {}: {error}",
                launch.log.display()
            );
            return Outcome::failure(1, text);
        }
    };
    let control = settings
        .http
        .as_ref()
        .map(|address| Client::new(&address.to_string()));
    wait(child, control, launch, from).await
}

async fn wait(mut child: Child, control: Option<Client>, launch: &Launch, from: u64) -> Outcome {
    let started = Instant::now();
    let log = launch.log.display();
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                let said = said(launch, from);
                return Outcome::failure(1, format!("the daemon has ended ({status}):\n{said}"));
            }
            Err(error) => return Outcome::failure(1, format!("the daemon is lost: {error}")),
        }
        let answers = match &control {
            Some(client) => {
                let client = client.clone().with_limit(ANSWER);
                client.get("/status").await.is_ok()
            }
            // Nobody to ask: one that has not ended by then runs.
            None => started.elapsed() > QUIET,
        };
        if answers {
            return Outcome::success(String::new());
        }
        if started.elapsed() > PATIENCE {
            let text = format!("the daemon does not answer yet; it logs to {log}");
            return Outcome::failure(1, text);
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// The daemon, and how long its log was before.
fn start(launch: &Launch) -> std::io::Result<(Child, u64)> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&launch.log)?;
    let from = log.metadata()?.len();
    let child = Process::new("/proc/self/exe")
        .arg("weaver")
        .args(&launch.words)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Signals of the terminal are not for it.
        .process_group(0)
        .spawn()?;
    Ok((child, from))
}

/// What the daemon has logged: the last lines.
fn said(launch: &Launch, from: u64) -> String {
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(&launch.log) {
        let _ = file.seek(SeekFrom::Start(from));
        let _ = file.take(LOG_LIMIT).read_to_string(&mut text);
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// Ends the daemon; pods and forwarding stay.
pub(super) async fn stop(prefixes: &[PathBuf]) -> Outcome {
    let usual = reset::PREFIXES.map(PathBuf::from);
    let prefixes = if prefixes.is_empty() {
        &usual[..]
    } else {
        prefixes
    };
    for prefix in prefixes {
        if let Err(error) = reset::end_daemon(prefix).await {
            return Outcome::failure(1, error);
        }
    }
    Outcome::success(String::new())
}

/// What a plain host has unless told otherwise: Weave Net's range, and state where hosts keep it.
const DEFAULTS: [&str; 2] = [
    "--db-prefix=/var/lib/weave/weave",
    "--ipalloc-range=10.32.0.0/12",
];
const LOG: &str = "/var/log/weave.log";
const LOG_LIMIT: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_counts_before_the_defaults() {
        let words = ["--log-file=/x", "--ipalloc-range=10.0.0.0/16", "host-1"].map(str::to_owned);

        let Ok(Command::Launch(launch)) = parse_launch(&words) else {
            panic!("a launch")
        };

        assert_eq!(launch.log, PathBuf::from("/x"));
        let settings = Settings::read(&launch.words, |_| None).unwrap();
        assert_eq!(settings.db_prefix, PathBuf::from("/var/lib/weave/weave"));
        assert_eq!(settings.peers, ["host-1"]);
        assert!(
            launch
                .words
                .contains(&"--ipalloc-range=10.0.0.0/16".to_owned())
        );
        assert!(parse_launch(&["--bogus".to_owned()]).is_err());
    }

    /// The unit starts what `launch` does, with a place for more.
    #[test]
    fn the_unit_starts_the_daemon_with_the_same_defaults() {
        let unit = include_str!("../../deploy/weave.service");
        let line = |key: &str| {
            let mut found = unit.lines().filter_map(|line| line.strip_prefix(key));
            let first = found.next().unwrap_or_else(|| panic!("{key}"));
            assert_eq!(found.next(), None, "{key} twice");
            first
        };

        let words: Vec<String> = line("ExecStart=").split(' ').map(str::to_owned).collect();

        assert_eq!(words[..2], ["/usr/local/bin/weave", "weaver"]);
        assert_eq!(words[2..4], DEFAULTS);
        assert_eq!(words[4..], ["$WEAVE_FLAGS", "$WEAVE_PEERS"]);
        assert_eq!(line("EnvironmentFile="), "-/etc/default/weave");
        assert_eq!(line("KillMode="), "process", "what it made stays");
        for line in unit
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let is_section = line.starts_with('[') && line.ends_with(']');
            assert!(is_section || line.contains('='), "{line}");
        }
    }
}
