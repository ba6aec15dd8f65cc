//! Which password a connection uses, while several are accepted.
//!
//! ```text
//!  dialler                                   acceptor
//!  ───────                                   ────────
//!  seals its first message with its choice ─▶ tries all its passwords
//!                                             opens one ─▶ uses it, seals with it
//!  opens the answer with its choice ◀──────── none opens ─▶ refuses, seals nothing
//!      done
//!  opens it with another of its passwords: a remote that knows one password only and does not
//!      wait (Weave Net). The attempt is lost; the next one uses that password.
//! ```
//!
//! Invariant: an acceptor seals nothing before the remote has shown that it knows a password, so
//! a stranger gets nothing to test guesses on.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::nacl::{KEY, SecretKey};
use super::session::{Opener, Sealer, Sender, SessionKey};
use super::{Keyring, Password};

/// What a side with passwords brings to a connection.
#[derive(Debug)]
pub struct Credentials {
    /// The passwords to accept.
    pub keyring: Keyring,
    /// Which of them to use first, as its place in the keyring; a dialler that was refused goes
    /// on to the next. Counts on from the start behind the last.
    pub choice: usize,
    /// The secret key for this connection.
    pub secret: SecretKey,
    /// Our part.
    pub role: Sender,
}

/// What both sides agree on by their key pairs alone.
#[derive(Debug)]
pub struct Agreement {
    shared: Zeroizing<[u8; KEY]>,
    keyring: Keyring,
    role: Sender,
    /// The password our messages are sealed with: a dialler's choice.
    chosen: Option<(usize, Sealer)>,
}

/// A connection whose password is known to both sides.
#[derive(Debug)]
pub struct Agreed {
    /// The password.
    pub password: Password,
    /// The key that follows from it.
    pub key: SessionKey,
    /// Seals what we send. Of a dialler it has sealed the first message already.
    pub sealer: Sealer,
    /// Opens what the remote sends, behind its first message.
    pub opener: Opener,
    /// The content of the remote's first message.
    pub message: Bytes,
}

/// Why two sides do not agree. The connection has to end. (The first text is Weave Net's.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgreementError {
    /// The remote's first message opens with none of our passwords.
    #[error("Unable to decrypt TCP msg")]
    WrongPassword,
    /// The remote uses another of our passwords than we have sealed with; the next attempt should
    /// choose that one.
    #[error("remote uses another of the accepted passwords")]
    OtherPassword {
        /// Its place in the keyring.
        choice: usize,
    },
    /// The remote's public key is one of the few that make everybody's shared key the same.
    #[error("public key of the remote is unusable")]
    UnusableKey,
}

impl Agreement {
    /// Computes what our secret and the remote's public key have in common. A dialler then has
    /// made its choice and may seal; an acceptor waits.
    ///
    /// # Errors
    /// [`AgreementError::UnusableKey`]. Without any password there is nothing to agree on, and the
    /// error is [`AgreementError::WrongPassword`].
    pub fn new(credentials: Credentials, theirs: &[u8; KEY]) -> Result<Self, AgreementError> {
        let Credentials {
            keyring,
            choice,
            secret,
            role,
        } = credentials;
        let shared = secret.agree(theirs).ok_or(AgreementError::UnusableKey)?;
        let mut agreement = Self {
            shared,
            keyring,
            role,
            chosen: None,
        };
        let place = choice
            .checked_rem(agreement.keyring.len())
            .ok_or(AgreementError::WrongPassword)?;
        if role == Sender::Dialler {
            let sealer = agreement.key(place).map(|key| Sealer::new(key, role));
            agreement.chosen = sealer.map(|sealer| (place, sealer));
        }
        Ok(agreement)
    }

    /// Seals what a dialler says first; `None` for an acceptor.
    pub fn sealer(&mut self) -> Option<&mut Sealer> {
        self.chosen.as_mut().map(|(_, sealer)| sealer)
    }

    /// Opens the remote's first message, and with it finds the password of the connection.
    ///
    /// # Errors
    /// An [`AgreementError`].
    pub fn settle(self, sealed: &[u8]) -> Result<Agreed, AgreementError> {
        let first = self.chosen.as_ref().map(|(place, _)| *place);
        let others = (0..self.keyring.len()).filter(|place| Some(*place) != first);
        for place in first.into_iter().chain(others) {
            let Some(key) = self.key(place) else {
                continue;
            };
            let mut opener = Opener::new(key.clone(), self.role.other());
            let Ok(message) = opener.open(sealed) else {
                continue;
            };
            let sealer = match self.chosen {
                None => Sealer::new(key.clone(), self.role),
                Some((chosen, sealer)) if chosen == place => sealer,
                Some(_) => return Err(AgreementError::OtherPassword { choice: place }),
            };
            return Ok(Agreed {
                password: self.keyring.passwords()[place].clone(),
                key,
                sealer,
                opener,
                message,
            });
        }
        Err(AgreementError::WrongPassword)
    }

