//! Requests of other netlink families than routes, and their answers, as bytes.
//!
//! ```text
//! 0 length u32  4 type u16  6 flags u16  8 sequence u32  12 port u32  16 body
//! ```

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// A connection to one netlink family.
pub(super) struct Connection {
    socket: OwnedFd,
    sequence: u32,
}

impl Connection {
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_LIMIT))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and collects the bodies of the answers, up to the acknowledgement or the end
    /// of the list that `flags` ask for.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(super) fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let length = u32::try_from(HEAD + body.len()).map_err(io::Error::other)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend((REQUEST | flags).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;

        let mut bodies = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((message, after)) = Message::cut(rest) {
                rest = after;
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    ERROR => return message.outcome().map(|()| bodies),
                    DONE => return Ok(bodies),
                    _ => bodies.push(message.body.to_vec()),
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message of `bytes`, and what is behind it.
    fn cut(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(word(bytes, 0)?).ok()?;
        let message = Self {
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
            sequence: word(bytes, 8)?,
            body: bytes.get(HEAD..length)?,
        };
        let next = length.next_multiple_of(4).min(bytes.len());
        Some((message, &bytes[next..]))
    }

    /// What an acknowledgement says: 0, or a negative error number.
    fn outcome(&self) -> io::Result<()> {
        let code = word(self.body, 0).map_or(0, u32::cast_signed);
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(code.wrapping_neg()))
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The attributes of an answer.
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    /// A text that ends with a zero byte.
    pub(super) fn text(&self, kind: u16) -> Option<String> {
        let value = self.find(kind)?;
        let text = value.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// A number of 16 bits.
    pub(super) fn number(&self, kind: u16) -> Option<u16> {
        let bytes = self.find(kind)?.get(..2)?;
        Some(u16::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn find(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
            let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE;
            let value = rest.get(4..length)?;
            if kind == wanted {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }
}

/// An attribute, padded.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `linux/netlink.h`.
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: for IP sets, that what is not there is an error.
pub(super) const STRICT: u16 = 0x200;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The bits of an attribute's type that are not flags.
const TYPE: u16 = 0x3fff;
const HEAD: usize = 16;
/// The kernel fills messages of a list up to this size.
const BUFFER: usize = 32 << 10;
/// Seconds; the kernel answers within microseconds.
const ANSWER_LIMIT: i64 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_found_behind_others() {
        let mut bytes = attribute(1, b"abc\0");
        bytes.extend(attribute(2 | 1 << 15, b"weave\0"));
        bytes.extend(attribute(3, &7_u16.to_ne_bytes()));
        let attributes = Attributes(&bytes);

        assert_eq!(attributes.text(2).as_deref(), Some("weave"));
        assert_eq!(attributes.number(3), Some(7));
        assert_eq!(attributes.text(4), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = &bytes[..];
            while let Some((message, after)) = Message::cut(rest) {
                let _ = (message.outcome(), Attributes(message.body).text(1));
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
