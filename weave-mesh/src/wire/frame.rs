//! Frames of protocol version 2: a length, then that many bytes.
//!
//! ```text
//!  0        4
//! +--------+----------------+
//! | length | message        |   length: u32, big-endian, bytes after itself
//! +--------+----------------+
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// The largest message, in bytes after the length (mesh protocol, "version 2 framing").
pub const MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// Puts frames together from whatever pieces the stream delivers.
///
/// It holds what was pushed and not popped, so a caller that pops after every push holds less
/// than one message and one piece. A length alone reserves nothing.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    limit: usize,
}

impl FrameReader {
    /// A reader that accepts messages up to [`MAX_MESSAGE`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
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
    /// [`FrameError::IncomingTooLong`] as soon as the length is known; the stream cannot go on.
    pub fn pop(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.limit {
            let limit = if length > MAX_MESSAGE {
                MAX_MESSAGE
            } else {
                self.limit
            };
            return Err(FrameError::IncomingTooLong { length, limit });
        }
        if self.buffer.len() - PREFIX < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether the stream may end here: no frame has been begun.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The frame that carries `message`.
///
/// # Errors
/// [`FrameError::OutgoingTooLong`] over [`MAX_MESSAGE`].
pub fn encode(message: &[u8]) -> Result<Bytes, FrameError> {
    let length = u32::try_from(message.len())
        .ok()
        .filter(|_| message.len() <= MAX_MESSAGE)
        .ok_or(FrameError::OutgoingTooLong {
            length: message.len(),
            limit: MAX_MESSAGE,
        })?;
    let mut frame = Vec::with_capacity(PREFIX + message.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame.into())
}

/// A message over the limit, in the words of Weave Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
    /// A message of ours is too long to be sent; nothing was written.
    #[error("outgoing message exceeds maximum size: {length} > {limit}")]
    OutgoingTooLong {
        /// Length in bytes.
        length: usize,
        /// Largest length accepted.
        limit: usize,
    },
}

const PREFIX: usize = 4;

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
