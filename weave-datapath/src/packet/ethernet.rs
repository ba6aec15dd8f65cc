//! Ethernet II frames.
//!
//! ```text
//!  0       6       12    14
//!  +-------+-------+-----+---------
//!  | dst   | src   | type| payload
//!  +-------+-------+-----+---------
//! ```

use std::fmt;

use super::{Error, need, u16_at};

/// Length of the header in bytes, without VLAN tags and checksum.
pub const HEADER_LEN: usize = 14;

/// An Ethernet hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The address that marks special frames between peers.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the address names a group (multicast or broadcast).
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 6]> for Mac {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

/// A checked view of an Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<T>(T);

impl<T: AsRef<[u8]>> Frame<T> {
    /// Checks that the header is present.
    ///
    /// # Errors
    /// [`Error::Truncated`] below [`HEADER_LEN`] bytes.
    pub fn new_checked(bytes: T) -> Result<Self, Error> {
        need("ethernet", bytes.as_ref(), HEADER_LEN)?;
        Ok(Self(bytes))
    }

    /// Destination address.
    pub fn destination(&self) -> Mac {
        self.mac(field::DESTINATION)
    }

    /// Source address.
    pub fn source(&self) -> Mac {
        self.mac(field::SOURCE)
    }

    /// Type (or length) field.
    pub fn ethertype(&self) -> u16 {
        u16_at(self.0.as_ref(), field::ETHERTYPE)
    }

    /// What follows the header.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }

    /// Whether both addresses and the type are zero: a frame between peers, never between pods.
    pub fn is_special(&self) -> bool {
        self.0.as_ref()[..HEADER_LEN].iter().all(|byte| *byte == 0)
    }

    fn mac(&self, at: usize) -> Mac {
        let mut mac = [0; 6];
        mac.copy_from_slice(&self.0.as_ref()[at..at + 6]);
        Mac(mac)
    }
}

mod field {
    pub(super) const DESTINATION: usize = 0;
    pub(super) const SOURCE: usize = 6;
    pub(super) const ETHERTYPE: usize = 12;
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3e, 0xcb, 0x02, 0x70, 0x8f, 0x65, 0x08, 0x06, 0x00,
        0x01,
    ];

    #[test]
    fn a_frame_is_taken_apart() {
        let frame = Frame::new_checked(FRAME).unwrap();

        assert_eq!(frame.destination(), Mac::BROADCAST);
        assert!(frame.destination().is_group());
        assert_eq!(frame.source().to_string(), "3e:cb:02:70:8f:65");
        assert_eq!(frame.ethertype(), 0x0806);
        assert_eq!(frame.payload(), [0, 1]);
        assert!(!frame.is_special());
    }

    #[test]
    fn zero_addresses_with_a_type_are_an_ordinary_frame() {
        let mut bytes = [0; 14];
        assert!(Frame::new_checked(bytes).unwrap().is_special());
        bytes[13] = 1;
        assert!(!Frame::new_checked(bytes).unwrap().is_special());
    }

    #[test]
    fn a_short_frame_is_refused() {
        let error = Frame::new_checked(&FRAME[..13]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ethernet packet of 13 bytes is cut short, 14 are needed"
        );
    }
}
