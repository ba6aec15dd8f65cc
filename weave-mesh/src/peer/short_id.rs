//! Short ids: 12-bit stand-ins for peer names that fit into a tunnel key.

use std::fmt;

/// A 12-bit peer id. Not unique: the peer with the lowest name owns a contested id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(u16);

impl ShortId {
    /// How many short ids there are.
    pub const COUNT: u16 = 4096;
}

impl TryFrom<u16> for ShortId {
    type Error = ShortIdError;

    fn try_from(value: u16) -> Result<Self, Self::Error> {
        if value < Self::COUNT {
            Ok(Self(value))
        } else {
            Err(ShortIdError(value))
        }
    }
}

impl From<ShortId> for u16 {
    fn from(id: ShortId) -> Self {
        id.0
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that does not fit 12 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("short id {0} does not fit 12 bits")]
pub struct ShortIdError(u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_at_twelve_bits() {
        assert_eq!(ShortId::try_from(4095).map(u16::from), Ok(4095));
        assert_eq!(ShortId::try_from(4096), Err(ShortIdError(4096)));
    }
}
