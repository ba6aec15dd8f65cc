//! Sealed sleeve packets: NaCl secretbox under the session key of the mesh connection.
//!
//! ```text
//!  after the sender's name   0   8  S = stream << 63 | sequence number
//!                            8  16  authenticator
//!                           24   n  the records of `packet`, encrypted
//!
//!  nonce                     0   1  0x80 if the sender dialled the TCP connection, else 0
//!                            1  15  zero
//!                           16   8  S
//! ```
//!
//! Two streams per direction count on their own: packets sent with "don't fragment" and packets
//! sent without. The invariant: under one key no nonce is used twice; a number is taken for every
//! packet that is sealed, sent or not (Weave Net sleeve overlay, encrypted packet section).

use dryoc::classic::crypto_secretbox::{
    Key, Nonce, crypto_secretbox_detached, crypto_secretbox_open_detached,
};
use zeroize::Zeroizing;

use super::replay::Window;

/// Bytes in front of the records: sequence word and authenticator.
pub const OVERHEAD: usize = SEQUENCE_LEN + TAG_LEN;
const SEQUENCE_LEN: usize = 8;
const TAG_LEN: usize = 16;
const DONT_FRAGMENT: u64 = 1 << 63;

/// Which of the two streams of a direction a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Sent with "don't fragment".
    Whole,
    /// May be fragmented on its way.
    Fragmented,
}

/// Which end of the TCP connection sends; the two ends never use the same nonces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that dialled.
    Dialler,
    /// The end that was dialled.
    Acceptor,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// A packet cannot be opened. It changes nothing; count and drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not even a sequence word.
    #[error("encrypted UDP packet too short; expected length >= 8, got {0}")]
    Short(usize),
    /// Made with another key, for the other direction, or changed on its way.
    #[error("UDP packet decryption failed")]
    Forged,
    /// An authentic packet that was received before, or long ago.
    #[error("packet was received before or is too old")]
    Replayed,
}

/// The session key of a connection; wiped from memory when dropped.
#[derive(Clone)]
pub struct SessionKey(Zeroizing<Key>);

impl SessionKey {
    /// Takes over a key of 32 bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

fn nonce(side: Side, word: u64) -> Nonce {
    let mut nonce = [0; 24];
    if side == Side::Dialler {
        nonce[0] = 0x80;
    }
    nonce[16..].copy_from_slice(&word.to_be_bytes());
    nonce
}

/// Seals what one end sends. The caller keeps the counters, so that several threads can seal.
#[derive(Debug, Clone)]
pub struct Sealer {
    key: SessionKey,
    side: Side,
}

impl Sealer {
    /// For the end `side` of the connection with this key.
    #[must_use]
    pub fn new(key: SessionKey, side: Side) -> Self {
        Self { key, side }
    }

    /// Appends the sealed form of `body` to `out`: [`OVERHEAD`] bytes more than the body.
    /// `sequence` has 63 bits and must never have been used on this stream before.
    pub fn seal(&self, body: &[u8], stream: Stream, sequence: u64, out: &mut Vec<u8>) {
        let word = match stream {
            Stream::Whole => sequence | DONT_FRAGMENT,
            Stream::Fragmented => sequence & !DONT_FRAGMENT,
        };
        out.extend_from_slice(&word.to_be_bytes());
        let at = out.len();
        out.resize(at + TAG_LEN + body.len(), 0);
        let (tag, sealed) = out[at..]
            .split_first_chunk_mut::<TAG_LEN>()
            .expect("room for the tag was just made");
        crypto_secretbox_detached(sealed, tag, body, &nonce(self.side, word), &self.key.0)
            .expect("a body is shorter than the limit of the cipher and fits its own length");
    }
}

/// Opens what the other end sends, and refuses what it has seen.
#[derive(Debug)]
pub struct Opener {
    key: SessionKey,
    sender: Side,
    whole: Window,
    fragmented: Window,
}

impl Opener {
    /// For packets that the end `sender` sealed with this key.
    #[must_use]
    pub fn new(key: SessionKey, sender: Side) -> Self {
        Self {
            key,
            sender,
            whole: Window::new(),
            fragmented: Window::new(),
        }
    }

    /// Opens what follows the name of the sender. Appends the records to `body` (nothing on an
    /// error) and says which stream they came by.
    ///
    /// # Errors
    /// [`Error`]; only an authentic packet that was not seen before is opened.
    pub fn open(&mut self, sealed: &[u8], body: &mut Vec<u8>) -> Result<Stream, Error> {
        let (word, rest) = sealed
            .split_first_chunk::<SEQUENCE_LEN>()
            .ok_or(Error::Short(sealed.len()))?;
        let (tag, sealed) = rest.split_first_chunk::<TAG_LEN>().ok_or(Error::Forged)?;
        let word = u64::from_be_bytes(*word);
        let at = body.len();
        body.resize(at + sealed.len(), 0);
        let opened = crypto_secretbox_open_detached(
            &mut body[at..],
            sealed,
            tag,
            &nonce(self.sender, word),
            &self.key.0,
        );
        let (stream, window) = if word & DONT_FRAGMENT == 0 {
            (Stream::Fragmented, &mut self.fragmented)
        } else {
            (Stream::Whole, &mut self.whole)
        };
        let verdict = match opened {
            Err(_) => Err(Error::Forged),
            Ok(()) if window.accept(word & !DONT_FRAGMENT) => Ok(stream),
            Ok(()) => Err(Error::Replayed),
        };
        if verdict.is_err() {
            body.truncate(at);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn pair() -> (Sealer, Opener) {
        let key = SessionKey::new(KEY);
        (
            Sealer::new(key.clone(), Side::Dialler),
            Opener::new(key, Side::Dialler),
        )
    }

    #[test]
    fn the_streams_count_on_their_own() {
        let (sealer, mut opener) = pair();
        for stream in [Stream::Whole, Stream::Fragmented] {
            let (mut out, mut body) = (Vec::new(), Vec::new());
            sealer.seal(b"frame", stream, 4, &mut out);
            assert_eq!(out.len(), OVERHEAD + 5);
            assert_eq!(opener.open(&out, &mut body), Ok(stream));
            assert_eq!(body, b"frame");
            assert_eq!(opener.open(&out, &mut body), Err(Error::Replayed));
            assert_eq!(body, b"frame", "a refused packet leaves nothing behind");
        }
    }

    #[test]
    fn our_own_packets_sent_back_are_forged() {
        let (sealer, _) = pair();
        let mut ours = Opener::new(SessionKey::new(KEY), Side::Dialler.other());
        let mut out = Vec::new();
        sealer.seal(b"frame", Stream::Whole, 0, &mut out);
        assert_eq!(ours.open(&out, &mut Vec::new()), Err(Error::Forged));
    }

    #[test]
    fn a_forged_packet_does_not_move_the_window() {
        let (sealer, mut opener) = pair();
        let (mut good, mut far) = (Vec::new(), Vec::new());
        sealer.seal(b"a", Stream::Whole, 0, &mut good);
        sealer.seal(b"b", Stream::Whole, 9 << 20, &mut far);
        let last = far.len() - 1;
        far[last] ^= 1;
        assert_eq!(opener.open(&far, &mut Vec::new()), Err(Error::Forged));
        assert_eq!(opener.open(&good, &mut Vec::new()), Ok(Stream::Whole));
        assert_eq!(
            opener.open(&good[..23], &mut Vec::new()),
            Err(Error::Forged)
        );
        assert_eq!(
            opener.open(&good[..7], &mut Vec::new()),
            Err(Error::Short(7))
        );
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", SessionKey::new(KEY)), "SessionKey(..)");
    }
}
