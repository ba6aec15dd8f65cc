//! What a host must not forget: its peer name, its addresses and its given peers.
//!
//! Everything is in one file (`<db-prefix>.state`), replaced as a whole and synced before anybody
//! is told what it says. A file that is damaged or belongs to another peer name or range is
//! refused with what to do about it; it is never overwritten silently, since its addresses may be
//! in use.

mod file;

use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weave_ipam::Snapshot;

/// The content of the state file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The peer name as text.
    pub peer_name: String,
    /// The allocation range, when addresses are allocated.
    pub range: Option<IpNet>,
    /// The allocator's state.
    pub ipam: Option<Snapshot>,
    /// Peers given by command line or request.
    pub peers: Vec<String>,
}

impl State {
    /// Checks that this state belongs to peer `name` with allocation range `range`.
    ///
    /// # Errors
    /// [`Error::Foreign`], saying how to go on.
    pub fn check(&self, path: &Path, name: &str, range: Option<IpNet>) -> Result<(), Error> {
        let foreign = |what: String, remedy: String| Error::Foreign {
            path: path.to_owned(),
            what,
            remedy,
        };
        if self.peer_name != name {
            let theirs = &self.peer_name;
            return Err(foreign(
                format!("peer {theirs}, and this is {name}"),
                format!("start with --name {theirs}"),
            ));
        }
        match (self.range, range) {
            (Some(stored), Some(given)) if stored != given => Err(foreign(
                format!("range {stored}, and --ipalloc-range is {given}"),
                format!("start with --ipalloc-range {stored}"),
            )),
            _ => Ok(()),
        }
    }
}

/// The state file.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The state file whose name starts with `prefix`.
    pub fn new(prefix: &Path) -> Self {
        let mut path = prefix.as_os_str().to_owned();
        path.push(".state");
        Self { path: path.into() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stored state; `None` when there is no file.
    ///
    /// # Errors
    /// The file cannot be read or is damaged; it is left as it is.
    pub fn load(&self) -> Result<Option<State>, Error> {
        let Some(body) = file::read(&self.path)? else {
            return Ok(None);
        };
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| Error::damaged(&self.path, error.to_string()))
    }

    /// Replaces the stored state; durable when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// Some step failed; the file holds either the old or the new state.
    pub fn save(&self, state: &State) -> Result<(), Error> {
        let body = serde_json::to_vec(state)
            .map_err(|error| Error::io("write", &self.path, io::Error::other(error)))?;
        file::write(&self.path, &body)
    }
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a step. Nothing is lost; free space or repair permissions.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is torn or altered. It is left as it is.
    #[error(
        "state file {path} is damaged ({what}): restore it from {previous}, or move both away to \
         start without them"
    )]
    Damaged {
        /// The file.
        path: String,
        /// How it is damaged.
        what: String,
        /// Where the generation before it is kept.
        previous: String,
    },
    /// The file was written by a later program. It is left as it is.
    #[error("state file {path:?} has version {found}, this program knows {known}: upgrade it")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u8,
        /// The version of this program.
        known: u8,
    },
    /// The file belongs to another peer or range. It is left as it is.
    #[error(
        "state file {} belongs to {what}: {remedy}, or move the file away to start without its \
         addresses", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        what: String,
        /// How to use it.
        remedy: String,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.display().to_string(),
            source,
        }
    }

    fn damaged(path: &Path, what: String) -> Self {
        let previous = file::previous(path).display().to_string();
        Self::Damaged {
            path: path.display().to_string(),
            what,
            previous,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
