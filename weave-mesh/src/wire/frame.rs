//! Frames: where one message ends and the next begins.
//!
//! ```text
//!  0        4
//! +--------+----------------+
//! | length | message        |   version 2: length is u32, big-endian, bytes after itself
//! +--------+----------------+
//! +--------+----+----+---+---------+
//! | length | 0a | 00 | n | message |   version 1: a gob value of type bytes; length and n are
//! +--------+----+----+---+---------+   gob integers
//! ```
//!
//! On version 1 all frames of a direction are one gob stream, which the feature map begins.

use bytes::{Buf, Bytes, BytesMut};

use crate::gob::{self, Cursor};

/// The largest message, in bytes after the length (mesh protocol, "version 2 framing"). Weave Net
/// has no such bound on version 1; here it is the same.
pub const MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Protocol version 2.
    Length,
    /// Protocol version 1.
    Gob,
}

/// Puts frames together from whatever pieces the stream delivers.
///
/// It holds what was pushed and not popped, so a caller that pops after every push holds less
/// than one message and one piece, and nothing between two messages. A length alone reserves
/// nothing.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    framing: Framing,
    limit: usize,
}

impl FrameReader {
    /// A reader of version 2 that accepts messages up to [`MAX_MESSAGE`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_framing(Framing::Length)
    }

    /// A reader that accepts messages up to [`MAX_MESSAGE`].
    #[must_use]
    pub fn with_framing(framing: Framing) -> Self {
        Self {
            buffer: BytesMut::new(),
            framing,
            limit: MAX_MESSAGE,
        }
    }

    /// Accepts only messages up to `limit` bytes from here on, at most [`MAX_MESSAGE`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_MESSAGE);
    }

    /// Appends bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError::IncomingTooLong`] as soon as the length is known, [`FrameError::Gob`] if a
    /// stream of version 1 holds anything but byte strings; the stream cannot go on.
    pub fn pop(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.whole()? else {
            return Ok(None);
        };
        self.buffer.advance(prefix.size);
        let frame = self.take(prefix.length);
        match self.framing {
            Framing::Length => Ok(Some(frame)),
            Framing::Gob => Ok(Some(frame.slice_ref(byte_string(&frame)?))),
        }
    }

    /// The next complete message of the gob stream that a feature map of version 1 is made of: a
    /// definition or a value, its length in front; `None` if more bytes are needed.
    ///
    /// # Errors
    /// As for [`FrameReader::pop`].
    pub fn pop_gob(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.whole()? else {
            return Ok(None);
        };
        Ok(Some(self.take(prefix.size + prefix.length)))
    }

    /// Whether the stream may end here: no frame has been begun.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes bytes that are there. What is left of the memory is not kept for the next ones: a peer
    /// has hundreds of connections, and most of the time nothing arrives on them.
    fn take(&mut self, length: usize) -> Bytes {
        let taken = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        taken
    }

    /// Where the next frame is, if all of it has arrived.
    fn whole(&self) -> Result<Option<Prefix>, FrameError> {
        let (prefix, overhead) = match self.framing {
            Framing::Length => (length_prefix(&self.buffer), 0),
            Framing::Gob => (gob_prefix(&self.buffer)?, GOB_OVERHEAD),
        };
        let Some(Prefix { size, length }) = prefix else {
            return Ok(None);
        };
        if length > self.limit + overhead {
            let limit = if length > MAX_MESSAGE + overhead {
                MAX_MESSAGE
            } else {
                self.limit
            };
            return Err(FrameError::IncomingTooLong { length, limit });
        }
        let is_whole = self.buffer.len() - size >= length;
        Ok(prefix.filter(|_| is_whole))
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The frame of version 2 that carries `message`.
///
/// # Errors
/// [`FrameError::OutgoingTooLong`] over [`MAX_MESSAGE`].
pub fn encode(message: &[u8]) -> Result<Bytes, FrameError> {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    put_prefix(&mut frame, Framing::Length, message.len())?;
    frame.extend_from_slice(message);
    Ok(frame.freeze())
}

/// Appends what goes in front of a message of `length` bytes.
///
/// # Errors
/// [`FrameError::OutgoingTooLong`] over [`MAX_MESSAGE`]; nothing is appended then.
pub(crate) fn put_prefix(
    out: &mut BytesMut,
    framing: Framing,
    length: usize,
) -> Result<(), FrameError> {
    let limit = MAX_MESSAGE;
    let short = u32::try_from(length)
        .ok()
        .filter(|_| length <= limit)
        .ok_or(FrameError::OutgoingTooLong { length, limit })?;
    match framing {
        Framing::Length => out.extend_from_slice(&short.to_be_bytes()),
        Framing::Gob => {
            let mut head = GOB_HEAD.to_vec();
            gob::put_uint(&mut head, u64::from(short));
            let mut prefix = Vec::with_capacity(PREFIX + head.len());
            gob::put_uint(&mut prefix, u64::from(short) + head.len() as u64);
            out.extend_from_slice(&prefix);
            out.extend_from_slice(&head);
        }
    }
    Ok(())
}

/// A message that cannot be framed, in the words of Weave Net.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The remote announces a message that is too long; the connection has to end.
    #[error("incoming message exceeds maximum size: {length} > {limit}")]
    IncomingTooLong {
        /// Announced length in bytes.
        length: usize,
        /// Largest length accepted.
        limit: usize,
    },
    /// A stream of version 1 holds something other than byte strings; the connection has to end.
    #[error(transparent)]
    Gob(#[from] gob::Error),
    /// A message of ours is too long to be sent; nothing was written.
    #[error("outgoing message exceeds maximum size: {length} > {limit}")]
    OutgoingTooLong {
        /// Length in bytes.
        length: usize,
        /// Largest length accepted.
        limit: usize,
    },
}

/// A length and the bytes it takes.
#[derive(Clone, Copy)]
struct Prefix {
    size: usize,
    length: usize,
}

fn length_prefix(buffer: &[u8]) -> Option<Prefix> {
    let length = u32::from_be_bytes(*buffer.first_chunk::<PREFIX>()?);
    Some(Prefix {
        size: PREFIX,
        length: usize::try_from(length).unwrap_or(usize::MAX),
    })
}

/// `None` if the integer is not complete.
fn gob_prefix(buffer: &[u8]) -> Result<Option<Prefix>, FrameError> {
    let Some(&first) = buffer.first() else {
        return Ok(None);
    };
    let width = match first {
        0..0x80 => 0,
        wide => usize::from(wide.wrapping_neg()),
    };
    if width <= 8 && buffer.len() <= width {
        return Ok(None);
    }
    let length = Cursor::new(buffer).uint()?;
    Ok(Some(Prefix {
        size: 1 + width,
        length: usize::try_from(length).unwrap_or(usize::MAX),
    }))
}

/// The content of a gob value of type bytes.
fn byte_string(value: &[u8]) -> Result<&[u8], gob::Error> {
    let Some(rest) = value.strip_prefix(&GOB_HEAD) else {
        return Err(gob::Error::WrongKind {
            wanted: "bytes",
            found: "another kind",
        });
    };
    Cursor::new(rest).bytes()
}

const PREFIX: usize = 4;
/// Type id of bytes as a gob integer, and the mark of a value that is no struct.
const GOB_HEAD: [u8; 2] = [0x0a, 0x00];
/// The most bytes of a gob value besides its content: the head and a length of up to nine bytes.
const GOB_OVERHEAD: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        for message in [&b"one"[..], b"", b"three"] {
            stream.extend_from_slice(&encode(message).unwrap());
        }

        for cut in 0..=stream.len() {
            let mut reader = FrameReader::new();
            let mut messages = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                reader.push(piece);
                while let Some(message) = reader.pop().unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [&b"one"[..], b"", b"three"], "cut at {cut}");
            assert!(reader.is_between_frames());
        }
    }

    #[test]
    fn between_two_messages_no_memory_is_held() {
        let mut reader = FrameReader::new();
        reader.push(&encode(&vec![7; 60_000]).unwrap());
        let message = reader.pop().unwrap().unwrap();

        assert_eq!((message.len(), reader.buffer.capacity()), (60_000, 0));
        assert!(message.try_into_mut().is_ok(), "nobody else holds it");
    }

    #[test]
    fn the_limit_is_inclusive_and_checked_before_the_body_arrives() {
        let mut reader = FrameReader::new();
        reader.push(&[0x00, 0xa0, 0x00, 0x00]);
        assert_eq!(reader.pop(), Ok(None));

        let mut reader = FrameReader::new();
        reader.push(&[0x00, 0xa0, 0x00, 0x01]);
        assert_eq!(
            reader.pop().unwrap_err().to_string(),
            "incoming message exceeds maximum size: 10485761 > 10485760"
        );
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        assert!(encode(&vec![0; MAX_MESSAGE]).is_ok());
        assert_eq!(
            encode(&vec![0; MAX_MESSAGE + 1]).unwrap_err().to_string(),
            "outgoing message exceeds maximum size: 10485761 > 10485760"
        );
    }

    #[test]
    fn frames_of_version_1_are_byte_strings_of_one_gob_stream() {
        let mut stream = BytesMut::new();
        let long = vec![7; 300];
        for message in [&b"one"[..], b"", &long] {
            put_prefix(&mut stream, Framing::Gob, message.len()).unwrap();
            stream.extend_from_slice(message);
        }
        assert_eq!(stream[..7], *b"\x06\x0a\x00\x03one");

        for cut in 0..=stream.len() {
            let mut reader = FrameReader::with_framing(Framing::Gob);
            let mut messages = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                reader.push(piece);
                while let Some(message) = reader.pop().unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [&b"one"[..], b"", &long], "cut at {cut}");
            assert!(reader.is_between_frames());
        }
    }

    #[test]
    fn version_1_has_the_same_bounds_and_nothing_but_byte_strings() {
        for (bytes, text) in [
            (
                &[0xfd, 0xa0, 0x01, 0x00][..],
                "incoming message exceeds maximum size: 10486016 > 10485760",
            ),
            (&[0xf7][..], "gob: encoded unsigned integer out of range"),
            (
                &[4, 0x0c, 0, 1, b'x'][..],
                "gob: wrong type: another kind where bytes is needed",
            ),
        ] {
            let mut reader = FrameReader::with_framing(Framing::Gob);
            reader.push(bytes);
            assert_eq!(reader.pop().unwrap_err().to_string(), text);
        }
        let mut reader = FrameReader::with_framing(Framing::Gob);
        reader.push(&[0xf8, 1, 2]);
        assert_eq!(reader.pop(), Ok(None), "the length is not complete");
    }

    #[test]
    fn a_lower_limit_names_itself() {
        let mut reader = FrameReader::new();
        reader.set_limit(8);
        reader.push(&[0, 0, 0, 9]);

        assert_eq!(
            reader.pop(),
            Err(FrameError::IncomingTooLong {
                length: 9,
                limit: 8
            })
        );
    }
}
