//! The data file on a real disk: locked while it is open, never created by halves.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::journal::Disk;

/// An open file, and how often it was synced.
#[derive(Debug)]
pub(super) struct DataFile {
    path: PathBuf,
    file: File,
    syncs: u64,
}

impl DataFile {
    /// Opens the file at `path` and locks it, as Weave Net does (`flock`), so that never two
    /// daemons write to it; `None` when there is no file.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it; else what the system says.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let opened = Self::locked(path, file)?;
        // Whoever had it may have put another file in its place meanwhile.
        if opened.is_in_place() {
            Ok(Some(opened))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// Creates the file at `path`. It is empty and under another name until [`DataFile::place`].
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory(path))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(fresh(path))?;
        let created = Self::locked(path, file)?;
        // What an interrupted start left is cut only by whoever has the lock.
        created.file.set_len(0)?;
        Ok(created)
    }

    /// Gives a created file its name, durably.
    ///
    /// # Errors
    /// There is a file of that name, or what the system says.
    pub(super) fn place(&self) -> io::Result<()> {
        let fresh = fresh(&self.path);
        fs::hard_link(&fresh, &self.path)?;
        fs::remove_file(&fresh)?;
        File::open(directory(&self.path))?.sync_all()
    }

    /// The whole content.
    ///
    /// # Errors
    /// The file is larger than a state can be, or what the system says.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        read_limited(&self.file)
    }

    /// Whether the path still leads to this file.
    pub(super) fn is_in_place(&self) -> bool {
        let same = |ours: fs::Metadata, named: fs::Metadata| {
            (ours.dev(), ours.ino()) == (named.dev(), named.ino())
        };
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(ours), Ok(named)) => same(ours, named),
            _ => false,
        }
    }

    /// How often the file was synced.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    fn locked(path: &Path, file: File) -> io::Result<Self> {
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            syncs: 0,
        })
    }
}

impl Disk for DataFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        self.file.sync_data()
    }
}

/// The content of the file at `path`, without locking it; `None` when there is no file.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => read_limited(&file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_limited(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= LIMIT => Ok(bytes),
        _ => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {LIMIT} bytes"),
        )),
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The name of a file that is not whole yet.
fn fresh(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// The state of a host with a million addresses stays below.
const LIMIT: u64 = 256 << 20;
