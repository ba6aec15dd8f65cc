//! The feature map: what a side says about itself when it introduces itself.
//!
//! A gob stream of one map from text to text. Unknown keys are ignored, so a new key is a safe
//! way to announce a capability (mesh protocol, "feature map").

use crate::gob::{self, Decoder, Encoder, Type, Value};
use crate::peer::{MAX_NICKNAME, NameError, PeerName, PeerRecord, ShortId, Uid};

/// The largest feature map accepted, in bytes. Weave Net sends about 200.
pub const MAX_FEATURES: usize = 64 * 1024;

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
}

impl Features {
    /// The feature map as the message of its own that version 2 sends.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            (key::FLAVOUR, FLAVOUR.to_owned()),
            (key::NAME, self.name.to_string()),
            (key::NICKNAME, self.nickname.clone()),
            (key::UID, self.uid.to_string()),
            (key::CONN_ID, self.conn_id.to_string()),
            (key::TRUSTED, self.trusted.to_string()),
        ];
        if let Some(short_id) = self.short_id {
            entries.push((key::SHORT_ID, short_id.to_string()));
        }
        if let Some(overlays) = &self.overlays {
            entries.push((key::OVERLAYS, overlays.join(" ")));
        }
        if self.sync > 0 {
            entries.push((key::SYNC, self.sync.to_string()));
        }
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

    /// Reads the feature map of a remote.
    ///
    /// # Errors
    /// A [`FeaturesError`], all faults of the remote; the connection has to end.
    pub fn decode(message: &[u8]) -> Result<Self, FeaturesError> {
        if message.len() > MAX_FEATURES {
            return Err(FeaturesError::TooLong(message.len()));
        }
        let map = Decoder::new(message).next()?.ok_or(gob::Error::Eof)?;
        Self::from_map(map.as_map()?)
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

    fn from_map(map: &[(Value, Value)]) -> Result<Self, FeaturesError> {
        let mut entries = Vec::with_capacity(map.len());
        for (key, value) in map {
            entries.push((key.as_str()?, value.as_str()?));
        }
        let optional = |wanted| {
            entries
                .iter()
                .rev()
                .find(|(key, _)| *key == wanted)
                .map(|(_, value)| *value)
        };
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

mod key {
    pub(super) const FLAVOUR: &str = "PeerNameFlavour";
    pub(super) const NAME: &str = "Name";
    pub(super) const NICKNAME: &str = "NickName";
    pub(super) const UID: &str = "UID";
    pub(super) const CONN_ID: &str = "ConnID";
    pub(super) const SHORT_ID: &str = "ShortID";
    pub(super) const TRUSTED: &str = "Trusted";
    pub(super) const OVERLAYS: &str = "Overlays";
    /// Not a key of Weave Net, which ignores it.
    pub(super) const SYNC: &str = "Sync";
    /// In the order in which their absence is reported.
    pub(super) const REQUIRED: [&str; 5] = [FLAVOUR, NAME, NICKNAME, UID, CONN_ID];
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
mod tests {
    use super::*;

    const COMPLETE: [(&str, &str); 8] = [
        ("PeerNameFlavour", "mac"),
        ("Name", "0a:00:00:00:00:01"),
        ("NickName", ""),
        ("UID", "18446744073709551615"),
        ("ConnID", "5"),
        ("ShortID", "4095"),
        ("Trusted", "T"),
        ("Overlays", "fastdp sleeve"),
    ];

    fn decode<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Features, FeaturesError> {
        let entries = entries
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        let mut encoder = Encoder::new();
        let map = Value::Map(entries.collect());
        encoder
            .value(&Type::map("", Type::String, Type::String), &map)
            .unwrap();
        Features::decode(&encoder.finish())
    }

    fn with(key: &str, value: &str) -> Result<Features, String> {
        let entries = COMPLETE.map(|(known, old)| (known, if known == key { value } else { old }));
        decode(entries).map_err(|error| error.to_string())
    }

    #[test]
    fn a_complete_map_is_read_and_unknown_keys_are_ignored() {
        let features = decode(COMPLETE.into_iter().chain([("Digest", "1")])).unwrap();

        assert_eq!(features.name.to_string(), "0a:00:00:00:00:01");
        assert_eq!(
            (features.nickname.as_str(), features.uid),
            ("", Uid(u64::MAX))
        );
        assert_eq!(features.short_id, ShortId::try_from(4095).ok());
        assert!(features.trusted);
        assert_eq!(
            features.overlays,
            Some(vec!["fastdp".to_owned(), "sleeve".to_owned()])
        );
    }

    #[test]
    fn optional_keys_may_be_absent() {
        let features = decode(COMPLETE.into_iter().take(5)).unwrap();

        assert_eq!(
            (features.short_id, features.trusted, features.overlays),
            (None, false, None)
        );
    }

    #[test]
    fn missing_keys_are_reported_in_the_order_of_weave_net() {
        for (missing, (key, _)) in COMPLETE.into_iter().enumerate().take(5) {
            let entries = COMPLETE.into_iter().skip(missing + 1);
            let kept = COMPLETE.into_iter().take(missing);

            let error = decode(kept.chain(entries)).unwrap_err();
            assert_eq!(error.to_string(), format!("field {key} is missing"));
            let error = decode(COMPLETE.into_iter().take(missing)).unwrap_err();
            assert_eq!(error.to_string(), format!("field {key} is missing"));
        }
    }

    #[test]
    fn malformed_values_are_named() {
        assert_eq!(
            with("PeerNameFlavour", "hash").unwrap_err(),
            "Peer name flavour mismatch (ours: 'mac', theirs: 'hash')"
        );
        assert_eq!(
            with("Name", "me").unwrap_err(),
            "invalid peer name format: \"me\""
        );
        assert_eq!(
            with("Name", "00:00:00:00:00:00").unwrap_err(),
            "peer name 00:00:00:00:00:00 is reserved"
        );
        for (key, value) in [
            ("UID", "+1"),
            ("UID", ""),
            ("UID", "18446744073709551616"),
            ("ConnID", "0x5"),
            ("ShortID", "4096"),
            ("Trusted", "yes"),
        ] {
            let error = format!("field {key} has the malformed value \"{value}\"");
            assert_eq!(with(key, value).unwrap_err(), error);
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let long = "n".repeat(MAX_NICKNAME + 1);
        assert_eq!(
            with("NickName", &long).unwrap_err(),
            "nickname of 1025 bytes is too long"
        );
        let longer = "n".repeat(MAX_FEATURES);
        assert!(matches!(
            decode([("Padding", &*longer)]),
            Err(FeaturesError::TooLong(_))
        ));
    }

    /// Weave Net closes a connection without a common overlay; an empty list has none.
    #[test]
    fn an_empty_list_of_overlays_is_not_an_absent_one() {
        assert_eq!(with("Overlays", "").unwrap().overlays, Some(Vec::new()));
    }

    #[test]
    fn the_sync_version_is_optional_and_never_refused() {
        let sync = |text| {
            let entries = COMPLETE.into_iter().chain([("Sync", text)]);
            decode(entries).unwrap().sync
        };

        assert_eq!(decode(COMPLETE).unwrap().sync, 0);
        assert_eq!([sync("1"), sync("7"), sync("300"), sync("x")], [1, 7, 0, 0]);
        let ours = Features {
            sync: 1,
            ..decode(COMPLETE).unwrap()
        };
        assert_eq!(Features::decode(&ours.encode()), Ok(ours));
    }

    #[test]
    fn the_connection_id_is_the_same_on_both_sides() {
        let (one, other) = (with("ConnID", "12").unwrap(), with("ConnID", "10").unwrap());

        assert_eq!(one.connection_uid(&other), 6);
        assert_eq!(other.connection_uid(&one), 6);
    }
}
