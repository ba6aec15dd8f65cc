//! What others change in `nf_tables`, told by the kernel.
//!
//! Invariant: a change is told, or [`Changes::is_overrun`] is; never neither.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::message::family_of;
use super::nft::GENERATION;
use super::readback::TABLE;
use crate::nfnetlink::wire::{Attribute, Message};
use crate::nfnetlink::{NetlinkError, Socket};
use crate::ruleset::{Family, TableId};

/// Listens to changes of the rulesets of one network namespace, by anybody.
///
/// It does not block; its file descriptor becomes readable when there is something to
/// [drain](Monitor::drain).
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

/// What changed since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The tables in which something changed, also those that came and went.
    pub tables: BTreeMap<(Family, String), Touch>,
    /// The latest generation, if it was told.
    pub generation: Option<u32>,
    /// True if something was lost: anything may have changed.
    pub is_overrun: bool,
}

/// What happened to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// The connections that changed it, by port; [`Nft::port`](super::Nft::port) tells one's own.
    pub by: BTreeSet<u32>,
    /// True if the table itself was deleted, perhaps to be made again.
    pub is_deleted: bool,
}

impl Changes {
    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && !self.is_overrun
    }

    /// True if the table may have been changed by anybody but the connection with this port.
    pub fn concern(&self, table: &TableId, own_port: u32) -> bool {
        let key = (table.family, table.name.to_string());
        self.is_overrun
            || self
                .tables
                .get(&key)
                .is_some_and(|touch| touch.by.iter().any(|port| *port != own_port))
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Monitor {
    /// Listens in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Io`] without the right to or without netfilter.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::open(&[NFNLGRP_NFTABLES])?;
        socket.set_nonblocking()?;
        Ok(Self { socket })
    }

    /// What has come, without waiting.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Io`] if the socket is broken.
    pub fn drain(&mut self) -> Result<Changes, NetlinkError> {
        let mut changes = Changes::default();
        loop {
            let received = self.socket.receive(|message| {
                changes.note(&message);
                Ok(())
            });
            match received {
                Ok(true) => {}
                Ok(false) => return Ok(changes),
                Err(NetlinkError::Overrun) => changes.is_overrun = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`drain`](Self::drain), but waits up to `timeout` for something to come.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Io`] if the socket is broken.
    pub fn wait(&mut self, timeout: Duration) -> Result<Changes, NetlinkError> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => self.drain(),
            Err(errno) => Err(NetlinkError::io("poll")(errno.into())),
        }
    }
}

impl Changes {
    fn note(&mut self, message: &Message<'_>) {
        let [subsystem, kind] = message.kind.to_be_bytes();
        let Some((family, attributes)) = message.netfilter() else {
            return;
        };
        if subsystem != NFNL_SUBSYS_NFTABLES {
            return;
        }
        if kind == NFT_MSG_NEWGEN {
            self.generation = attributes.find(GENERATION).and_then(Attribute::u32);
            return;
        }
        let name = attributes.find(TABLE).and_then(Attribute::text);
        let (Some(family), Some(name)) = (family_of(family), name) else {
            return;
        };
        let touch = self.tables.entry((family, name.to_owned())).or_default();
        touch.by.insert(message.port);
        touch.is_deleted |= kind == NFT_MSG_DELTABLE;
    }
}

/// `linux/netfilter/nfnetlink.h`, `linux/netfilter/nf_tables.h`.
const NFNLGRP_NFTABLES: u32 = 7;
const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFT_MSG_DELTABLE: u8 = 2;
const NFT_MSG_NEWGEN: u8 = 15;
