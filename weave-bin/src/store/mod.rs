//! What a host must not forget: its peer name, its addresses and its given peers.
//!
//! Everything is in one file, `<db-prefix>data.db`: the file of Weave Net, in its form and under
//! its lock, with one sealed value of ours in it, and another where there is an IPv6 range. So a host that comes from Weave Net finds its
//! addresses again, and one that goes back does too. A change is durable before anybody is told of
//! it, with one sync for all that waits. A file that is damaged or belongs to another peer name or
//! range is refused with what to do about it; it is never overwritten, since its addresses may be
//! in use.
//!
//! ```text
//!   State ⇄ weave (gob values) ┐
//!   State ⇄ ipv6 (own value)   ├─ bolt (pages) ── journal (commits) ── file (lock, sync)
//!   State ⇄ seal (own value)   ┘
//! ```

mod bolt;
mod file;
mod ipv6;
mod journal;
mod seal;
mod weave;

use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::info;
use weave_ipam::{Family, Snapshot};

use bolt::Values;
use file::DataFile;
pub use ipv6::Ipv6;
use journal::{Fault, Journal, Position};

/// The content of the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The peer name as text.
    pub peer_name: String,
    /// The IPv4 allocation range, when such addresses are allocated.
    pub range: Option<IpNet>,
    /// The state of the IPv4 allocator.
    pub ipam: Option<Snapshot>,
    /// Peers given by command line or request.
    pub peers: Vec<String>,
    /// The same for IPv6.
    #[serde(skip)]
    pub ipv6: Ipv6,
}

impl State {
    /// The state of peer `name` that remembers nothing.
    pub fn new(name: &str) -> Self {
        Self {
            peer_name: name.to_owned(),
            range: None,
            ipam: None,
            peers: Vec::new(),
            ipv6: Ipv6::default(),
        }
    }

    /// The allocation range of `family`.
    pub fn range(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.range,
            Family::V6 => self.ipv6.range,
        }
    }

    /// The state of the allocator of `family`.
    pub fn snapshot(&self, family: Family) -> Option<&Snapshot> {
        match family {
            Family::V4 => self.ipam.as_ref(),
            Family::V6 => self.ipv6.ipam.as_ref(),
        }
    }

    /// Remembers `range` as that of its family.
    pub fn set_range(&mut self, range: IpNet) {
        match range {
            IpNet::V4(_) => self.range = Some(range),
            IpNet::V6(_) => self.ipv6.range = Some(range),
        }
    }

    /// Remembers `snapshot` as the state of the allocator of its family.
    pub fn set_snapshot(&mut self, snapshot: Snapshot) {
        match snapshot.universe {
            IpNet::V4(_) => self.ipam = Some(snapshot),
            IpNet::V6(_) => self.ipv6.ipam = Some(snapshot),
        }
    }

    /// Checks that this state belongs to peer `name` with allocation `ranges`.
    ///
    /// # Errors
    /// [`Error::Foreign`], saying how to go on.
    pub fn check(&self, path: &Path, name: &str, ranges: &[IpNet]) -> Result<(), Error> {
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
        for given in ranges {
            let stored = self.range(family_of(*given)).unwrap_or(*given);
            if stored != *given {
                return Err(foreign(
                    format!("range {stored}, and --ipalloc-range is {given}"),
                    format!("start with --ipalloc-range {stored}"),
                ));
            }
        }
        Ok(())
    }
}

/// The family of `net`.
pub fn family_of(net: IpNet) -> Family {
    match net {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

/// Where the state file is.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The state file whose name starts with `prefix`.
    pub fn new(prefix: &Path) -> Self {
        let mut path = prefix.as_os_str().to_owned();
        path.push("data.db");
        Self { path: path.into() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stored state, of a daemon that may be running; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read or is damaged; it is left as it is.
    pub fn load(&self) -> Result<Option<State>, Error> {
        match file::read(&self.path).map_err(|error| Error::io("read", &self.path, error))? {
            Some(image) => Ok(self.parse(&image)?.state),
            None => Ok(None),
        }
    }

    /// Opens the file for one daemon alone; nothing is created yet.
    ///
    /// # Errors
    /// [`Error::Locked`] when a daemon has it; else the file cannot be read or is damaged, and is
    /// left as it is.
    pub fn open(&self) -> Result<StateFile, Error> {
        let opened = DataFile::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked(self.path.clone()),
            _ => Error::io("open", &self.path, error),
        })?;
        let Some(file) = opened else {
            return Ok(StateFile {
                path: self.path.clone(),
                journal: None,
                values: Values::new(),
                state: None,
            });
        };
        let image = file
            .read()
            .map_err(|error| Error::io("read", &self.path, error))?;
        let content = self.parse(&image)?;
        Ok(StateFile {
            path: self.path.clone(),
            journal: Some(Journal::new(file, content.position)),
            values: content.values,
            state: content.state,
        })
    }

    /// The flag called `name`, of a file that a daemon may be using.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn flag(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(image) =
            file::read(&self.path).map_err(|error| Error::io("read", &self.path, error))?
        else {
            return Ok(None);
        };
        let values = self.parse(&image)?.values;
        weave::flag(&values, name).map_err(|error| Error::damaged(&self.path, error.to_string()))
    }

    /// Deletes the file, which no daemon may be using; that there is none is fine.
    ///
    /// # Errors
    /// [`Error::Locked`] when a daemon has it; else the system refuses.
    pub fn remove(&self) -> Result<(), Error> {
        // The lock is held until the file is gone.
        let _file = match DataFile::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Locked(self.path.clone()));
            }
            Err(error) => return Err(Error::io("open", &self.path, error)),
            Ok(None) => return Ok(()),
            Ok(Some(file)) => file,
        };
        std::fs::remove_file(&self.path).map_err(|error| Error::io("delete", &self.path, error))
    }

    /// The state in `image`, the bytes of such a file; `None` when no daemon has written any. Nothing
    /// is read from or written to the disk.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Version`].
    pub fn read_image(&self, image: &[u8]) -> Result<Option<State>, Error> {
        Ok(self.parse(image)?.state)
    }

    fn parse(&self, image: &[u8]) -> Result<Content, Error> {
        let found = journal::recover(image).map_err(|fault| match fault {
            Fault::Damaged(what) => Error::damaged(&self.path, what),
            Fault::Version(found) => Error::Version {
                path: self.path.clone(),
                found,
                known: seal::VERSION,
            },
        })?;
        let state = match &found.body {
            Some(body) => serde_json::from_slice(body)
                .map(Some)
                .map_err(|error| error.to_string()),
            None => weave::load(&found.values).map_err(|error| error.to_string()),
        };
        let mut state = state.map_err(|what| Error::damaged(&self.path, what))?;
        if let Some(state) = &mut state {
            ipv6::load(&found.values, state).map_err(|what| Error::damaged(&self.path, what))?;
        }
        if found.body.is_none() && state.is_some() {
            info!(
                "Taking over the state that Weave Net left in {}",
                self.path.display()
            );
        }
        Ok(Content {
            state,
            values: found.values,
            position: found.position,
        })
    }
}

