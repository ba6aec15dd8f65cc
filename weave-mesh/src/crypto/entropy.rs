//! Where the secret keys of connections come from: one seed and HMAC-SHA-256.
//!
//! ```text
//! key(n)    = HMAC(state(n), "connection key")
//! state(n+1)= HMAC(state(n), "next state")
//! ```
//!
//! Invariant: a state is overwritten once its key is drawn, so that whoever reads the memory of a
//! running peer learns no key of a connection that has ended.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::nacl::{KEY, SecretKey};

/// Random bytes from the system that all keys of a peer follow from. Give every start its own.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySeed(Zeroizing<[u8; KEY]>);

impl From<[u8; KEY]> for KeySeed {
    fn from(bytes: [u8; KEY]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for KeySeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySeed(..)")
    }
}

/// Draws the keys.
#[derive(Debug)]
pub struct KeySource {
    state: KeySeed,
}

impl KeySource {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: KeySeed) -> Self {
        Self { state: seed }
    }

    /// The next key; none is drawn twice.
    pub fn draw(&mut self) -> SecretKey {
        let key = self.derive(b"connection key");
        self.state = KeySeed(Zeroizing::new(self.derive(b"next state")));
        SecretKey::from_bytes(key)
    }

    fn derive(&self, purpose: &[u8]) -> [u8; KEY] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.state.0)
            .expect("invariant: HMAC takes keys of any length");
        mac.update(purpose);
        let mut digest = mac.finalize().into_bytes();
        let bytes = digest.into();
        digest.as_mut_slice().zeroize();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_keys_and_no_key_twice() {
        let (mut one, mut other) = (
            KeySource::new([7; KEY].into()),
            KeySource::new([7; KEY].into()),
        );
        let drawn: Vec<_> = (0..50).map(|_| one.draw().public()).collect();

        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();

        assert_eq!(distinct.len(), 50);
        assert!(drawn.iter().all(|key| *key == other.draw().public()));
        let mut stranger = KeySource::new([8; KEY].into());
        assert_ne!(drawn[0], stranger.draw().public());
    }

    #[test]
    fn the_seed_is_not_shown_and_does_not_stay() {
        let mut source = KeySource::new([7; KEY].into());
        let before = source.state.clone();
        let _ = source.draw();

        assert_ne!(before, source.state);
        assert_eq!(format!("{before:?}"), "KeySeed(..)");
    }
}
