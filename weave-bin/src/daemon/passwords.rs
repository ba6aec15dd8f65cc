//! The passwords of the mesh: where they come from, and the task that follows their file.
//!
//! A file holds one password a line: the first is used, all are accepted. It is read again on
//! SIGHUP and every few seconds, so that a Kubernetes secret mounted as a file needs no signal. A
//! file that cannot be used changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_mesh::crypto::{Keyring, KeyringError, Password};
use weave_mesh::tokio::Mesh;

use crate::args::daemon::PasswordSource;

/// The passwords at the start.
///
/// # Errors
/// What is wrong with their file.
pub(super) fn read(source: &PasswordSource) -> Result<Keyring, PasswordError> {
    match source {
        PasswordSource::None => Ok(Keyring::default()),
        PasswordSource::Given(password) => Ok(Keyring::new([password.clone()])?),
        PasswordSource::File(path) => read_file(path),
    }
}

fn read_file(path: &Path) -> Result<Keyring, PasswordError> {
    let failed = |source| PasswordError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = zeroize::Zeroizing::new(std::fs::read(path).map_err(failed)?);
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let passwords = lines.filter(|line| !line.is_empty()).map(Password::new);
    let keyring = Keyring::new(passwords)?;
    if keyring.is_empty() {
        return Err(PasswordError::Empty(path.to_owned()));
    }
    Ok(keyring)
}

/// Follows the file of `source`, if it is one, until `stop`.
pub(super) async fn follow(
    source: PasswordSource,
    mut known: Keyring,
    mesh: Mesh,
    stop: CancellationToken,
) {
    let PasswordSource::File(path) = source else {
        return stop.cancelled().await;
    };
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|error| warn!("SIGHUP will end the daemon: {error}"))
        .ok();
    let mut trouble = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = received(hangup.as_mut()) => trouble = None,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let outcome = match read_file(&path) {
            Ok(keyring) if keyring == known => Ok(()),
            Ok(keyring) => {
                let count = keyring.len();
                let changed = mesh.set_keyring(keyring.clone()).await;
                changed.map_err(PasswordError::from).map(|()| {
                    known = keyring;
                    info!("Passwords changed: the first of {count} is used, all are accepted");
                })
            }
            Err(error) => Err(error),
        };
        let text = outcome.err().map(|error| error.to_string());
        if let Some(text) = text.as_ref().filter(|text| trouble.as_ref() != Some(*text)) {
            warn!("passwords stay as they are: {text}");
        }
        trouble = text;
    }
}

/// Waits for a signal, or for ever.
async fn received(signal: Option<&mut Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Why passwords cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("cannot read passwords from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has no line that is not empty. To run without encryption, give no file.
    #[error("no password in {}", .0.display())]
    Empty(PathBuf),
    /// There are too many, or the mesh cannot change to them.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// Time between two looks at the file.
const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(words: &[&str]) -> Keyring {
        Keyring::new(words.iter().map(|word| Password::new(*word))).unwrap()
    }

    fn file(name: &str, content: &[u8]) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("weave-passwords-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn every_line_is_a_password_and_the_first_is_used() {
        let path = file("lines", b"new secret\r\n\nold\n");

        let read = read(&PasswordSource::File(path.clone())).unwrap();

        assert_eq!(read, keyring(&["new secret", "old"]));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_without_password_is_an_error_and_not_a_plain_mesh() {
        let path = file("empty", b"\n\r\n");

        let error = read(&PasswordSource::File(path.clone())).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        let missing = read(&PasswordSource::File(path)).unwrap_err();

        assert!(error.to_string().starts_with("no password in "), "{error}");
        assert!(
            missing.to_string().starts_with("cannot read passwords"),
            "{missing}"
        );
    }

    #[test]
    fn other_sources_are_taken_as_they_are() {
        let given = PasswordSource::Given(Password::new("x"));

        assert_eq!(read(&given).unwrap(), keyring(&["x"]));
        assert!(read(&PasswordSource::None).unwrap().is_empty());
    }
}
