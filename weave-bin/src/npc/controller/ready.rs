//! Sockets that do not block, awaited.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that says when there is something to read.
#[derive(Debug)]
pub(super) struct Ready<T: AsFd>(AsyncFd<Descriptor<T>>);

#[derive(Debug)]
struct Descriptor<T>(T);

impl<T: AsFd> AsRawFd for Descriptor<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Ready<T> {
    /// Registers `socket` with the runtime.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    #[expect(
        deprecated,
        reason = "the number comes from AsFd, which is what the unsafe successor asks for"
    )]
    pub(super) fn new(socket: T) -> io::Result<Self> {
        AsyncFd::with_interest(Descriptor(socket), Interest::READABLE).map(Self)
    }

    /// Waits until there is something, and hands the socket to `read`, which reads all there is or
    /// says with its second value that there is more.
    ///
    /// # Errors
    /// The runtime is going down.
    ///
    /// # Cancel safety
    /// Nothing is read when the future is dropped.
    pub(super) async fn read<R>(
        &mut self,
        read: impl FnOnce(&mut T) -> (R, bool),
    ) -> io::Result<R> {
        let mut guard = self.0.readable_mut().await?;
        let (result, is_more) = read(&mut guard.get_inner_mut().0);
        if !is_more {
            guard.clear_ready();
        }
        Ok(result)
    }
}
