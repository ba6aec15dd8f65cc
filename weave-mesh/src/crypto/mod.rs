//! Encryption of connections: passwords, key agreement, sealed messages.
//!
//! A connection between peers with a password draws a key pair at each end, mixes what they agree
//! on with the password, and seals every message behind the public keys ([`session`]). Which
//! password a connection uses, while several are accepted, is decided by its handshake.
//!
//! Secrets are overwritten when they are dropped and are not shown by `Debug`.

mod agreement;
mod entropy;
mod keyring;
pub mod nacl;
pub mod session;

pub use agreement::{Agreed, Agreement, AgreementError, Credentials};
pub use entropy::{KeySeed, KeySource};
pub use keyring::{Keyring, KeyringError, MAX_PASSWORDS, Password};
pub use session::SessionKey;
