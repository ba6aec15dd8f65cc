//! The introduction: what both sides send before the first message.
//!
//! ```text
//!  0                    5     6     7
//! +--------------------+-----+-----+
//! | "weave"            | min | max |   header: protocol versions accepted
//! +--------------------+-----+-----+
//!  version 2 goes on with            version 1 goes on with
//! +-----+------------------+         +----------------------------------+
//! | 0   |                  |         | one gob stream for the whole     |
//! | 1   | public key (32)  |         | life of the connection           |
//! +-----+------------------+         +----------------------------------+
//! ```
//!
//! Both sides send without waiting for each other. On version 2 the first frame is the feature
//! map.

mod features;

pub use features::{Features, FeaturesError, MAX_FEATURES, MAX_OTHERS, Refused};

use bytes::{Buf, BytesMut};

/// The protocol versions a side accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Lowest version.
    pub min: u8,
    /// Highest version.
    pub max: u8,
}

impl Header {
    /// Bytes on the wire.
    pub const SIZE: usize = 7;

    /// The bytes to send.
    #[must_use]
    pub const fn emit(self) -> [u8; Self::SIZE] {
        let [w, e, a, v, e2] = MAGIC;
        [w, e, a, v, e2, self.min, self.max]
    }

    /// Parses what the remote sent.
    ///
    /// # Errors
    /// [`IntroError::NotRecognised`] if the remote speaks something else.
    pub fn parse(bytes: [u8; Self::SIZE]) -> Result<Self, IntroError> {
        let [magic @ .., min, max] = bytes;
        if magic == MAGIC {
            Ok(Self { min, max })
        } else {
            Err(IntroError::NotRecognised(magic))
        }
    }

    /// The highest version that `self`, our side, and `theirs` both accept.
    ///
    /// # Errors
    /// [`IntroError::NoCommonVersion`] if there is none.
    pub fn negotiate(self, theirs: Self) -> Result<u8, IntroError> {
        let version = self.max.min(theirs.max);
        if version < self.min.max(theirs.min) {
            return Err(IntroError::NoCommonVersion { ours: self, theirs });
        }
        Ok(version)
    }
}

/// What a side says about encryption after the header of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// No password is configured.
    Plain,
    /// A password is configured; the public key is for this connection alone.
    Key([u8; 32]),
}

impl Encryption {
    /// Appends the bytes to send.
    pub fn emit(self, out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.push(FLAG_PLAIN),
            Self::Key(key) => {
                out.push(FLAG_KEY);
                out.extend_from_slice(&key);
            }
        }
    }
}

/// Something the remote's introduction says, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The negotiated protocol version. For version 1 what follows is a gob stream.
    Version(u8),
    /// The remote's choice, which agrees with ours. What follows are frames.
    Encryption(Encryption),
}

/// Reads the remote's introduction from whatever pieces the stream delivers.
#[derive(Debug)]
pub struct Introduction {
    ours: Header,
    has_password: bool,
    phase: Phase,
    buffer: BytesMut,
}

impl Introduction {
    /// Expects an introduction that has to agree with our header and with whether we have a
    /// password (an empty one is one).
    #[must_use]
    pub fn new(ours: Header, has_password: bool) -> Self {
        Self {
            ours,
            has_password,
            phase: Phase::Header,
            buffer: BytesMut::new(),
        }
    }

    /// Appends bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next step, `None` if more bytes are needed or the introduction is complete.
    ///
    /// # Errors
    /// An [`IntroError`] if the two sides do not fit; the connection has to end.
    pub fn pop(&mut self) -> Result<Option<Step>, IntroError> {
        match self.phase {
            Phase::Header => {
                let Some(&bytes) = self.buffer.first_chunk() else {
                    return Ok(None);
                };
                let version = self.ours.negotiate(Header::parse(bytes)?)?;
                self.buffer.advance(Header::SIZE);
                self.phase = if version >= 2 {
                    Phase::Flag
                } else {
                    Phase::Complete
                };
                Ok(Some(Step::Version(version)))
            }
            Phase::Flag => self.pop_flag(),
            Phase::Complete => Ok(None),
        }
    }

    /// Whether everything has been popped.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// What to report if the stream breaks off here for the reason `cause` (`EOF`, or the text of
    /// an I/O error).
    #[must_use]
    pub fn broken_off(&self, cause: &str) -> IntroError {
        let is_partial = !self.buffer.is_empty();
        let cause = if is_partial && cause == "EOF" {
            "unexpected EOF"
        } else {
            cause
        };
        let cause = cause.to_owned();
        match self.phase {
            Phase::Header if is_partial => IntroError::IncompleteHeader {
                received: self.buffer.to_vec(),
                cause,
            },
            Phase::Header => IntroError::NoHeader { cause },
            Phase::Flag | Phase::Complete => IntroError::BrokenOff { cause },
        }
    }

