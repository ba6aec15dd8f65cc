//! Keys of the encrypted fast path of Weave Net: what two peers tell each other before their kernels
//! protect the tunnel by ESP.
//!
//! Each side makes a nonce and an SPI for what it will receive, and states both in a control message;
//! the key follows from them, the session key of the connection and the name of the receiver.
//! Pure: no association is put into the kernel here. Source: Weave Net datapath specification,
//! encryption of fastdp.
//!
//! ```text
//!  offset 0   32   nonce
//!        32    4   SPI, big-endian
//!        36   28   zero
//! ```

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::PeerName;

/// Length in bytes of the control message, tag not counted.
pub const INIT_LEN: usize = 64;

/// What a peer says of the association it will receive by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// Random, and of this association alone.
    pub nonce: [u8; 32],
    /// Security parameter index that the receiver's kernel has reserved.
    pub spi: u32,
}

/// The message is no [`Init`]: its length is not [`INIT_LEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("control message of {0} bytes does not describe an association: it must have 64")]
pub struct InitError(pub usize);

impl Init {
    /// Reads the payload of the control message. What follows the SPI is ignored, as it is by others.
    ///
    /// # Errors
    /// [`InitError`] for another length.
    pub fn parse(payload: &[u8]) -> Result<Self, InitError> {
        let payload: &[u8; INIT_LEN] = payload.try_into().map_err(|_| InitError(payload.len()))?;
        let mut nonce = [0; 32];
        nonce.copy_from_slice(&payload[..32]);
        let mut spi = [0; 4];
        spi.copy_from_slice(&payload[32..36]);
        Ok(Self {
            nonce,
            spi: u32::from_be_bytes(spi),
        })
    }

    /// The payload of the control message.
    #[must_use]
    pub fn emit(&self) -> [u8; INIT_LEN] {
        let mut payload = [0; INIT_LEN];
        payload[..32].copy_from_slice(&self.nonce);
        payload[32..36].copy_from_slice(&self.spi.to_be_bytes());
        payload
    }
}

/// Key material of one association, for AES-256-GCM as in RFC 4106. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct EspKey([u8; 36]);

impl EspKey {
    /// The key by which `receiver` gets frames on a connection with the session key `session`:
    /// HKDF with SHA-256 (RFC 5869), salt = nonce, info = the name in eight bytes, big-endian.
    #[must_use]
    pub fn derive(session: &[u8; 32], nonce: &[u8; 32], receiver: PeerName) -> Self {
        let info = receiver.0.to_be_bytes();
        let extracted = mac(nonce, &[session]);
        let first = mac(&extracted, &[&info, &[1]]);
        let second = mac(&extracted, &[&first, &info, &[2]]);
        let mut key = [0; 36];
        key[..32].copy_from_slice(&first);
        key[32..].copy_from_slice(&second[..4]);
        Self(key)
    }

    /// The AES key.
    #[must_use]
    pub fn aes(&self) -> &[u8] {
        &self.0[..32]
    }

    /// The salt that starts each nonce of AES-GCM.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.0[32..]
    }

    /// Key and salt in one, as the kernel takes them (`rfc4106(gcm(aes))`).
    #[must_use]
    pub fn bytes(&self) -> &[u8; 36] {
        &self.0
    }
}

impl fmt::Debug for EspKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspKey").finish_non_exhaustive()
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
