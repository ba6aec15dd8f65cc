//! A netlink socket that asks and waits for answers.
//!
//! Invariant: after a call has returned, no answer to its messages is left in the socket to be
//! taken for the answer to a later one; sequence numbers are never used twice.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::error::NetlinkError;
use super::wire::{Attributes, Message, Messages};

/// A socket of the netfilter family in the network namespace of the thread that opened it.
pub(crate) struct Socket {
    inner: netlink_sys::Socket,
    port: u32,
    sequence: u32,
    send_limit: usize,
    buffer: Vec<u8>,
}

/// One message to be sent.
pub(crate) struct Request {
    pub(crate) message: NetfilterMessageInner,
    pub(crate) family: u8,
    /// Besides `NLM_F_REQUEST`.
    pub(crate) flags: u16,
    /// `res_id` of the netfilter header.
    pub(crate) resource: u16,
}

/// An error that the kernel sent for one message.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Index of the message among those sent.
    pub(crate) index: usize,
    pub(crate) source: io::Error,
    pub(crate) reason: Option<String>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Socket {
    /// Opens a socket and joins multicast groups.
    pub(crate) fn open(groups: &[u32]) -> Result<Self, NetlinkError> {
        let mut inner =
            netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(NetlinkError::io("open"))?;
        let address = inner.bind_auto().map_err(NetlinkError::io("bind"))?;
        for group in groups {
            inner
                .add_membership(*group)
                .map_err(NetlinkError::io("join a group"))?;
        }
        // Extended errors are a help, not a need.
        let _ = inner.set_ext_ack(true);
        let _ = inner.set_cap_ack(true);
        let mut socket = Self {
            inner,
            port: address.port_number(),
            sequence: 0,
            send_limit: 0,
            buffer: vec![0; RECEIVE],
        };
        socket.grow_receive(RECEIVE_QUEUE);
        let timeout = TimeVal::new(i64::try_from(PATIENCE.as_secs()).unwrap_or(1), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout)
            .map_err(|errno| NetlinkError::io("set a timeout")(errno.into()))?;
        Ok(socket)
    }

    /// The port: what the kernel calls this socket in its messages.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Makes reading return at once when there is nothing.
    pub(crate) fn set_nonblocking(&self) -> Result<(), NetlinkError> {
        self.inner
            .set_non_blocking(true)
            .map_err(NetlinkError::io("set nonblocking"))
    }

    /// Gives the queue of incoming messages this many bytes, if the kernel allows.
    pub(crate) fn grow_receive(&mut self, bytes: usize) {
        if setsockopt(&*self, sockopt::RcvBufForce, &bytes).is_err() {
            let _ = setsockopt(&*self, sockopt::RcvBuf, &bytes);
        }
    }

    /// Sends messages as one datagram. The first has sequence number `first()`, and so on.
    pub(crate) fn send(&mut self, requests: Vec<Request>) -> Result<Sent, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        let count = requests.len();
        // Of a batch, the last message that asks for an acknowledgement; its end cannot ask.
        let answered = requests
            .iter()
            .rposition(|request| request.flags & NLM_F_ACK != 0);
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            self.append(request, &mut bytes)?;
        }
        if bytes.len() > MAX_DATAGRAM {
            return Err(NetlinkError::Encode(format!(
                "a batch of {} bytes",
                bytes.len()
            )));
        }
        if bytes.len() + SEND_SPARE > self.send_limit {
            let room = (bytes.len() + SEND_SPARE)
                .next_power_of_two()
                .max(SEND_LEAST);
            if setsockopt(&*self, sockopt::SndBufForce, &room).is_err() {
                let _ = setsockopt(&*self, sockopt::SndBuf, &room);
            }
            self.send_limit = room;
        }
        let kernel = netlink_sys::SocketAddr::new(0, 0);
        let sent = self
            .inner
            .send_to(&bytes, &kernel, 0)
            .map_err(NetlinkError::io("send"))?;
        if sent != bytes.len() {
            return Err(NetlinkError::Encode(format!(
                "a batch of {} bytes",
                bytes.len()
            )));
        }
        Ok(Sent {
            first,
            count,
            answered: answered.unwrap_or_else(|| count.saturating_sub(1)),
        })
    }

    fn append(&self, request: Request, bytes: &mut Vec<u8>) -> Result<(), NetlinkError> {
        let header = NetfilterHeader::new(
            NetfilterProtoFamily::from(request.family),
            0,
            request.resource,
        );
        let message = NetfilterMessage::new(header, request.message);
        let mut head = NetlinkHeader::default();
        head.flags = NLM_F_REQUEST | request.flags;
        head.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(head, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let len = message.buffer_len();
        if u32::try_from(len).is_err() {
            return Err(NetlinkError::Encode("a message beyond 4 GiB".to_owned()));
        }
        let start = bytes.len();
        bytes.resize(start + len.next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..start + len]);
        Ok(())
    }

    /// Reads one datagram and hands over its messages; false if there is nothing (nonblocking).
    pub(crate) fn receive(
        &mut self,
        mut each: impl FnMut(Message<'_>) -> Result<(), NetlinkError>,
    ) -> Result<bool, NetlinkError> {
        let flags = MsgFlags::MSG_TRUNC;
        let len = loop {
            match recv(self.inner.as_raw_fd(), &mut self.buffer, flags) {
                Ok(len) => break len,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::ENOBUFS) => return Err(NetlinkError::Overrun),
                Err(errno) => return Err(NetlinkError::io("receive")(errno.into())),
            }
        };
        let Some(datagram) = self.buffer.get(..len) else {
            // Longer than the buffer: what was cut off is lost. Make room for the next.
            self.buffer.resize(len.next_power_of_two(), 0);
            return Err(NetlinkError::Overrun);
        };
        for message in Messages(datagram) {
            each(message)?;
        }
        Ok(true)
    }

    /// Waits for the answers to what was sent: every message that is no acknowledgement is handed
    /// over with the index of its request, until the last request is answered or the batch failed.
    pub(crate) fn answers(
        &mut self,
        sent: Sent,
        mut each: impl FnMut(usize, Message<'_>) -> Result<(), NetlinkError>,
    ) -> Result<Vec<Refusal>, NetlinkError> {
        let mut refusals = Vec::new();
        let mut failure = None;
        let mut is_done = false;
        while !is_done {
            let received = self.receive(|message| {
                let Some(index) = sent.index(message.sequence) else {
                    return Ok(());
                };
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_DONE => is_done = true,
                    NLMSG_ERROR => {
                        let refusal = refusal(index, &message);
                        is_done |= index == sent.answered || (index == 0 && refusal.is_some());
                        refusals.extend(refusal);
                    }
                    _ if message.flags & NLM_F_DUMP_INTR != 0 => {
                        failure.get_or_insert(NetlinkError::Stale);
                    }
                    _ if failure.is_some() => {}
                    _ => failure = each(index, message).err(),
                }
                Ok(())
            });
            match received {
                Ok(true) => {}
                Ok(false) => return Err(NetlinkError::Silent(PATIENCE.as_secs())),
                // What is left of the answer still has to be read, or the next request meets it.
                Err(NetlinkError::Overrun) => failure = failure.or(Some(NetlinkError::Overrun)),
                Err(error) => return Err(error),
            }
        }
        failure.map_or(Ok(refusals), Err)
    }
}

