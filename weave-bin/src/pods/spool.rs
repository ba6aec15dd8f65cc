//! Releases that wait for the daemon: one empty file for each container, called as its id.
//!
//! A DEL that finds no daemon leaves one and succeeds, so that pods end while the daemon is away.
//! The daemon replays them before it gives anybody an address, and looks again while it runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the plugin leaves them: in the host's directory of the state file.
pub const DEFAULT: &str = "/var/lib/weave/cni-pending";

/// Where the daemon finds them, whose state file starts with `prefix`.
pub fn beside(prefix: &Path) -> PathBuf {
    prefix.with_file_name("cni-pending")
}

/// Notes that what `id` has is to be released. `id` must be a file name; the ids of containers are.
///
/// # Errors
/// What the system says. Where the directory around `directory` is missing there is no daemon that
/// would look, so it is not made.
pub fn put(directory: &Path, id: &str) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::create(directory.join(id))?.sync_all()
}

/// Takes the note for `id` away; whether there was one.
///
/// # Errors
/// What the system says.
pub fn withdraw(directory: &Path, id: &str) -> io::Result<bool> {
    match fs::remove_file(directory.join(id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// The ids that wait, in any order.
///
/// # Errors
/// What the system says; a directory that is not there has none.
pub fn waiting(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is nobody's id.
        if let Ok(id) = entry?.file_name().into_string() {
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn notes_are_kept_until_they_are_withdrawn() {
        let scratch = Scratch::new();
        let directory = beside(&scratch.path("weave-net"));
        assert_eq!(waiting(&directory).unwrap(), [""; 0]);

        put(&directory, "c1").unwrap();
        put(&directory, "c1").unwrap();
        assert_eq!(waiting(&directory).unwrap(), ["c1"]);
        assert!(withdraw(&directory, "c1").unwrap());
        assert!(!withdraw(&directory, "c1").unwrap());

        assert_eq!(waiting(&directory).unwrap(), [""; 0]);
    }

    #[test]
    fn where_no_daemon_is_nothing_is_left() {
        let scratch = Scratch::new();

        let refused = put(&scratch.path("no/cni-pending"), "c1");

        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
