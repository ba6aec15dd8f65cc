//! The four `ioctl`s of a TAP device (`linux/if_tun.h`).

#![expect(unsafe_code, reason = "ioctls have no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    fcntl::{OFlag, open as open_file},
    libc::{
        self, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, TUN_F_CSUM, TUN_F_TSO4,
        TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6, c_int, ifreq,
    },
    sys::stat::Mode,
};

use crate::gso::HEADER_LEN;

nix::ioctl_write_int!(set_persist, b'T', 203);
nix::ioctl_write_int!(set_offload, b'T', 208);
nix::ioctl_write_ptr!(set_header_len, b'T', 216, c_int);
nix::ioctl_write_ptr!(set_interface, b'T', 202, c_int);

/// Opens a queue of the device `name`, which the first one makes.
pub(super) fn open(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let fd = open_file("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let mode = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(mode).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let header = c_int::try_from(HEADER_LEN).expect("a header is ten bytes");
    // SAFETY: the pointers are to a whole `ifreq` and a whole `int` that live through the calls;
    // the kernel reads and writes no more than those.
    unsafe {
        set_interface(fd.as_raw_fd(), std::ptr::from_ref(&request).cast())?;
        set_header_len(fd.as_raw_fd(), &raw const header)?;
    }
    Ok(fd)
}

/// Whether the device stays when its queues are closed.
pub(super) fn set_persistent(fd: &OwnedFd, on: bool) -> io::Result<()> {
    // SAFETY: this `ioctl` takes its flag by value.
    unsafe { set_persist(fd.as_raw_fd(), on.into())? };
    Ok(())
}

/// Asks for uncut TCP, and UDP where the kernel can. Whether it can is the answer.
pub(super) fn set_offloads(fd: &OwnedFd) -> io::Result<bool> {
    let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    let all = tcp | TUN_F_USO4 | TUN_F_USO6;
    // SAFETY: this `ioctl` takes its flags by value.
    unsafe {
        if set_offload(fd.as_raw_fd(), all.into()).is_ok() {
            return Ok(true);
        }
        set_offload(fd.as_raw_fd(), tcp.into())?;
    }
    Ok(false)
}
