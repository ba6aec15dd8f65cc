//! UDP headers, read only.
//!
//! ```text
//!  0          2          4        6          8
//!  +----------+----------+--------+----------+---------
//!  | src port | dst port | length | checksum | payload
//!  +----------+----------+--------+----------+---------
//! ```

use super::{Error, need, u16_at};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// A checked view of a UDP packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks that the header and the length it states are present.
    ///
    /// # Errors
    /// [`Error::Truncated`] when bytes are missing, [`Error::Illegal`] for a length below 8.
    pub fn new_checked(bytes: T) -> Result<Self, Error> {
        let packet = Self(bytes);
        need(LAYER, packet.0.as_ref(), HEADER_LEN)?;
        if packet.len() < HEADER_LEN {
            return Err(Error::Illegal {
                layer: LAYER,
                field: "length",
            });
        }
        need(LAYER, packet.0.as_ref(), packet.len())?;
        Ok(packet)
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        u16_at(self.0.as_ref(), 0)
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        u16_at(self.0.as_ref(), 2)
    }

    /// Checksum; zero means that the sender computed none.
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), 6)
    }

    /// What follows the header.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.len()]
    }

    fn len(&self) -> usize {
        usize::from(u16_at(self.0.as_ref(), 4))
    }
}

const LAYER: &str = "udp";

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 10] = [0x93, 0xc1, 0x1a, 0x80, 0x00, 0x09, 0x00, 0x00, 0x08, 0xff];

    #[test]
    fn a_packet_is_taken_apart() {
        let packet = Packet::new_checked(PACKET).unwrap();

        assert_eq!(packet.source_port(), 0x93c1);
        assert_eq!(packet.destination_port(), 6784);
        assert_eq!(packet.checksum(), 0);
        assert_eq!(packet.payload(), [0x08]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(Packet::new_checked(&PACKET[..7]).is_err());
        assert!(Packet::new_checked(&PACKET[..8]).is_err());
        let mut bytes = PACKET;
        bytes[5] = 7;
        assert!(Packet::new_checked(bytes).is_err());
    }
}
