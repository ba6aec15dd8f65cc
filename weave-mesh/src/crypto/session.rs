//! The key of one connection, and the two counters that make its nonces.
//!
//! ```text
//! shared  = HSalsa20(X25519(our secret, their public), 16 zero bytes)
//! session = SHA-256(shared ‖ password)
//!
//!  0     1               16               24
//! +-----+---------------+----------------+
//! | p1  | zero          | sequence       |   nonce: p = sent by the dialler, 1 = TCP
//! +-----+---------------+----------------+
//! ```
//!
//! Invariant: a sequence number is used once in each direction, and a message opens only in the
//! place in which it was sealed (Weave Net mesh protocol, "encryption").

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Password;
use super::nacl::{self, KEY, NONCE};

/// The key of one connection. It is overwritten when it is dropped, and compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey([u8; KEY]);

impl SessionKey {
    /// Mixes the password into what the two key pairs agree on.
    #[must_use]
    pub fn derive(shared: &[u8; KEY], password: &Password) -> Self {
        let mut hash = Sha256::new();
        hash.update(shared);
        hash.update(password.as_bytes());
        let mut digest = hash.finalize();
        let key = Self(digest.into());
        digest.as_mut_slice().zeroize();
        key
    }

    /// The bytes, for the data overlays that seal with the same key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SessionKey {}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side that dialled.
    Dialler,
    /// The side that accepted.
    Acceptor,
}

impl Sender {
    /// The side at the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// The nonce of message number `sequence` from `sender`.
#[must_use]
pub fn nonce(sender: Sender, sequence: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[0] = match sender {
        Sender::Dialler => FROM_DIALLER | OVER_TCP,
        Sender::Acceptor => OVER_TCP,
    };
    nonce[NONCE - 8..].copy_from_slice(&sequence.to_be_bytes());
    nonce
}

/// A message does not open: it was sealed with another key, changed, repeated, or moved. The
/// connection has to end. (The text is Weave Net's.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unable to decrypt TCP msg")]
pub struct SealError;

/// Seals one direction of a connection.
#[derive(Debug)]
pub struct Sealer {
    key: SessionKey,
    sender: Sender,
    sequence: u64,
}

impl Sealer {
    /// Starts at sequence number 0.
    #[must_use]
    pub fn new(key: SessionKey, sender: Sender) -> Self {
        Self {
            key,
            sender,
            sequence: 0,
        }
    }

    /// Appends the sealed message to `out`; what is appended has to be sent, in this order.
    ///
    /// # Panics
    /// After 2⁶⁴ messages, which no connection lives to see.
    pub fn seal(&mut self, message: &[u8], out: &mut BytesMut) {
        let nonce = nonce(self.sender, self.sequence);
        self.sequence = self
            .sequence
            .checked_add(1)
            .expect("invariant: a connection carries fewer than 2^64 messages");
        nacl::seal(self.key.as_bytes(), &nonce, message, out);
    }
}

/// Opens one direction of a connection.
#[derive(Debug)]
pub struct Opener {
    key: SessionKey,
    sender: Sender,
    sequence: u64,
}

impl Opener {
    /// Starts at sequence number 0 of what `sender` sends.
    #[must_use]
    pub fn new(key: SessionKey, sender: Sender) -> Self {
        Self {
            key,
            sender,
            sequence: 0,
        }
    }

    /// The content of the next message. The sequence number moves only if it opens.
    ///
    /// # Errors
    /// [`SealError`] if this is not the message that was sealed in this place.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Bytes, SealError> {
        let nonce = nonce(self.sender, self.sequence);
        let message = nacl::open(self.key.as_bytes(), &nonce, sealed).ok_or(SealError)?;
        self.sequence = self.sequence.checked_add(1).ok_or(SealError)?;
        Ok(message.into())
    }
}

const FROM_DIALLER: u8 = 0x80;
const OVER_TCP: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sealer, Opener) {
        let key = SessionKey::derive(&[1; KEY], &Password::new(*b"secret"));
        let sealer = Sealer::new(key.clone(), Sender::Dialler);
        (sealer, Opener::new(key, Sender::Dialler))
    }

    fn seal(sealer: &mut Sealer, message: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        sealer.seal(message, &mut out);
        out
    }

    #[test]
    fn messages_open_in_their_order_and_once() {
        let (mut sealer, mut opener) = pair();
        let first = seal(&mut sealer, b"first");
        let second = seal(&mut sealer, b"second");

        assert_eq!(opener.open(&second), Err(SealError));
        assert_eq!(opener.open(&first).unwrap(), "first");
        assert_eq!(opener.open(&first), Err(SealError));
        assert_eq!(opener.open(&second).unwrap(), "second");
    }

    #[test]
    fn a_message_cannot_be_sent_back_to_its_sender() {
        let (mut sealer, _) = pair();
        let key = SessionKey::derive(&[1; KEY], &Password::new(*b"secret"));
        let mut opener = Opener::new(key, Sender::Acceptor);

        assert_eq!(opener.open(&seal(&mut sealer, b"mirror")), Err(SealError));
    }

    #[test]
    fn nonces_differ_by_sender_and_count() {
        assert_eq!(nonce(Sender::Dialler, 0)[0], 0xc0);
        assert_eq!(nonce(Sender::Acceptor, 0)[0], 0x40);
        assert_eq!(
            nonce(Sender::Acceptor, 0x0102)[16..],
            [0, 0, 0, 0, 0, 0, 1, 2]
        );
    }

    #[test]
    fn keys_are_not_shown() {
        let (sealer, _) = pair();

        assert!(format!("{sealer:?}").contains("SessionKey(..)"));
    }
}