/// Messages that were sent together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    first: u32,
    count: usize,
    /// The message whose answer is the last.
    answered: usize,
}

impl Sent {
    fn index(self, sequence: u32) -> Option<usize> {
        let index = usize::try_from(sequence.wrapping_sub(self.first)).ok()?;
        (index < self.count).then_some(index)
    }
}

/// What an `NLMSG_ERROR` says; nothing for an acknowledgement.
///
/// ```text
/// | error i32, negative | header of the request (16) | attributes, if NLM_F_ACK_TLVS … |
/// ```
fn refusal(index: usize, message: &Message<'_>) -> Option<Refusal> {
    let code = i32::from_ne_bytes(*message.payload.first_chunk()?);
    if code == 0 {
        return None;
    }
    let reason = (message.flags & NLM_F_ACK_TLVS != 0)
        .then(|| Attributes(message.payload.get(20..).unwrap_or_default()))
        .and_then(|attributes| {
            attributes
                .find(NLMSGERR_ATTR_MSG)?
                .text()
                .map(str::to_owned)
        });
    Some(Refusal {
        index,
        source: io::Error::from_raw_os_error(code.wrapping_neg()),
        reason,
    })
}

/// `linux/netlink.h`.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// How long the kernel may take; a commit of a large batch takes tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Larger than any datagram of a dump (the kernel fills 32 KiB at most).
const RECEIVE: usize = 64 << 10;
/// Room for the notifications of a large batch.
const RECEIVE_QUEUE: usize = 8 << 20;
/// What the kernel keeps of the send buffer for itself, and some.
const SEND_SPARE: usize = 4096;
const SEND_LEAST: usize = 1 << 20;
/// About a million elements.
const MAX_DATAGRAM: usize = 256 << 20;
