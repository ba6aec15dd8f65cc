//! The passwords of a mesh: one to use, and others to accept while they are being changed.
//!
//! Invariant: passwords in a keyring differ, there are at most [`MAX_PASSWORDS`], and the first is
//! the current one. `ALGORITHM.md` says in which order to change them without losing a connection.

use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The most passwords a keyring holds: each costs one attempt to open a remote's first message.
pub const MAX_PASSWORDS: usize = 8;

/// A password. Copies share the bytes, which are overwritten when the last one is dropped;
/// comparison takes the same time for all passwords of one length.
#[derive(Clone)]
pub struct Password(Arc<Zeroizing<Vec<u8>>>);

impl Password {
    /// A password; any bytes will do, and an empty one is one, too.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.into())))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The current password and those accepted besides it. The [`Default`] has none: connections are
/// plain.
///
/// # Example
///
/// ```
/// use weave_mesh::crypto::{Keyring, Password};
///
/// // Second of three steps of a change: prefer the new one, still accept the old one.
/// let keyring = Keyring::new([Password::new("new secret"), Password::new("old secret")]).unwrap();
/// assert_eq!(keyring.current(), Some(&Password::new("new secret")));
/// assert_eq!(keyring.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    passwords: Vec<Password>,
}

impl Keyring {
    /// A keyring of these passwords, the current one first. Repetitions are left out; without any
    /// password connections are plain.
    ///
    /// # Errors
    /// [`KeyringError::TooMany`] over [`MAX_PASSWORDS`].
    pub fn new(list: impl IntoIterator<Item = Password>) -> Result<Self, KeyringError> {
        let mut passwords: Vec<Password> = Vec::new();
        for password in list {
            if passwords.contains(&password) {
                continue;
            }
            if passwords.len() >= MAX_PASSWORDS {
                return Err(KeyringError::TooMany);
            }
            passwords.push(password);
        }
        Ok(Self { passwords })
    }

    /// The password to introduce ourselves with.
    #[must_use]
    pub fn current(&self) -> Option<&Password> {
        self.passwords.first()
    }

    /// Every password that is accepted, the current one first.
    #[must_use]
    pub fn passwords(&self) -> &[Password] {
        &self.passwords
    }

    /// Number of passwords.
    #[must_use]
    pub fn len(&self) -> usize {
        self.passwords.len()
    }

    /// True if there is no password.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passwords.is_empty()
    }
}

/// Why passwords cannot be used. The keyring in use stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// More than [`MAX_PASSWORDS`]. Drop those that no peer uses.
    #[error("a keyring holds at most {MAX_PASSWORDS} passwords")]
    TooMany,
    /// A running mesh is to get its first password, or to lose its last one. Peers with and
    /// without password cannot be connected, so restart every peer with the new setting.
    #[error("a running mesh cannot be switched between encrypted and unencrypted; restart it")]
    Switched,
    /// The engine has no source of keys; set `Config::key_seed`.
    #[error("a password needs a seed for the keys of connections")]
    NoSeed,
    /// The mesh has stopped.
    #[error("the mesh has stopped")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(words: &[&str]) -> Keyring {
        Keyring::new(words.iter().map(|word| Password::new(*word))).unwrap()
    }

    #[test]
    fn repetitions_are_left_out_and_the_first_is_current() {
        let ring = keyring(&["b", "a", "b", ""]);

        assert_eq!(ring.len(), 3);
        assert_eq!(ring.current(), Some(&Password::new("b")));
    }

    #[test]
    fn the_number_of_passwords_is_bounded() {
        let words: Vec<String> = (0..=MAX_PASSWORDS).map(|n| n.to_string()).collect();

        let error = Keyring::new(words.iter().map(|word| Password::new(word.as_str())));

        assert_eq!(error, Err(KeyringError::TooMany));
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            format!("{:?}", keyring(&["hush"])),
            "Keyring { passwords: [Password(..)] }"
        );
    }
}
