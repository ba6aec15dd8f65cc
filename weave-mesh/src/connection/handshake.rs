//! The introduction at the start of a connection, without I/O.
//!
//! Both sides send without waiting for the other: the header at once, the encryption flag and the
//! features as soon as the version is known (Weave Net mesh protocol, sections 1.1 to 1.8). Until
//! it is complete a remote can make us hold one feature map and one piece of its stream.

use bytes::BytesMut;

use crate::wire::frame::{self, FrameError, FrameReader, MAX_MESSAGE};
use crate::wire::intro::{
    Encryption, Features, FeaturesError, Header, IntroError, Introduction, MAX_FEATURES, Step,
};

/// What this side says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Protocol versions to accept.
    pub versions: Header,
    /// Features to announce.
    pub features: Features,
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake {
    offer: Offer,
    stage: Stage,
    /// Negotiated, once the remote's header has been read.
    version: Option<u8>,
    output: BytesMut,
}

#[derive(Debug)]
enum Stage {
    Introduction(Introduction),
    Features(FrameReader),
    Done,
}

/// The outcome: who the remote is, and the stream behind its features.
#[derive(Debug)]
pub struct Introduced {
    /// Negotiated protocol version.
    pub version: u8,
    /// What the remote says about itself.
    pub features: Features,
    /// The same number on both sides, random for each connection.
    pub connection_uid: u64,
    /// Holds what arrived behind the features.
    pub frames: FrameReader,
}

/// Why a handshake fails. The remote is at fault, or the two sides do not fit; the connection has
/// to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Header or encryption flag.
    #[error(transparent)]
    Intro(#[from] IntroError),
    /// The feature map is too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The feature map cannot be used.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// The only common version is one this peer does not speak.
    #[error("protocol version {0} is not supported")]
    Version(u8),
    /// The stream ended before the features were complete.
    #[error("{0}")]
    BrokenOff(String),
}

impl Handshake {
    /// Starts a handshake. The header is ready to be taken.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        let output = BytesMut::from(&offer.versions.emit()[..]);
        let introduction = Introduction::new(offer.versions, false);
        Self {
            offer,
            stage: Stage::Introduction(introduction),
            version: None,
            output,
        }
    }

    /// Takes in bytes of the remote; the outcome once its features are complete.
    ///
    /// # Errors
    ///
    /// A [`HandshakeError`]; after it the handshake is of no more use.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Introduced>, HandshakeError> {
        match &mut self.stage {
            Stage::Introduction(introduction) => introduction.push(bytes),
            Stage::Features(frames) => frames.push(bytes),
            Stage::Done => return Ok(None),
        }
        self.advance_introduction()?;
        self.advance_features()
    }

    /// The error to report if the stream ends here, `cause` being `EOF` or the text of an error.
    #[must_use]
    pub fn broken_off(&self, cause: &str) -> HandshakeError {
        match &self.stage {
            Stage::Introduction(introduction) => introduction.broken_off(cause).into(),
            Stage::Features(frames) if !frames.is_between_frames() && cause == "EOF" => {
                HandshakeError::BrokenOff("unexpected EOF".to_owned())
            }
            Stage::Features(_) | Stage::Done => HandshakeError::BrokenOff(cause.to_owned()),
        }
    }

    /// True once the remote's header has been read.
    #[must_use]
    pub fn has_version(&self) -> bool {
        self.version.is_some()
    }

    /// Takes the bytes to send.
    pub fn take_output(&mut self) -> BytesMut {
        self.output.split()
    }

    fn advance_introduction(&mut self) -> Result<(), HandshakeError> {
        let Stage::Introduction(introduction) = &mut self.stage else {
            return Ok(());
        };
        while let Some(step) = introduction.pop()? {
            match step {
                Step::Version(version) => {
                    if version != SUPPORTED_VERSION {
                        return Err(HandshakeError::Version(version));
                    }
                    self.version = Some(version);
                    let mut flag = Vec::new();
                    Encryption::Plain.emit(&mut flag);
                    self.output.extend_from_slice(&flag);
                    self.output
                        .extend_from_slice(&frame::encode(&self.offer.features.encode())?);
                }
                Step::Encryption(_) => {}
            }
        }
        if introduction.is_complete() {
            let done = std::mem::replace(&mut self.stage, Stage::Done);
            if let Stage::Introduction(introduction) = done {
                let mut frames = FrameReader::new();
                frames.set_limit(MAX_FEATURES);
                frames.push(&introduction.into_rest());
                self.stage = Stage::Features(frames);
            }
        }
        Ok(())
    }

    fn advance_features(&mut self) -> Result<Option<Introduced>, HandshakeError> {
        let (Stage::Features(frames), Some(version)) = (&mut self.stage, self.version) else {
            return Ok(None);
        };
        let Some(message) = frames.pop()? else {
            return Ok(None);
        };
        let features = Features::decode(&message)?;
        let mut frames = std::mem::take(frames);
        frames.set_limit(MAX_MESSAGE);
        self.stage = Stage::Done;
        let connection_uid = self.offer.features.connection_uid(&features);
        Ok(Some(Introduced {
            version,
            features,
            connection_uid,
            frames,
        }))
    }
}

/// The version whose features come as a frame.
const SUPPORTED_VERSION: u8 = 2;
