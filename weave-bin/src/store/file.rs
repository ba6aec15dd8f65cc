//! One file that is whole or refused: envelope, checksum, atomic replacement.
//!
//! ```text
//!  0        7         8                       len-32        len
//!  +--------+---------+-----------------------+--------------+
//!  | magic  | version |        body           | SHA-256      |
//!  +--------+---------+-----------------------+--------------+
//! ```
//!
//! The checksum covers everything before it. A new generation is written beside the file, synced,
//! and renamed over it; the generation before stays as `<file>.1`. At every instant the name holds
//! a complete generation, so a power cut loses at most a write that was not acknowledged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Error;

/// Reads the body of the file at `path`; `None` when there is no file.
///
/// # Errors
/// The file cannot be read, or is damaged or of an unknown version. It is left as it is.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let damaged = |what: &str| Error::damaged(path, what.to_owned());
    if bytes.len() < HEADER + CHECKSUM {
        return Err(damaged("it is too short"));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("it does not start as a state file does"));
    }
    let version = bytes[MAGIC.len()];
    let end = bytes.len() - CHECKSUM;
    if Sha256::digest(&bytes[..end]).as_slice() != &bytes[end..] {
        return Err(damaged("its checksum is wrong"));
    }
    if version != VERSION {
        return Err(Error::Version {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    bytes.truncate(end);
    bytes.drain(..HEADER);
    Ok(Some(bytes))
}

/// Replaces the body of the file at `path`, durably. Creates the directory when missing.
///
/// # Errors
/// Some step failed; the file holds either the old or the new body.
pub(super) fn write(path: &Path, body: &[u8]) -> Result<(), Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).map_err(|error| Error::io("create", directory, error))?;
    let fresh = beside(path, ".tmp");
    write_synced(&fresh, body).map_err(|error| Error::io("write", &fresh, error))?;

    let previous = beside(path, ".1");
    for result in [fs::remove_file(&previous), fs::hard_link(path, &previous)] {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(
                    "keep the previous generation as",
                    &previous,
                    error,
                ));
            }
            _ => {}
        }
    }
    fs::rename(&fresh, path).map_err(|error| Error::io("replace", path, error))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io("sync", directory, error))
}

/// Where the generation before the one at `path` is kept.
pub(super) fn previous(path: &Path) -> PathBuf {
    beside(path, ".1")
}

fn write_synced(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut bytes = Vec::with_capacity(HEADER + body.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(body);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    file.write_all(&bytes)?;
    file.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const MAGIC: &[u8; 7] = b"WEAVEDB";
const VERSION: u8 = 1;
const HEADER: usize = MAGIC.len() + 1;
const CHECKSUM: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn what_is_written_is_read() {
        let scratch = Scratch::new();
        let path = scratch.path("state");

        assert_eq!(read(&path).unwrap(), None);
        write(&path, b"one").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
    }

    #[test]
    fn the_previous_generation_stays() {
        let scratch = Scratch::new();
        let path = scratch.path("deep/er/state");

        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        write(&path, b"three").unwrap();

        assert_eq!(read(&path).unwrap().unwrap(), b"three");
        assert_eq!(read(&previous(&path)).unwrap().unwrap(), b"two");
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let scratch = Scratch::new();
        let path = scratch.path("state");
        write(&path, b"some body").unwrap();
        let whole = fs::read(&path).unwrap();

        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(read(&path), Err(Error::Damaged { .. })),
                "byte {at} flipped"
            );
            fs::write(&path, &whole[..at]).unwrap();
            assert!(
                matches!(read(&path), Err(Error::Damaged { .. })),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_later_version_is_told_apart_from_damage() {
        let scratch = Scratch::new();
        let path = scratch.path("state");
        let mut bytes = [MAGIC.as_slice(), &[9], b"body"].concat();
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        fs::write(&path, &bytes).unwrap();

        let error = read(&path).unwrap_err();

        assert!(matches!(error, Error::Version { found: 9, .. }), "{error}");
    }

    #[test]
    fn a_leftover_of_a_torn_write_does_no_harm() {
        let scratch = Scratch::new();
        let path = scratch.path("state");
        write(&path, b"one").unwrap();
        fs::write(beside(&path, ".tmp"), b"half of a gene").unwrap();

        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        write(&path, b"two").unwrap();

        assert_eq!(read(&path).unwrap().unwrap(), b"two");
    }
}