struct Content {
    state: Option<State>,
    values: Values,
    position: Position,
}

/// The state file, opened and locked.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Nothing until the file is created by the first save.
    journal: Option<Journal<DataFile>>,
    /// All values of the file but our sealed one; those we do not know are kept.
    values: Values,
    state: Option<State>,
}

impl StateFile {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was stored when the file was opened.
    pub fn stored(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Sets the flag called `name`; it is written with the next save.
    pub fn set_flag(&mut self, name: &str, value: &str) {
        weave::set_flag(&mut self.values, name, value);
    }

    /// Replaces the stored state; durable when this returns. Blocks on the disk: one sync, but two
    /// for the first time and after an error.
    ///
    /// # Errors
    /// Some step failed; the file holds either the old or the new state.
    pub fn save(&mut self, state: &State) -> Result<(), Error> {
        let failed = |error| Error::io("write", &self.path, error);
        let body = serde_json::to_vec(state).map_err(|error| failed(error.into()))?;
        weave::store(state, &mut self.values)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        ipv6::store(&state.ipv6, &mut self.values).map_err(|error| failed(error.into()))?;
        let values = self.values.clone();
        if let Some(journal) = &mut self.journal {
            if !journal.disk().is_in_place() {
                return Err(Error::Moved(self.path.clone()));
            }
            return journal.commit(values, &body).map_err(failed);
        }
        let file =
            DataFile::create(&self.path).map_err(|error| Error::io("create", &self.path, error))?;
        let mut journal = Journal::new(file, Position::fresh());
        journal.commit(values, &body).map_err(failed)?;
        journal
            .disk()
            .place()
            .map_err(|error| Error::io("create", &self.path, error))?;
        self.journal = Some(journal);
        Ok(())
    }

    /// Lets Weave Net see the last save even after a power cut. To be called when nothing is to be
    /// saved for a while.
    ///
    /// # Errors
    /// The disk failed. What was saved is durable for us all the same.
    pub fn settle(&mut self) -> Result<(), Error> {
        match &mut self.journal {
            Some(journal) => journal
                .settle()
                .map_err(|error| Error::io("sync", &self.path, error)),
            None => Ok(()),
        }
    }

    /// Whether [`StateFile::settle`] has nothing to do.
    pub fn is_settled(&self) -> bool {
        self.journal.as_ref().is_none_or(Journal::is_settled)
    }

    /// How often the file was synced since it was opened.
    pub fn syncs(&self) -> u64 {
        self.journal
            .as_ref()
            .map_or(0, |journal| journal.disk().syncs())
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
        "state file {} is damaged ({what}): put back a copy of it, or move it away to start \
         without its addresses", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it is damaged.
        what: String,
    },
    /// The file was written by a later program. It is left as it is.
    #[error("state file {} has version {found}, this program knows {known}: upgrade it", path.display())]
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
    /// Another daemon, of Weave Net or ours, runs on this file.
    #[error("state file {} is in use by another daemon: stop that one first", .0.display())]
    Locked(PathBuf),
    /// There is no state file.
    #[error("there is no state file {}", .0.display())]
    Absent(PathBuf),
    /// The file was moved or replaced while the daemon runs. Nothing was written.
    #[error(
        "state file {} is not the one this daemon opened: put that one back, or restart the daemon",
        .0.display()
    )]
    Moved(PathBuf),
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
        Self::Damaged {
            path: path.to_owned(),
            what,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