    /// The bytes behind the introduction that have been pushed.
    #[must_use]
    pub fn into_rest(self) -> BytesMut {
        self.buffer
    }

    fn pop_flag(&mut self) -> Result<Option<Step>, IntroError> {
        let Some(&flag) = self.buffer.first() else {
            return Ok(None);
        };
        let encryption = match (flag, self.has_password) {
            (FLAG_PLAIN, false) => Encryption::Plain,
            (FLAG_PLAIN, true) => return Err(IntroError::RemoteWithoutPassword),
            (FLAG_KEY, false) => return Err(IntroError::RemoteWithPassword),
            (FLAG_KEY, true) => {
                let Some(&key) = self.buffer[1..].first_chunk() else {
                    return Ok(None);
                };
                self.buffer.advance(key.len());
                Encryption::Key(key)
            }
            _ => return Err(IntroError::BadFlag(flag)),
        };
        self.buffer.advance(1);
        self.phase = Phase::Complete;
        Ok(Some(Step::Encryption(encryption)))
    }
}

/// Why an introduction fails, in the words of Weave Net. The connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntroError {
    /// The remote sent nothing.
    #[error("failed to receive remote protocol header: {cause}")]
    NoHeader {
        /// How the stream ended.
        cause: String,
    },
    /// The remote sent less than a header.
    #[error(
        "received incomplete remote protocol header ({} octets instead of 7): {}; error: {cause}",
        received.len(), decimal(received)
    )]
    IncompleteHeader {
        /// What the remote sent.
        received: Vec<u8>,
        /// How the stream ended.
        cause: String,
    },
    /// The remote speaks something else.
    #[error("remote protocol header not recognised: {}", decimal(.0))]
    NotRecognised([u8; 5]),
    /// No protocol version is accepted by both sides.
    #[error(
        "remote version range [{},{}] is incompatible with ours [{},{}]",
        theirs.min, theirs.max, ours.min, ours.max
    )]
    NoCommonVersion {
        /// What we accept.
        ours: Header,
        /// What the remote accepts.
        theirs: Header,
    },
    /// The encryption flag is neither 0 nor 1.
    #[error("Bad encryption flag {0}")]
    BadFlag(u8),
    /// We have a password and the remote has none.
    #[error("password specified, but peer requested an unencrypted connection")]
    RemoteWithoutPassword,
    /// The remote has a password and we have none. (The spelling is Weave Net's.)
    #[error("no password specificed, but peer requested an encrypted connection")]
    RemoteWithPassword,
    /// The stream ended behind the header.
    #[error("{cause}")]
    BrokenOff {
        /// How the stream ended.
        cause: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Flag,
    Complete,
}

fn decimal(bytes: &[u8]) -> String {
    let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

const MAGIC: [u8; 5] = *b"weave";
const FLAG_PLAIN: u8 = 0;
const FLAG_KEY: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Header = Header { min: 1, max: 2 };

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(OURS.negotiate(Header { min: 1, max: 9 }), Ok(2));
        assert_eq!(OURS.negotiate(Header { min: 1, max: 1 }), Ok(1));
        assert!(OURS.negotiate(Header { min: 3, max: 9 }).is_err());
    }

    #[test]
    fn the_introduction_may_arrive_in_any_pieces() {
        let mut stream = OURS.emit().to_vec();
        Encryption::Key([7; 32]).emit(&mut stream);
        stream.extend_from_slice(b"rest");

        for cut in 0..=stream.len() {
            let mut introduction = Introduction::new(OURS, true);
            let mut steps = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                introduction.push(piece);
                while let Some(step) = introduction.pop().unwrap() {
                    steps.push(step);
                }
            }
            assert_eq!(
                steps,
                [Step::Version(2), Step::Encryption(Encryption::Key([7; 32]))]
            );
            assert!(introduction.is_complete());
            assert_eq!(&introduction.into_rest()[..], b"rest", "cut at {cut}");
        }
    }

    #[test]
    fn a_remote_with_another_idea_of_passwords_is_refused_by_its_flag_alone() {
        for (flag, has_password, error) in [
            (0, true, IntroError::RemoteWithoutPassword),
            (1, false, IntroError::RemoteWithPassword),
            (9, true, IntroError::BadFlag(9)),
        ] {
            let mut introduction = Introduction::new(OURS, has_password);
            introduction.push(&OURS.emit());
            introduction.push(&[flag]);

            assert_eq!(introduction.pop(), Ok(Some(Step::Version(2))));
            assert_eq!(introduction.pop(), Err(error));
        }
    }
}
