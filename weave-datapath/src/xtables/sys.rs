//! Socket options whose argument is a buffer, which no safe wrapper offers.

#![expect(
    unsafe_code,
    reason = "socket options with buffers have no safe wrapper"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// Reads `option` of `level`; `buffer` carries the question and takes the answer.
pub(super) fn get(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes at most `length` bytes at `buffer`, which are its length,
    // and writes `length` itself; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Sets `option` of `level` to `value`. The one address that may be in it is that of
/// [`set_with_answer`].
pub(super) fn set(socket: BorrowedFd<'_>, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads at most `length` bytes at `value`, which are its length. Where they
    // hold an address, it writes there as many counters of 16 bytes as `value` counts: the only caller
    // of `set_with_answer` makes `answer` exactly that long, and it outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            length,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// As [`set`], with the address of `answer` written into `value` at `pointer`; the kernel puts
/// `answer.len()` bytes there if `value` says so. The caller sees to it that it says no more.
pub(super) fn set_with_answer(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: &mut [u8],
    pointer: usize,
    answer: &mut [u8],
) -> io::Result<()> {
    let address = answer.as_mut_ptr().expose_provenance();
    let place = value
        .get_mut(pointer..pointer + size_of::<usize>())
        .ok_or_else(|| io::Error::other("the request is too short"))?;
    place.copy_from_slice(&address.to_ne_bytes());
    set(socket, level, option, value)
}
