//! Peer names: 48-bit numbers that read and write like MAC addresses.
//!
//! The order of peers is the order of the numbers; the division of a ring among its seeds and the
//! tie-break of proposals depend on it.

use std::fmt;
use std::str::FromStr;

/// The name of a peer, as it stands in ring entries and votes.
///
/// Names have 48 bits; the field has 64 because that is what peers put on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl PeerId {
    /// No peer: the owner of nothing.
    pub const NONE: Self = Self(0);
}

impl From<u64> for PeerId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<PeerId> for u64 {
    fn from(peer: PeerId) -> Self {
        peer.0
    }
}

impl fmt::Display for PeerId {
    /// Six octets; all eight if the number does not fit 48 bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.to_be_bytes();
        let skipped = if self.0 >> 48 == 0 { 2 } else { 0 };
        for (index, octet) in octets.iter().skip(skipped).enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    /// Six groups of one or two hex digits separated by `:`, or one to four groups and one `::`
    /// that stands for the missing zero groups. White space in front of a group is skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octets = match text.split_once("::") {
            Some((head, tail)) => elided(head, tail),
            None => groups(text).and_then(|list| <[u8; 6]>::try_from(list).ok()),
        };
        let [a, b, c, d, e, f] = octets.ok_or_else(|| PeerIdError(text.to_owned()))?;
        Ok(Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f])))
    }
}

/// The text is not a peer name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid peer name format: \"{0}\"")]
pub struct PeerIdError(String);

#[cfg(feature = "serde")]
impl serde::Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn elided(head: &str, tail: &str) -> Option<[u8; 6]> {
    let (head, tail) = (groups(head)?, groups(tail)?);
    let explicit = head.len() + tail.len();
    if !(1..=4).contains(&explicit) {
        return None;
    }
    let mut octets = [0; 6];
    octets[..head.len()].copy_from_slice(&head);
    octets[6 - tail.len()..].copy_from_slice(&tail);
    Some(octets)
}

fn groups(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.splitn(7, ':').map(group).collect()
}

fn group(text: &str) -> Option<u8> {
    let digits = text.trim_start();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || digits.len() > 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_are_written() {
        for number in [1, 10, 0x7a44_d311_1070, 0xffff_ffff_ffff] {
            let peer = PeerId(number);

            assert_eq!(peer.to_string().parse(), Ok(peer));
        }
    }

    #[test]
    fn short_forms_are_understood_and_nonsense_is_not() {
        assert_eq!("::1".parse(), Ok(PeerId(1)));
        assert_eq!("a::b".parse(), Ok(PeerId(0x0a00_0000_000b)));
        for wrong in [
            "",
            "::",
            "1:2:3:4:5::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:123",
            "gg::1",
        ] {
            assert!(wrong.parse::<PeerId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_beyond_48_bits_shows_all_its_octets() {
        assert_eq!(
            PeerId(0x0102_0000_0000_0003).to_string(),
            "01:02:00:00:00:00:00:03"
        );
    }
}
