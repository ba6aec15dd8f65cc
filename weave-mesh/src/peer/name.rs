//! Peer names: 48 bits, written like a MAC address.

use std::fmt;
use std::str::FromStr;

/// The name of a peer. Ordered as a number, first byte most significant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(u64);

impl PeerName {
    /// The name that no peer has; stands for "none" in routes.
    pub const UNKNOWN: Self = Self(0);

    /// The name with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The bytes of the name, as in `NameByte` of a topology update.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }
}

impl TryFrom<u64> for PeerName {
    type Error = NameError;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        if value >> 48 == 0 {
            Ok(Self(value))
        } else {
            Err(NameError::Number(value))
        }
    }
}

impl TryFrom<&[u8]> for PeerName {
    type Error = NameError;

    /// Accepts exactly 6 bytes. (Weave Net folds other lengths into a number; such names cannot
    /// be written as text and read back, so they are refused.)
    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes
            .try_into()
            .map(Self::from_bytes)
            .map_err(|_| NameError::Length(bytes.len()))
    }
}

impl From<PeerName> for u64 {
    fn from(name: PeerName) -> Self {
        name.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.to_bytes();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerName({self})")
    }
}

impl FromStr for PeerName {
    type Err = NameError;

    /// Six groups of one or two hex digits separated by `:`, or one to four groups and one `::`
    /// that stands for the missing zero groups. White space in front of a group is skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .map(Self::from_bytes)
            .ok_or_else(|| NameError::Text(text.to_owned()))
    }
}

/// Not a peer name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Text outside the grammar.
    #[error("invalid peer name format: \"{0}\"")]
    Text(String),
    /// A byte string that is not 6 bytes long.
    #[error("peer name of {0} bytes instead of 6")]
    Length(usize),
    /// A number over 48 bits.
    #[error("peer name {0} does not fit 48 bits")]
    Number(u64),
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    if let Some((head, tail)) = text.split_once("::") {
        let (head, tail) = (groups(head)?, groups(tail)?);
        if !(1..=4).contains(&(head.len() + tail.len())) {
            return None;
        }
        bytes[..head.len()].copy_from_slice(&head);
        bytes[6 - tail.len()..].copy_from_slice(&tail);
    } else {
        bytes = groups(text)?.try_into().ok()?;
    }
    Some(bytes)
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
    fn text_bytes_and_number_agree() {
        let name: PeerName = "0a:0b:0c:0d:0e:ff".parse().unwrap();

        assert_eq!(name.to_bytes(), [10, 11, 12, 13, 14, 255]);
        assert_eq!(u64::from(name), 0x0a0b_0c0d_0eff);
        assert_eq!(PeerName::try_from(0x0a0b_0c0d_0eff), Ok(name));
        assert_eq!(name.to_string(), "0a:0b:0c:0d:0e:ff");
    }

    #[test]
    fn other_lengths_and_larger_numbers_are_refused() {
        assert_eq!(
            PeerName::try_from(&[1, 2, 3][..]),
            Err(NameError::Length(3))
        );
        assert_eq!(PeerName::try_from(1 << 48), Err(NameError::Number(1 << 48)));
    }
}
