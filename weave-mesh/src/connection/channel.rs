//! The two directions of a connection behind its introduction: framing, and sealing if there is a
//! password.
//!
//! Invariant: a message takes its sequence number exactly when its bytes are appended to the
//! output, so the order of the output is the order in which the remote opens it.

use bytes::{Bytes, BytesMut};

use crate::crypto::nacl::TAG;
use crate::crypto::session::{Opener, SealError, Sealer};
use crate::wire::frame::{self, FrameError, FrameReader, Framing, MAX_MESSAGE};

/// The largest message that fits a frame on every connection, sealed or not.
pub const MAX_CONTENT: usize = MAX_MESSAGE - TAG;

/// What we send.
#[derive(Debug)]
pub struct Outgoing {
    framing: Framing,
    sealer: Option<Sealer>,
}

impl Outgoing {
    /// A direction without a password if `sealer` is `None`.
    #[must_use]
    pub fn new(framing: Framing, sealer: Option<Sealer>) -> Self {
        Self { framing, sealer }
    }

    /// Appends the frame that carries `message`. What is appended has to be sent, in this order.
    ///
    /// # Errors
    /// [`FrameError::OutgoingTooLong`]; nothing is appended then, and the next message takes this
    /// one's place.
    pub fn put(&mut self, message: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
        put(self.framing, self.sealer.as_mut(), message, out)
    }
}

/// Appends the frame that carries `message`, sealed if there is a sealer.
pub(super) fn put(
    framing: Framing,
    sealer: Option<&mut Sealer>,
    message: &[u8],
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    let overhead = if sealer.is_some() { TAG } else { 0 };
    frame::put_prefix(out, framing, message.len() + overhead)?;
    match sealer {
        Some(sealer) => sealer.seal(message, out),
        None => out.extend_from_slice(message),
    }
    Ok(())
}

/// What the remote sends.
#[derive(Debug)]
pub struct Incoming {
    frames: FrameReader,
    opener: Option<Opener>,
    /// A message that was read during the introduction.
    first: Option<Bytes>,
}

impl Incoming {
    pub(super) fn new(frames: FrameReader, opener: Option<Opener>, first: Option<Bytes>) -> Self {
        Self {
            frames,
            opener,
            first,
        }
    }

    /// Appends bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next complete message, opened; `None` if more bytes are needed.
    ///
    /// # Errors
    /// An [`IncomingError`]; the stream cannot go on.
    pub fn pop(&mut self) -> Result<Option<Bytes>, IncomingError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(frame) = self.frames.pop()? else {
            return Ok(None);
        };
        match &mut self.opener {
            Some(opener) => Ok(Some(opener.open(&frame)?)),
            None => Ok(Some(frame)),
        }
    }

    /// Whether the stream may end here: no frame has been begun.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.frames.is_between_frames()
    }
}

/// Why what the remote sends cannot be read on. The connection has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// A frame is too long or none.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message is not what the remote sealed in this place.
    #[error(transparent)]
    Seal(#[from] SealError),
}
