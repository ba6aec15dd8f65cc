//! Waiting, and a socket option that no wrapper knows (`ip(7)`).

#![expect(unsafe_code, reason = "setsockopt has no safe wrapper for these")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc::{self, c_int, socklen_t},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// Waits until something can be read. `false`: the plane stops, whose end of `stop` was closed.
pub(super) fn wait(source: &impl AsFd, stop: &impl AsFd) -> bool {
    let mut fds = [
        PollFd::new(source.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return true,
        Err(error) => {
            tracing::error!(%error, "cannot wait for packets");
            pause();
        }
    }
    fds[1].revents().is_none_or(|events| events.is_empty())
}

/// A short rest after an error that may last, so that a thread does not spin.
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

/// Packets are never fragmented and the kernel reports what is too large; or they are fragmented on
/// our host and on the way, whatever the path is thought to carry.
pub(super) fn set_dont_fragment(socket: BorrowedFd<'_>, whole: bool) -> io::Result<()> {
    let mode = if whole {
        libc::IP_PMTUDISC_DO
    } else {
        libc::IP_PMTUDISC_DONT
    };
    let len = socklen_t::try_from(size_of::<c_int>()).expect("an int has four bytes");
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `len` bytes of
    // `mode`, which is that long.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const mode).cast(),
            len,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
