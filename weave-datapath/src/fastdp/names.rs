//! The two names of a peer: the one operators see and the one packets carry.

use std::fmt;

/// Name of a peer, 48 bits; shown like an Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PeerName(pub u64);

impl From<u64> for PeerName {
    fn from(name: u64) -> Self {
        Self(name)
    }
}

impl From<PeerName> for u64 {
    fn from(name: PeerName) -> Self {
        name.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, g] = self.0.to_be_bytes();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Short id of a peer: 12 bits, unique in a settled mesh, half of a VNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(u16);

impl ShortId {
    /// How many short ids exist.
    pub const COUNT: u16 = 1 << 12;
}

/// The number is not a short id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("short id {0} does not fit into 12 bits")]
pub struct ShortIdError(pub u32);

impl TryFrom<u16> for ShortId {
    type Error = ShortIdError;

    fn try_from(id: u16) -> Result<Self, Self::Error> {
        if id < Self::COUNT {
            Ok(Self(id))
        } else {
            Err(ShortIdError(id.into()))
        }
    }
}

impl TryFrom<u32> for ShortId {
    type Error = ShortIdError;

    fn try_from(id: u32) -> Result<Self, Self::Error> {
        u16::try_from(id)
            .map_err(|_| ShortIdError(id))
            .and_then(Self::try_from)
    }
}

impl From<ShortId> for u16 {
    fn from(id: ShortId) -> Self {
        id.0
    }
}

impl From<ShortId> for u32 {
    fn from(id: ShortId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#05x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_like_addresses() {
        assert_eq!(
            PeerName::from(0x0a0b_0c0d_0e0f).to_string(),
            "0a:0b:0c:0d:0e:0f"
        );
    }

    #[test]
    fn a_short_id_has_twelve_bits() {
        assert_eq!(u16::from(ShortId::try_from(4095_u16).unwrap()), 4095);
        assert!(ShortId::try_from(4096_u16).is_err());
        assert!(ShortId::try_from(65_536_u32).is_err());
    }
}
