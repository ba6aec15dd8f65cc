//! The socket that logged packets come from.
//!
//! Invariant: packets that did not fit are counted as lost or reported as overrun, never passed over
//! in silence.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nflog::{ConfigCmd, ConfigMode, ConfigNla, Timeout, ULogMessage};

use super::{Logged, MAX_PAYLOAD, read};
use crate::nfnetlink::{NetlinkError, Request, Socket};

/// Listens to one group of one network namespace.
///
/// It does not block; its file descriptor becomes readable when there is something to
/// [drain](Reader::drain).
#[derive(Debug)]
pub struct Reader {
    socket: Socket,
    next: Option<u32>,
}

/// What a call to [`Reader::drain`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The packets in order.
    pub packets: Vec<Logged>,
    /// Packets that the kernel logged and this socket never got, as far as their numbers tell.
    pub lost: u64,
    /// True if there is more to read.
    pub is_more: bool,
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Reader {
    /// Listens to `group` in the network namespace of the calling thread; of each packet at most
    /// `range` bytes are wanted ([`MAX_PAYLOAD`] at most).
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Refused`] with `EBUSY` if another program listens to the group already, and
    /// [`NetlinkError::Io`] without the right to.
    pub fn open(group: u16, range: usize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::open(&[])?;
        let range = u32::try_from(range.min(MAX_PAYLOAD)).unwrap_or(u32::MAX);
        let steps = [
            vec![ConfigNla::Cmd(ConfigCmd::Bind)],
            vec![
                ConfigNla::Mode(ConfigMode::new_packet(range)),
                ConfigNla::Other(DefaultNla::new(CFG_FLAGS, SEQ.to_be_bytes().to_vec())),
                ConfigNla::Timeout(Timeout::new(FLUSH)),
                ConfigNla::QThresh(BATCH),
            ],
        ];
        for step in steps {
            let message = ULogMessage::Config(step).into();
            let request = Request {
                message,
                family: 0,
                flags: ACK,
                resource: group,
            };
            let sent = socket.send(vec![request])?;
            if let Some(refusal) = socket.answers(sent, |_, _| Ok(()))?.into_iter().next() {
                let object = format!("log group {group}");
                let (source, reason) = (refusal.source, refusal.reason);
                return Err(NetlinkError::Refused {
                    object,
                    source,
                    reason,
                });
            }
        }
        socket.set_nonblocking()?;
        Ok(Self { socket, next: None })
    }

    /// Reads what is there, `limit` packets and the rest of one datagram at most.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Io`] if the socket is broken.
    pub fn drain(&mut self, limit: usize) -> Result<Received, NetlinkError> {
        let mut received = Received::default();
        while received.packets.len() < limit {
            let any = self.socket.receive(|message| {
                received.packets.extend(read(&message));
                Ok(())
            });
            match any {
                Ok(true) => {}
                Ok(false) => {
                    self.count_gaps(&mut received);
                    return Ok(received);
                }
                // The numbers of the packets that follow tell how many were lost.
                Err(NetlinkError::Overrun) => {}
                Err(error) => return Err(error),
            }
        }
        received.is_more = true;
        self.count_gaps(&mut received);
        Ok(received)
    }

    fn count_gaps(&mut self, received: &mut Received) {
        for sequence in received.packets.iter().filter_map(|packet| packet.sequence) {
            if let Some(next) = self.next {
                received.lost += u64::from(sequence.wrapping_sub(next));
            }
            self.next = Some(sequence.wrapping_add(1));
        }
    }
}

/// `linux/netlink.h`.
const ACK: u16 = 4;
/// `enum nfulnl_attr_config`, `linux/netfilter/nfnetlink_log.h`.
const CFG_FLAGS: u16 = 6;
/// `NFULNL_CFG_F_SEQ`: packets carry numbers.
const SEQ: u16 = 1;
/// The kernel hands over after this many hundredths of a second, or this many packets.
const FLUSH: u32 = 10;
const BATCH: u32 = 32;
