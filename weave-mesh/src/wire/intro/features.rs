//! The feature map: what a side says about itself when it introduces itself.
//!
//! A gob stream of one map from text to text. Unknown keys are ignored, so a new key is a safe
//! way to announce a capability (mesh protocol, "feature map").

use std::net::SocketAddr;

use crate::gob::{self, Decoder, Encoder, Limits, Type, Value};
use crate::peer::{MAX_NICKNAME, NameError, PeerName, PeerRecord, ShortId, Uid};

/// The largest feature map accepted, in bytes. Weave Net sends about 200.
pub const MAX_FEATURES: usize = 16 * 1024;

/// Addresses of others that a peer without room gives.
pub const MAX_OTHERS: usize = 8;

/// What a peer says about itself and the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// The peer's name.
    pub name: PeerName,
    /// Free text for people.
    pub nickname: String,
    /// The peer's incarnation.
    pub uid: Uid,
    /// This side's half of the connection's id, random for every attempt.
    pub conn_id: u64,
    /// The short id, if the peer has one.
    pub short_id: Option<ShortId>,
    /// Whether the sender trusts the network between the two.
    pub trusted: bool,
    /// Overlays in order of preference; `None` if the sender does not negotiate them.
    pub overlays: Option<Vec<String>>,
    /// The highest version of the exchange of digests and deltas ([`crate::wire::sync`]) that the
    /// peer speaks; 0 if it speaks none, as Weave Net.
    pub sync: u8,
    /// The sender has no room and ends the connection behind this. Weave Net neither says nor reads
    /// it.
    pub refused: Option<Refused>,
    /// Whether the sender has so few connections that a peer at its limit should spare one for it.
    pub needy: bool,
}

/// What a peer without room says to who has to go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// Why, for people; at most 200 characters are read.
    pub reason: String,
    /// Where others of the mesh listen; at most [`MAX_OTHERS`] are read.
    pub others: Vec<SocketAddr>,
}

impl Features {
    /// The feature map as the message of its own that version 2 sends.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = self.required();
        entries.push((key::TRUSTED, self.trusted.to_string()));
        if let Some(short_id) = self.short_id {
            entries.push((key::SHORT_ID, short_id.to_string()));
        }
        if let Some(overlays) = &self.overlays {
            entries.push((key::OVERLAYS, overlays.join(" ")));
        }
        if self.sync > 0 {
            entries.push((key::SYNC, self.sync.to_string()));
        }
        if self.needy {
            entries.push((key::NEEDY, self.needy.to_string()));
        }
        if let Some(Refused { reason, others }) = &self.refused {
            entries.push((key::REFUSED, reason.clone()));
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            entries.push((key::OTHERS, others.join(" ")));
        }
        encode(entries)
    }

    /// The feature map of version 1, which begins the stream of its direction: five keys, and the
    /// public key if there is a password.
    #[must_use]
    pub fn encode_legacy(&self, public_key: Option<&[u8; 32]>) -> Vec<u8> {
        let mut entries = self.required();
        if let Some(public_key) = public_key {
            entries.push((key::PUBLIC_KEY, hex(public_key)));
        }
        encode(entries)
    }

    /// Reads the feature map of a remote.
    ///
    /// # Errors
    /// A [`FeaturesError`], all faults of the remote; the connection has to end.
    pub fn decode(message: &[u8]) -> Result<Self, FeaturesError> {
        Self::from_entries(&decode(message)?)
    }

    /// Reads the feature map of a remote of version 1, and its public key if it has a password.
    /// Keys that version 1 does not have are as good as absent.
    ///
    /// # Errors
    /// As for [`Features::decode`].
    pub fn decode_legacy(stream: &[u8]) -> Result<(Self, Option<[u8; 32]>), FeaturesError> {
        let mut entries = decode(stream)?;
        let public_key = find(&entries, key::PUBLIC_KEY)
            .map(|text| unhex(text).ok_or_else(|| malformed(key::PUBLIC_KEY, text)))
            .transpose()?;
        entries.retain(|(key, _)| key::REQUIRED.contains(&key.as_str()));
        Ok((Self::from_entries(&entries)?, public_key))
    }

    /// The id of the connection, the same on both sides.
    #[must_use]
    pub fn connection_uid(&self, other: &Self) -> u64 {
        self.conn_id ^ other.conn_id
    }

    /// What the features say about the peer: a record without connections at version 0.
    #[must_use]
    pub fn record(&self) -> PeerRecord {
        PeerRecord {
            short_id: self.short_id,
            ..PeerRecord::new(self.name, self.nickname.clone(), self.uid)
        }
    }

    /// What both versions send.
    fn required(&self) -> Vec<(&'static str, String)> {
        vec![
            (key::FLAVOUR, FLAVOUR.to_owned()),
            (key::NAME, self.name.to_string()),
            (key::NICKNAME, self.nickname.clone()),
            (key::UID, self.uid.to_string()),
            (key::CONN_ID, self.conn_id.to_string()),
        ]
    }

    fn from_entries(entries: &[(String, String)]) -> Result<Self, FeaturesError> {
        let optional = |wanted| find(entries, wanted);
        for wanted in key::REQUIRED {
            optional(wanted).ok_or(FeaturesError::Missing(wanted))?;
        }
        let required = |key| optional(key).unwrap_or_default();
        if required(key::FLAVOUR) != FLAVOUR {
            return Err(FeaturesError::Flavour(required(key::FLAVOUR).to_owned()));
        }
        let nickname = required(key::NICKNAME);
        if nickname.len() > MAX_NICKNAME {
            return Err(FeaturesError::LongNickname(nickname.len()));
        }
        let name = required(key::NAME).parse()?;
        if name == PeerName::UNKNOWN {
            return Err(FeaturesError::ReservedName(name));
        }
        Ok(Self {
            name,
            nickname: nickname.to_owned(),
            uid: Uid(number(key::UID, required(key::UID))?),
            conn_id: number(key::CONN_ID, required(key::CONN_ID))?,
            short_id: optional(key::SHORT_ID)
                .map(|text| {
                    u16::try_from(number(key::SHORT_ID, text)?)
                        .ok()
                        .and_then(|id| ShortId::try_from(id).ok())
                        .ok_or_else(|| malformed(key::SHORT_ID, text))
                })
                .transpose()?,
            trusted: optional(key::TRUSTED).map_or(Ok(false), boolean)?,
            overlays: optional(key::OVERLAYS)
                .map(|text| {
                    text.split(' ')
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned)
                })
                .map(Iterator::collect),
            // What cannot be read is no version that we speak.
            sync: optional(key::SYNC)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            needy: optional(key::NEEDY) == Some("true"),
            refused: optional(key::REFUSED).map(|text| Refused {
                reason: text.chars().take(MAX_REASON).collect(),
                others: {
                    let others = optional(key::OTHERS).unwrap_or_default().split(' ');
                    let others = others.filter_map(|text| text.parse().ok());
                    others.take(MAX_OTHERS).collect()
                },
            }),
        })
    }
}

