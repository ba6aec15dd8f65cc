//! The unsafe corner of the kernel edge: plain-data claims and two system calls.
#![expect(
    unsafe_code,
    reason = "system calls and plain-data markers have no safe form"
)]

use std::{io, os::fd::AsRawFd, time::Duration};

use aya::maps::{MapData, RingBuf};
use nix::libc;
use tokio::io::{Interest, unix::AsyncFd};

use super::abi::{Cell, Config, Mac};

// SAFETY: `repr(C)`, integers and byte arrays only, every byte belongs to a field (`abi` asserts
// the offsets), and any bit pattern is a value.
unsafe impl aya::Pod for Cell {}
// SAFETY: as for `Cell`.
unsafe impl aya::Pod for Config {}
// SAFETY: as for `Cell`.
unsafe impl aya::Pod for Mac {}

/// Registers an event ring with the current tokio runtime.
pub(super) fn watch(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns the descriptor of its map and neither closes nor replaces it while it
    // lives; nothing but the `AsyncFd` owns the ring from here on.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// Makes an IPv4 UDP socket send as the tunnel does: no UDP checksum, DF always set.
pub(super) fn like_tunnel(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)?;
    set(
        socket,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_DO,
    )
}

/// The monotonic clock, as `bpf_ktime_get_ns` and its coarse form read it.
pub(super) fn monotonic() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec for the call to write.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let part = |value: i64| u64::try_from(value).map_err(io::Error::other);
    Ok(Duration::from_secs(part(time.tv_sec)?) + Duration::from_nanos(part(time.tv_nsec)?))
}

fn set(socket: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while `socket` is borrowed; the value is a live i32 and `size`
    // is its size.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
