//! The introduction at the start of a connection, without I/O.
//!
//! Both sides send without waiting for the other: the header at once, the encryption flag as soon
//! as the version is known, then the features (Weave Net mesh protocol, "TCP introduction"). Only
//! an acceptor with a password waits with its features until the remote's have opened, and one that
//! [holds back](Handshake::hold_back) until it has been decided whether the remote may stay. So two
//! sides never wait for each other: a dialler waits for nothing.
//!
//! Invariant: until [`Introduced`] comes out the remote has cost one key agreement, one attempt to
//! open a message for each password, and memory for [`MAX_FEATURES`] (on version 1 with a password
//! [`MAX_PROOF`]) and one piece of its stream.

use bytes::{Bytes, BytesMut};

use super::channel::{self, Incoming, Outgoing};
use crate::crypto::nacl::TAG;
use crate::crypto::session::Sender;
use crate::crypto::{Agreed, Agreement, AgreementError, Credentials, Password, SessionKey};
use crate::wire::frame::{FrameError, FrameReader, Framing, MAX_MESSAGE};
use crate::wire::intro::{
    Encryption, Features, FeaturesError, Header, IntroError, Introduction, MAX_FEATURES, Refused,
    Step,
};
use crate::wire::message::Message;

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
    /// Until the remote's public key is known.
    credentials: Option<Credentials>,
    is_dialler: bool,
    is_holding_back: bool,
    stage: Stage,
    /// Negotiated, once the remote's header has been read.
    version: Option<u8>,
    output: BytesMut,
}

#[derive(Debug)]
enum Stage {
    Introduction(Introduction),
    /// Version 2: the features are a frame, sealed if there is an agreement.
    Features(FrameReader, Option<Agreement>),
    /// Version 1: the features are a gob stream of their own, collected here.
    Legacy(FrameReader, BytesMut),
    /// Version 1 with a password: the first message behind the features shows who knows it.
    Proof(FrameReader, Box<Features>, Agreement),
    Done,
}

/// The outcome: who the remote is, and the stream behind its introduction.
#[derive(Debug)]
pub struct Introduced {
    /// Negotiated protocol version.
    pub version: u8,
    /// What the remote says about itself.
    pub features: Features,
    /// The same number on both sides, random for each connection.
    pub connection_uid: u64,
    /// Reads what the remote sends; holds what has arrived already.
    pub incoming: Incoming,
    /// Writes what we send.
    pub outgoing: Outgoing,
    /// The connection's key and the password it follows from, if there is one.
    pub sealed: Option<(SessionKey, Password)>,
    /// Our features, if they are held back.
    unsaid: Option<Features>,
}

impl Introduced {
    /// Says what was held back, and why the connection ends, if it does. Appends nothing the second
    /// time, or if nothing was held back.
    ///
    /// # Errors
    /// As for [`Outgoing::put`].
    pub fn say(&mut self, refused: Option<Refused>, out: &mut BytesMut) -> Result<(), FrameError> {
        let Some(features) = self.unsaid.take() else {
            return Ok(());
        };
        let said = Features {
            refused,
            ..features
        };
        self.outgoing.put(&said.encode(), out)
    }
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
    /// The remote does not use the password we chose.
    #[error(transparent)]
    Password(#[from] AgreementError),
    /// The stream ended before the features were complete.
    #[error("{0}")]
    BrokenOff(String),
    /// The remote ended the stream after it had seen something sealed with our password and
    /// before it had answered. One of ours does so if it does not know the password.
    #[error("{0} (the remote may have another password)")]
    Unanswered(String),
}

impl Handshake {
    /// Starts a handshake without a password. The header is ready to be taken.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        Self::start(offer, None)
    }

    /// Starts a handshake with passwords. The header is ready to be taken.
    #[must_use]
    pub fn with_password(offer: Offer, credentials: Credentials) -> Self {
        Self::start(offer, Some(credentials))
    }

    fn start(offer: Offer, credentials: Option<Credentials>) -> Self {
        let output = BytesMut::from(&offer.versions.emit()[..]);
        let introduction = Introduction::new(offer.versions, credentials.is_some());
        Self {
            offer,
            is_dialler: credentials
                .as_ref()
                .is_some_and(|credentials| credentials.role == Sender::Dialler),
            credentials,
            is_holding_back: false,
            stage: Stage::Introduction(introduction),
            version: None,
            output,
        }
    }

    /// Has an acceptor of version 2 say nothing about itself before the remote has, and then only by
    /// [`Introduced::say`]. A remote that is refused so knows at once, and lists no connection.
    pub fn hold_back(&mut self) {
        self.is_holding_back = !self.is_dialler;
    }