/// Why the features of a remote are refused. Texts follow Weave Net where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeaturesError {
    /// The message is not a map from text to text.
    #[error(transparent)]
    Gob(#[from] gob::Error),
    /// The message is longer than [`MAX_FEATURES`].
    #[error("feature map of {0} bytes exceeds {MAX_FEATURES}")]
    TooLong(usize),
    /// A required key is absent.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// The remote names peers in another way.
    #[error("Peer name flavour mismatch (ours: '{FLAVOUR}', theirs: '{0}')")]
    Flavour(String),
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name stands for "no peer". (Weave Net accepts it and gets its routes wrong.)
    #[error("peer name {0} is reserved")]
    ReservedName(PeerName),
    /// The nickname is longer than a record may hold.
    #[error("nickname of {0} bytes is too long")]
    LongNickname(usize),
    /// A value is not what its key requires.
    #[error("field {field} has the malformed value \"{text}\"")]
    Malformed {
        /// The key.
        field: &'static str,
        /// The value.
        text: String,
    },
}

const FLAVOUR: &str = "mac";

/// Characters of a reason that are kept: it is shown in status and log.
const MAX_REASON: usize = 200;

/// What a feature map may ask of its decoder: one type, and some keys more than there are.
const LIMITS: Limits = Limits {
    depth: 4,
    types: 8,
    fields: 32,
    values: 512,
};

mod key {
    pub(super) const FLAVOUR: &str = "PeerNameFlavour";
    pub(super) const NAME: &str = "Name";
    pub(super) const NICKNAME: &str = "NickName";
    pub(super) const UID: &str = "UID";
    pub(super) const CONN_ID: &str = "ConnID";
    pub(super) const SHORT_ID: &str = "ShortID";
    pub(super) const TRUSTED: &str = "Trusted";
    pub(super) const OVERLAYS: &str = "Overlays";
    pub(super) const PUBLIC_KEY: &str = "PublicKey";
    /// Not a key of Weave Net, which ignores it.
    pub(super) const SYNC: &str = "Sync";
    /// Likewise.
    pub(super) const NEEDY: &str = "Needy";
    pub(super) const REFUSED: &str = "Refused";
    pub(super) const OTHERS: &str = "Others";
    /// In the order in which their absence is reported.
    pub(super) const REQUIRED: [&str; 5] = [FLAVOUR, NAME, NICKNAME, UID, CONN_ID];
}

fn encode(entries: Vec<(&str, String)>) -> Vec<u8> {
    let entries = entries
        .into_iter()
        .map(|(key, value)| (key.into(), Value::String(value)));
    let mut encoder = Encoder::new();
    encoder
        .value(
            &Type::map("", Type::String, Type::String),
            &Value::Map(entries.collect()),
        )
        .expect("invariant: the value is a map from text to text");
    encoder.finish()
}

fn decode(stream: &[u8]) -> Result<Vec<(String, String)>, FeaturesError> {
    if stream.len() > MAX_FEATURES {
        return Err(FeaturesError::TooLong(stream.len()));
    }
    let map = Decoder::with_limits(stream, LIMITS)
        .next()?
        .ok_or(gob::Error::Eof)?;
    let mut entries = Vec::new();
    for (key, value) in map.as_map()? {
        entries.push((key.as_str()?.to_owned(), value.as_str()?.to_owned()));
    }
    Ok(entries)
}

/// The value of a key; of a repeated one the last.
fn find<'a>(entries: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let mut found = entries.iter().rev().filter(|(key, _)| key == wanted);
    found.next().map(|(_, value)| value.as_str())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_hex = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (i, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    is_hex.then_some(bytes)
}

/// Decimal digits only: no sign, no spaces.
fn number(field: &'static str, text: &str) -> Result<u64, FeaturesError> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed(field, text))
}

fn boolean(text: &str) -> Result<bool, FeaturesError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(malformed(key::TRUSTED, text)),
    }
}

fn malformed(field: &'static str, text: &str) -> FeaturesError {
    FeaturesError::Malformed {
        field,
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
