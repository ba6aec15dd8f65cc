//! Named namespaces under `/run/netns`, in the layout of `ip netns`.
//!
//! A name is an empty file with a namespace bind-mounted on it. The directory is a shared mount, so
//! that deleting a name in one mount namespace releases it in all others (iproute2, `ip/ipnetns.c`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::{Error, Namespace};

/// Where the namespace `name` is, or would be.
#[must_use]
pub fn named_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Creates a namespace that `ip netns` lists as `name`, and opens it. Loopback is down in it.
///
/// # Errors
/// [`Error::Name`], [`Error::Exists`], [`Error::Mount`] (usually for lack of `CAP_SYS_ADMIN`);
/// nothing is left behind.
pub fn create_named(name: &str) -> Result<Namespace, Error> {
    let path = checked_path(name)?;
    prepare_directory()?;
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
    {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists {
                name: name.to_owned(),
            });
        }
        Err(source) => {
            return Err(Error::Mount {
                operation: "create",
                path,
                source,
            });
        }
    }
    let made = thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, || mount_fresh(&path))
            .map_err(|source| Error::Thread { source })?;
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let opened = made.and_then(|()| Namespace::open(&path));
    if opened.is_err() {
        // Undo as far as it goes; the first error is the one to report.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&path);
    }
    opened
}

/// Removes the name; the namespace itself ends when its last process and descriptor are gone.
///
/// Returns `false` when no such name exists. Also removes the empty file a crash leaves behind.
///
/// # Errors
/// [`Error::Name`], [`Error::Mount`].
pub fn delete_named(name: &str) -> Result<bool, Error> {
    let path = checked_path(name)?;
    match umount2(&path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL) => {}
        Err(nix::Error::ENOENT) => return Ok(false),
        Err(errno) => {
            return Err(Error::Mount {
                operation: "unmount",
                path,
                source: errno.into(),
            });
        }
    }
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        // Another mount namespace removed the file in between.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Error::Mount {
            operation: "remove",
            path,
            source,
        }),
    }
}

/// The names under `/run/netns`, sorted; leftovers of crashed programs included.
///
/// # Errors
/// [`Error::Mount`] when the directory exists and cannot be read.
pub fn list_named() -> Result<Vec<String>, Error> {
    let failed = |source| Error::Mount {
        operation: "list",
        path: PathBuf::from(DIRECTORY),
        source,
    };
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// On a fresh thread: leave for a new namespace and pin it at `path`.
fn mount_fresh(path: &Path) -> Result<(), Error> {
    let failed = |operation| {
        move |errno: nix::Error| Error::Mount {
            operation,
            path: path.to_owned(),
            source: errno.into(),
        }
    };
    unshare(CloneFlags::CLONE_NEWNET).map_err(failed("make a network namespace for"))?;
    bind(
        Path::new("/proc/thread-self/ns/net"),
        path,
        MsFlags::MS_BIND,
    )
    .map_err(failed("mount a network namespace on"))
}

/// Makes the directory and turns it into a shared mount, as iproute2 does.
///
/// Under a lock (iproute2 takes the same one): two programs that both found no mount would stack two,
/// and the upper one would hide the names made below it.
fn prepare_directory() -> Result<(), Error> {
    let path = Path::new(DIRECTORY);
    let failed = |source| Error::Mount {
        operation: "prepare",
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(path).map_err(failed)?;
    let lock = fs::File::open(path).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, path, None::<&str>, flags, None::<&str>);
    let shared = match share() {
        // Not a mount point yet: make it one.
        Err(nix::Error::EINVAL) => {
            bind(path, path, MsFlags::MS_BIND | MsFlags::MS_REC).and_then(|()| share())
        }
        other => other,
    };
    shared.map_err(|errno| failed(errno.into()))
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
}

fn checked_path(name: &str) -> Result<PathBuf, Error> {
    let plain = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0']);
    if plain {
        Ok(named_path(name))
    } else {
        Err(Error::Name {
            name: name.to_owned(),
        })
    }
}

const DIRECTORY: &str = "/run/netns";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_plain_are_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd", "nul\0"] {
            assert!(
                matches!(create_named(name), Err(Error::Name { .. })),
                "{name:?}"
            );
            assert!(
                matches!(delete_named(name), Err(Error::Name { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_missing_name_is_not_an_error_to_delete() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }

        assert!(!delete_named("weave-test-no-such-namespace").unwrap());
    }
}
