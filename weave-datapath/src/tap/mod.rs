//! A TAP device with offloads: where frames leave the kernel for user space and come back.
//!
//! Each read gives one frame of up to 64 KiB behind an [offload header](crate::gso::Offload); each
//! write takes one. The device has several queues; the kernel spreads flows over them and keeps
//! each flow on one, so that a thread per queue keeps every flow in order.

mod sys;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use crate::{
    netlink::{self, Netlink},
    sysctl,
};

/// Longest frame with its offload header, in bytes: 64 KiB of IP packet, Ethernet, two VLAN tags.
pub const MAX_READ: usize = crate::gso::HEADER_LEN + 14 + 8 + 65_535;

/// The device could not be made.
#[derive(Debug, thiserror::Error)]
#[error("TAP device {name}: cannot {what}: {source}")]
pub struct Error {
    /// Name of the device.
    pub name: String,
    /// What was tried.
    pub what: &'static str,
    /// What the kernel says. `ENOENT` or `ENODEV` for opening: the kernel has no TUN/TAP driver
    /// (`modprobe tun`). `EBUSY`: another process has the device.
    #[source]
    pub source: io::Error,
}

/// An open TAP device. It goes away when the last of its queues is closed.
#[derive(Debug)]
pub struct Tap {
    name: String,
    queues: Vec<Queue>,
    udp_segmentation: bool,
}

impl Tap {
    /// Makes the device in the current network namespace, with `queues` queues. It is down.
    ///
    /// # Errors
    /// [`Error`] if the kernel refuses.
    pub fn create(name: &str, queues: usize) -> Result<Self, Error> {
        let failed = |what| {
            move |source| Error {
                name: name.to_owned(),
                what,
                source,
            }
        };
        let mut open = Vec::new();
        let mut udp_segmentation = false;
        for _ in 0..queues.max(1) {
            let fd = sys::open(name).map_err(failed("open it"))?;
            udp_segmentation = sys::set_offloads(&fd).map_err(failed("switch offloads on"))?;
            open.push(Queue { fd: Arc::new(fd) });
        }
        Ok(Self {
            name: name.to_owned(),
            queues: open,
            udp_segmentation,
        })
    }

    /// Makes the device outlast its queues, or not any more: with it the place that it has in the
    /// kernel's tables. Frames sent to it while no queue is open are dropped.
    ///
    /// # Errors
    /// [`Error`] if the kernel refuses.
    pub fn set_persistent(&self, on: bool) -> Result<(), Error> {
        for queue in &self.queues {
            sys::set_persistent(&queue.fd, on).map_err(|source| Error {
                name: self.name.clone(),
                what: "make it stay",
                source,
            })?;
        }
        Ok(())
    }

    /// Name of the device.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Brings the device up, without IPv6: the host itself has nothing to say there. `netlink` must
    /// be of the namespace that the device is in.
    ///
    /// # Errors
    /// As [`Netlink::require_link`] and [`Netlink::set_up`].
    pub async fn bring_up(&self, netlink: &Netlink) -> Result<(), netlink::Error> {
        if let Err(error) = sysctl::without_ipv6(&self.name).write() {
            tracing::warn!(device = self.name, %error, "IPv6 stays on, its packets are dropped");
        }
        let link = netlink.require_link(&self.name).await?;
        netlink.set_up(link.index).await
    }

    /// Whether the kernel hands over UDP flows uncut, too (Linux 6.2).
    #[must_use]
    pub fn has_udp_segmentation(&self) -> bool {
        self.udp_segmentation
    }

    /// The queues, in the order of their numbers.
    #[must_use]
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }
}

/// One queue of a TAP device; clones are the same queue. Reads and writes never wait.
#[derive(Debug, Clone)]
pub struct Queue {
    fd: Arc<OwnedFd>,
}

impl Queue {
    /// Reads one frame with its offload header into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock` if none is waiting; others if the device is gone or down.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(self.fd.as_fd(), buffer)?)
    }

    /// Writes one frame with its offload header.
    ///
    /// # Errors
    /// `InvalidInput` if the kernel finds the frame malformed, others if the device is gone or down.
    pub fn write(&self, frame: &[u8]) -> io::Result<()> {
        nix::unistd::write(self.fd.as_fd(), frame)?;
        Ok(())
    }

    /// As [`write`](Self::write), for a frame in two parts.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_parts(&self, head: &[u8], rest: &[u8]) -> io::Result<()> {
        let parts = [io::IoSlice::new(head), io::IoSlice::new(rest)];
        nix::sys::uio::writev(self.fd.as_fd(), &parts)?;
        Ok(())
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