    /// Takes in bytes of the remote; the outcome once it is introduced.
    ///
    /// # Errors
    ///
    /// A [`HandshakeError`]; after it the handshake is of no more use.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Introduced>, HandshakeError> {
        match &mut self.stage {
            Stage::Introduction(introduction) => introduction.push(bytes),
            Stage::Features(frames, _) | Stage::Legacy(frames, _) | Stage::Proof(frames, ..) => {
                frames.push(bytes);
            }
            Stage::Done => return Ok(None),
        }
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Done);
            match self.advance(stage)? {
                Progress::Introduced(introduced) => return Ok(Some(*introduced)),
                Progress::Next(stage) => self.stage = stage,
                Progress::Waiting(stage) => {
                    self.stage = stage;
                    return Ok(None);
                }
            }
        }
    }

    /// The error to report if the stream ends here, `cause` being `EOF` or the text of an error.
    #[must_use]
    pub fn broken_off(&self, cause: &str) -> HandshakeError {
        let is_partial = match &self.stage {
            Stage::Introduction(introduction) => return introduction.broken_off(cause).into(),
            Stage::Features(_, Some(_)) | Stage::Proof(..) if self.is_dialler => {
                return HandshakeError::Unanswered(cause.to_owned());
            }
            Stage::Features(frames, _) | Stage::Legacy(frames, _) | Stage::Proof(frames, ..) => {
                !frames.is_between_frames()
            }
            Stage::Done => false,
        };
        let cause = match cause {
            "EOF" if is_partial => "unexpected EOF",
            cause => cause,
        };
        HandshakeError::BrokenOff(cause.to_owned())
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

    fn advance(&mut self, stage: Stage) -> Result<Progress, HandshakeError> {
        match stage {
            Stage::Introduction(introduction) => self.advance_introduction(introduction),
            Stage::Features(frames, agreement) => self.advance_features(frames, agreement),
            Stage::Legacy(frames, collected) => self.advance_legacy(frames, collected),
            Stage::Proof(frames, features, agreement) => {
                self.advance_proof(frames, features, agreement)
            }
            Stage::Done => Ok(Progress::Waiting(Stage::Done)),
        }
    }

    fn advance_introduction(
        &mut self,
        mut introduction: Introduction,
    ) -> Result<Progress, HandshakeError> {
        let mut agreement = None;
        while let Some(step) = introduction.pop()? {
            match step {
                Step::Version(version) => {
                    self.version = Some(version);
                    self.announce(version)?;
                }
                Step::Encryption(Encryption::Plain) => {}
                Step::Encryption(Encryption::Key(theirs)) => {
                    agreement = self.agree(&theirs, Framing::Length)?;
                }
            }
        }
        if !introduction.is_complete() {
            return Ok(Progress::Waiting(Stage::Introduction(introduction)));
        }
        let framing = self.framing();
        let mut frames = FrameReader::with_framing(framing);
        frames.set_limit(MAX_FEATURES + TAG);
        frames.push(&introduction.into_rest());
        Ok(Progress::Next(match framing {
            Framing::Length => Stage::Features(frames, agreement),
            Framing::Gob => Stage::Legacy(frames, BytesMut::new()),
        }))
    }

    /// Says what may be said once the version is known.
    fn announce(&mut self, version: u8) -> Result<(), HandshakeError> {
        let public_key = self
            .credentials
            .as_ref()
            .map(|credentials| credentials.secret.public());
        let features = &self.offer.features;
        if version == 1 {
            let stream = features.encode_legacy(public_key.as_ref());
            self.output.extend_from_slice(&stream);
            return Ok(());
        }
        let mut flag = Vec::new();
        match public_key {
            Some(key) => Encryption::Key(key).emit(&mut flag),
            None => Encryption::Plain.emit(&mut flag),
        }
        self.output.extend_from_slice(&flag);
        if public_key.is_none() && !self.is_holding_back {
            let features = features.encode();
            channel::put(Framing::Length, None, &features, &mut self.output)?;
        }
        Ok(())
    }

    /// Agrees on a shared key; a dialler goes on to say something that is sealed.
    fn agree(
        &mut self,
        theirs: &[u8; 32],
        framing: Framing,
    ) -> Result<Option<Agreement>, HandshakeError> {
        let Some(credentials) = self.credentials.take() else {
            return Ok(None);
        };
        let mut agreement = Agreement::new(credentials, theirs)?;
        if let Some(sealer) = agreement.sealer() {
            let said = first_words(&self.offer.features, framing);
            channel::put(framing, Some(sealer), &said, &mut self.output)?;
        }
        Ok(Some(agreement))
    }

    fn advance_features(
        &mut self,
        mut frames: FrameReader,
        agreement: Option<Agreement>,
    ) -> Result<Progress, HandshakeError> {
        let Some(message) = frames.pop()? else {
            return Ok(Progress::Waiting(Stage::Features(frames, agreement)));
        };
        let Some(agreement) = agreement else {
            let features = Features::decode(&message)?;
            return Ok(self.introduce(frames, features, None));
        };
        let agreed = self.settle(agreement, &message, Framing::Length)?;
        let features = Features::decode(&agreed.message)?;
        Ok(self.introduce(frames, features, Some((agreed, None))))
    }

    fn advance_legacy(
        &mut self,
        mut frames: FrameReader,
        mut collected: BytesMut,
    ) -> Result<Progress, HandshakeError> {
        loop {
            let Some(message) = frames.pop_gob()? else {
                return Ok(Progress::Waiting(Stage::Legacy(frames, collected)));
            };
            collected.extend_from_slice(&message);
            if collected.len() > MAX_FEATURES {
                return Err(FeaturesError::TooLong(collected.len()).into());
            }
            if !is_definition(&message) {
                break;
            }
        }
        let (features, public_key) = Features::decode_legacy(&collected)?;
        match (public_key, self.credentials.is_some()) {
            (None, false) => Ok(self.introduce(frames, features, None)),
            (None, true) => Err(IntroError::RemoteWithoutPassword.into()),
            (Some(_), false) => Err(IntroError::RemoteWithPassword.into()),
            (Some(theirs), true) => match self.agree(&theirs, Framing::Gob)? {
                Some(agreement) => {
                    let features = Box::new(features);
                    Ok(Progress::Next(Stage::Proof(frames, features, agreement)))
                }
                None => Ok(Progress::Waiting(Stage::Done)),
            },
        }
    }

    fn advance_proof(
        &mut self,
        mut frames: FrameReader,
        features: Box<Features>,
        agreement: Agreement,
    ) -> Result<Progress, HandshakeError> {
        frames.set_limit(MAX_PROOF);
        let Some(message) = frames.pop()? else {
            return Ok(Progress::Waiting(Stage::Proof(frames, features, agreement)));
        };
        let agreed = self.settle(agreement, &message, Framing::Gob)?;
        let first = agreed.message.clone();
        Ok(self.introduce(frames, *features, Some((agreed, Some(first)))))
    }

    /// Finds the password; an acceptor then says what it has kept back.
    fn settle(
        &mut self,
        agreement: Agreement,
        sealed: &Bytes,
        framing: Framing,
    ) -> Result<Agreed, HandshakeError> {
        let mut agreed = agreement.settle(sealed)?;
        let is_held_back = self.is_holding_back && framing == Framing::Length;
        if !self.is_dialler && !is_held_back {
            let said = first_words(&self.offer.features, framing);
            channel::put(framing, Some(&mut agreed.sealer), &said, &mut self.output)?;
        }
        Ok(agreed)
    }

    fn introduce(
        &mut self,
        mut frames: FrameReader,
        features: Features,
        agreed: Option<(Agreed, Option<Bytes>)>,
    ) -> Progress {
        frames.set_limit(MAX_MESSAGE);
        let framing = self.framing();
        let connection_uid = self.offer.features.connection_uid(&features);
        let version = self.version.unwrap_or_default();
        let (incoming, outgoing, sealed) = match agreed {
            None => (
                Incoming::new(frames, None, None),
                Outgoing::new(framing, None),
                None,
            ),
            Some((agreed, first)) => (
                Incoming::new(frames, Some(agreed.opener), first),
                Outgoing::new(framing, Some(agreed.sealer)),
                Some((agreed.key, agreed.password)),
            ),
        };
        let is_held_back = self.is_holding_back && framing == Framing::Length;
        let unsaid = is_held_back.then(|| self.offer.features.clone());
        Progress::Introduced(Box::new(Introduced {
            version,
            features,
            connection_uid,
            incoming,
            outgoing,
            sealed,
            unsaid,
        }))
    }

    fn framing(&self) -> Framing {
        match self.version {
            Some(1) => Framing::Gob,
            _ => Framing::Length,
        }
    }
}

enum Progress {
    /// Go on at once.
    Next(Stage),
    /// More bytes are needed.
    Waiting(Stage),
    Introduced(Box<Introduced>),
}

/// The largest first message behind the features on version 1, where it is what shows that the
/// remote knows the password: Weave Net's may be its complete topology.
pub const MAX_PROOF: usize = 1024 * 1024;

/// What is sealed first: the features, or, on version 1, which has sent them in clear, a heartbeat.
fn first_words(features: &Features, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Length => features.encode(),
        Framing::Gob => Message::Heartbeat.emit(),
    }
}

/// Whether a message of a gob stream defines a type: its id, behind the length, is negative.
fn is_definition(message: &[u8]) -> bool {
    let mut cursor = crate::gob::Cursor::new(message);
    cursor.uint().is_ok() && cursor.int().is_ok_and(|id| id < 0)
}