    fn key(&self, place: usize) -> Option<SessionKey> {
        let password = self.keyring.passwords().get(place)?;
        Some(SessionKey::derive(&self.shared, password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn side(role: Sender, words: &[&str], choice: usize) -> Agreement {
        let secrets = [1, 2].map(|byte| SecretKey::from_bytes([byte; KEY]));
        let [ours, theirs] = match role {
            Sender::Dialler => secrets,
            Sender::Acceptor => {
                let [dialler, acceptor] = secrets;
                [acceptor, dialler]
            }
        };
        let credentials = Credentials {
            keyring: Keyring::new(words.iter().map(|word| Password::new(*word))).unwrap(),
            choice,
            secret: ours,
            role,
        };
        Agreement::new(credentials, &theirs.public()).unwrap()
    }

    /// What the dialler and then the acceptor make of each other.
    fn meet(
        dialler: &[&str],
        choice: usize,
        acceptor: &[&str],
    ) -> (Result<(), AgreementError>, Option<Password>) {
        let mut dialler = side(Sender::Dialler, dialler, choice);
        let acceptor = side(Sender::Acceptor, acceptor, 0);
        let mut sealed = BytesMut::new();
        dialler.sealer().unwrap().seal(b"dialler", &mut sealed);
        let mut agreed = match acceptor.settle(&sealed) {
            Ok(agreed) => agreed,
            Err(error) => return (Err(error), None),
        };
        assert_eq!(agreed.message, "dialler");
        let mut answer = BytesMut::new();
        agreed.sealer.seal(b"acceptor", &mut answer);
        let theirs = dialler.settle(&answer).unwrap();
        assert_eq!(theirs.message, "acceptor");
        assert_eq!(theirs.key, agreed.key);
        assert_eq!(theirs.password, agreed.password);
        (Ok(()), Some(agreed.password))
    }

    #[test]
    fn an_acceptor_follows_the_dialler_through_every_step_of_a_change() {
        let steps = [&["old"][..], &["old", "new"], &["new", "old"], &["new"]];
        for (at, dialler) in steps.iter().enumerate() {
            for (acceptor_at, acceptor) in steps.iter().enumerate() {
                let (met, used) = meet(dialler, 0, acceptor);
                if at.abs_diff(acceptor_at) <= 1 {
                    assert_eq!(met, Ok(()), "{dialler:?} dials {acceptor:?}");
                    assert_eq!(used, Some(Password::new(dialler[0])));
                }
            }
        }
        assert_eq!(
            meet(&["old"], 0, &["new"]).0,
            Err(AgreementError::WrongPassword)
        );
    }

    #[test]
    fn a_dialler_that_is_two_steps_away_succeeds_with_its_next_choice() {
        let ring = &["old", "new"];

        assert_eq!(
            meet(ring, 0, &["new"]).0,
            Err(AgreementError::WrongPassword)
        );
        assert_eq!(meet(ring, 1, &["new"]).1, Some(Password::new("new")));
        assert_eq!(meet(ring, 2, &["old"]).1, Some(Password::new("old")));
    }

    #[test]
    fn a_remote_that_does_not_wait_tells_which_password_it_uses() {
        let mut router = side(Sender::Dialler, &["new"], 0);
        router.role = Sender::Acceptor;
        let key = router.key(0).unwrap();
        router.chosen = Some((0, Sealer::new(key, Sender::Acceptor)));
        let mut unasked = BytesMut::new();
        router.sealer().unwrap().seal(b"features", &mut unasked);

        let dialler = side(Sender::Dialler, &["old", "older", "new"], 0);
        let error = dialler.settle(&unasked).unwrap_err();

        assert_eq!(error, AgreementError::OtherPassword { choice: 2 });
    }

    #[test]
    fn an_acceptor_has_nothing_to_seal_with_before_it_is_asked() {
        assert!(side(Sender::Acceptor, &["secret"], 0).sealer().is_none());
    }
}
