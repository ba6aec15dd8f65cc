//! `NaCl` box and secretbox: X25519, `HSalsa20`, `XSalsa20-Poly1305`.
//!
//! The only file that names the crate that computes them. Tags are compared in constant time by
//! that crate; secrets are overwritten when they are dropped.

use dryoc::classic::crypto_box::crypto_box_beforenm;
use dryoc::classic::crypto_core::crypto_scalarmult_base;
use dryoc::classic::crypto_secretbox::{crypto_secretbox_detached, crypto_secretbox_open_detached};
use zeroize::Zeroizing;

/// Bytes by which a sealed message is longer than its content.
pub const TAG: usize = 16;

/// Bytes of a key, secret, public or shared.
pub const KEY: usize = 32;

/// Bytes of a nonce.
pub const NONCE: usize = 24;

/// The secret half of a key pair for one connection.
pub struct SecretKey(Zeroizing<[u8; KEY]>);

impl SecretKey {
    /// A key from random bytes, which need not be clamped.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The half to be sent.
    #[must_use]
    pub fn public(&self) -> [u8; KEY] {
        let mut public = [0; KEY];
        crypto_scalarmult_base(&mut public, &self.0);
        public
    }

    /// What both sides compute from their own secret and the other's public half; `None` if the
    /// other's is one of the few points that give everybody the same result.
    #[must_use]
    pub fn agree(&self, theirs: &[u8; KEY]) -> Option<Zeroizing<[u8; KEY]>> {
        crypto_box_beforenm(theirs, &self.0)
            .ok()
            .map(Zeroizing::new)
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Seals `message`: the tag, then as many bytes as the message has, appended to `out`.
pub fn seal(key: &[u8; KEY], nonce: &[u8; NONCE], message: &[u8], out: &mut bytes::BytesMut) {
    let start = out.len();
    out.resize(start + TAG + message.len(), 0);
    let (tag, content) = out[start..].split_at_mut(TAG);
    let tag: &mut [u8; TAG] = tag
        .try_into()
        .expect("invariant: split at the tag's length");
    crypto_secretbox_detached(content, tag, message, nonce, key)
        .expect("invariant: the output is as long as the message, which fits memory");
}

/// The content of a sealed message, `None` if it is not what was sealed with this key and nonce.
#[must_use]
pub fn open(key: &[u8; KEY], nonce: &[u8; NONCE], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, content) = sealed.split_first_chunk::<TAG>()?;
    let mut message = vec![0; content.len()];
    crypto_secretbox_open_detached(&mut message, content, tag, nonce, key)
        .ok()
        .map(|()| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    /// The keys of the example in "Cryptography in NaCl" (Bernstein, 2009).
    #[test]
    fn keys_agree_as_published() {
        let alice = SecretKey::from_bytes(unhex(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ));
        let bob = SecretKey::from_bytes(unhex(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ));

        assert_eq!(
            alice.public(),
            unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        );
        let shared = alice.agree(&bob.public()).unwrap();
        assert_eq!(shared, bob.agree(&alice.public()).unwrap());
        assert_eq!(
            *shared,
            unhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
        );
    }

    #[test]
    fn points_of_low_order_agree_with_nobody() {
        let key = SecretKey::from_bytes([7; KEY]);

        assert!(key.agree(&[0; KEY]).is_none());
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        let (key, nonce) = ([1; KEY], [2; NONCE]);
        let mut sealed = bytes::BytesMut::from(&b"before"[..]);
        seal(&key, &nonce, b"content", &mut sealed);
        let sealed = sealed.split_off(6);

        assert_eq!(open(&key, &nonce, &sealed).unwrap(), b"content");
        assert_eq!(open(&key, &[3; NONCE], &sealed), None);
        assert_eq!(open(&[3; KEY], &nonce, &sealed), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1;
            assert_eq!(open(&key, &nonce, &damaged), None, "byte {at}");
            assert_eq!(open(&key, &nonce, &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            format!("{:?}", SecretKey::from_bytes([0x5a; KEY])),
            "SecretKey(..)"
        );
    }
}
