//! Network namespaces: open, create by name, enter.
//!
//! Invariant: whoever calls is in the same namespace before and after. [`Namespace::run`] starts a
//! fresh OS thread (unless the caller is in the namespace already), moves it there, runs the closure
//! and lets the thread end; [`Namespace::visit`] moves the calling thread there and back. So the
//! threads of an async runtime keep the namespace they started in. Sockets and netlink handles opened
//! inside stay bound to the namespace and can be used from anywhere.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::statfs::{FsType, fstatfs},
};

mod error;
mod named;

pub use self::{
    error::Error,
    named::{create_named, delete_named, list_named, named_path},
};

/// An open network namespace.
///
/// Keeps the namespace alive while held. Clones share one descriptor.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<File>,
    path: PathBuf,
    id: (u64, u64),
}

impl Namespace {
    /// Opens the namespace at `path`: `/run/netns/NAME`, `/proc/PID/ns/net`, or any bind mount.
    ///
    /// # Errors
    /// [`Error::Open`] when the path cannot be opened, [`Error::NotANamespace`] when it is another
    /// kind of file (for example the empty file an unmounted named namespace leaves behind).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let failed = |source| Error::Open {
            path: path.clone(),
            source,
        };
        // Without waiting: the path comes from outside and may be a pipe nobody writes to.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&path)
            .map_err(failed)?;
        let kind = fstatfs(&file)
            .map_err(|errno| failed(errno.into()))?
            .filesystem_type();
        if kind != NSFS {
            return Err(Error::NotANamespace { path });
        }
        let meta = file.metadata().map_err(failed)?;
        Ok(Self {
            file: Arc::new(file),
            id: (meta.dev(), meta.ino()),
            path,
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`] when `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The path this namespace was opened by; only a label for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both descriptors name one namespace (same device and inode).
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Moves the calling thread into this namespace, for good.
    ///
    /// Call it only on a thread that does nothing else afterwards, such as one about to `exec`.
    ///
    /// # Errors
    /// [`Error::Enter`], usually for lack of `CAP_SYS_ADMIN`.
    pub fn enter_current_thread(&self) -> Result<(), Error> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Enter {
            path: self.path.clone(),
            source: errno.into(),
        })
    }

    /// Runs `work` inside this namespace and waits for it: on a fresh OS thread, or directly when
    /// the calling thread is in the namespace already.
    ///
    /// Only the network namespace changes: files, mounts and the process stay as they are. A thread
    /// costs about 50 µs; use [`run_async`](Self::run_async) where blocking that long matters.
    ///
    /// # Errors
    /// [`Error::Enter`] when the namespace cannot be entered, [`Error::Thread`] when no thread can
    /// be started. `work` did not run then.
    ///
    /// # Panics
    /// When `work` panics, with its panic.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if Self::current().is_ok_and(|current| current.is_same_as(self)) {
            return Ok(work());
        }
        thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || self.enter_current_thread().map(|()| work()))
                .map_err(|source| Error::Thread { source })?;
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` inside this namespace on the calling thread, which is back in its own when this
    /// returns or `work` panics.
    ///
    /// For work that does not wait, such as opening a socket: a visit costs a few microseconds, where
    /// a thread costs 50 and a turn of the scheduler.
    ///
    /// # Errors
    /// [`Error::Open`] when the thread's own namespace cannot be opened, [`Error::Enter`] when this
    /// one cannot be entered. `work` did not run then.
    ///
    /// # Aborts
    /// Ends the process when the kernel does not let the thread back, which it does but for lack of
    /// memory: whatever ran on the thread later would be done in the wrong namespace.
    pub fn visit<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        let home = Self::current()?;
        if home.is_same_as(self) {
            return Ok(work());
        }
        self.enter_current_thread()?;
        let _way_back = WayBack(home);
        Ok(work())
    }

    /// As [`run`](Self::run), without blocking the calling task.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Thread`] also when `work` panics.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop `work`; it runs to its end and its result is dropped.
    pub async fn run_async<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let namespace = self.clone();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || {
                let outcome = namespace.enter_current_thread().map(|()| work());
                // The receiver is gone only when the caller was cancelled: nobody wants the result.
                drop(sender.send(outcome));
            })
            .map_err(|source| Error::Thread { source })?;
        receiver.await.unwrap_or_else(|_| {
            Err(Error::Thread {
                source: io::Error::other("the closure panicked"),
            })
        })
    }

    /// Creates `/run/netns/NAME`, as `ip netns add NAME` does, and opens it.
    ///
    /// # Errors
    /// See [`create_named`].
    pub fn create_named(name: &str) -> Result<Self, Error> {
        create_named(name)
    }

    /// Removes `/run/netns/NAME`, as `ip netns delete NAME` does; `false` when there is none.
    ///
    /// # Errors
    /// See [`delete_named`].
    pub fn delete_named(name: &str) -> Result<bool, Error> {
        delete_named(name)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Namespace {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Takes the thread back to its namespace, also when it unwinds.
struct WayBack(Namespace);

impl Drop for WayBack {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter_current_thread() {
            tracing::error!(%error, "a thread cannot return to its network namespace, ending");
            std::process::abort();
        }
    }
}

/// The file system of namespace descriptors (`NSFS_MAGIC`, `linux/magic.h`).
const NSFS: FsType = FsType(0x6e73_6673);
