//! IPv4 headers, read only: the datapath never builds them, the kernel does.
//!
//! ```text
//!  0        1    2        4     6            8    9      10        12    16
//!  +--------+----+--------+-----+------------+----+------+---------+-----+-----+
//!  | ver|ihl| tos| length | id  | flags|frag | ttl| proto| checksum| src | dst |
//!  +--------+----+--------+-----+------------+----+------+---------+-----+-----+
//! ```

use std::net::Ipv4Addr;

use super::{Error, need, u16_at};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

/// A checked view of an IPv4 packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks version, header length and total length.
    ///
    /// # Errors
    /// [`Error::Truncated`] when bytes are missing, [`Error::Illegal`] for another version or a
    /// length that cannot be.
    pub fn new_checked(bytes: T) -> Result<Self, Error> {
        let packet = Self(bytes);
        let bytes = packet.0.as_ref();
        need(LAYER, bytes, HEADER_LEN)?;
        let illegal = |field| Error::Illegal {
            layer: LAYER,
            field,
        };
        if bytes[0] >> 4 != 4 {
            return Err(illegal("version"));
        }
        if packet.header_len() < HEADER_LEN || packet.header_len() > packet.total_len() {
            return Err(illegal("header length"));
        }
        need(LAYER, bytes, packet.total_len())?;
        Ok(packet)
    }

    /// Type of service: DSCP and the two ECN bits.
    pub fn tos(&self) -> u8 {
        self.0.as_ref()[1]
    }

    /// Whether routers must not fragment the packet.
    pub fn dont_fragment(&self) -> bool {
        self.0.as_ref()[6] & 0x40 != 0
    }

    /// Hops left.
    pub fn ttl(&self) -> u8 {
        self.0.as_ref()[8]
    }

    /// Protocol of the payload; 17 is UDP.
    pub fn protocol(&self) -> u8 {
        self.0.as_ref()[9]
    }

    /// Source address.
    pub fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// What follows the header and its options, up to the total length.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[self.header_len()..self.total_len()]
    }

    fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[0] & 0x0f) * 4
    }

    fn total_len(&self) -> usize {
        usize::from(u16_at(self.0.as_ref(), 2))
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let bytes = self.0.as_ref();
        Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
    }
}

const LAYER: &str = "ipv4";

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 24] = [
        0x45, 0x02, 0x00, 0x16, 0x00, 0x00, 0x40, 0x00, 64, 17, 0xdf, 0x60, 172, 30, 1, 1, 172, 30,
        2, 1, 0xaa, 0xbb, 0xcc, 0xdd,
    ];

    #[test]
    fn a_packet_is_taken_apart_and_padding_is_cut_off() {
        let packet = Packet::new_checked(PACKET).unwrap();

        assert_eq!(packet.tos(), 2);
        assert!(packet.dont_fragment());
        assert_eq!((packet.ttl(), packet.protocol()), (64, 17));
        assert_eq!(packet.source(), Ipv4Addr::new(172, 30, 1, 1));
        assert_eq!(packet.destination(), Ipv4Addr::new(172, 30, 2, 1));
        assert_eq!(packet.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(Packet::new_checked(&PACKET[..19]).is_err());
        assert!(Packet::new_checked(&PACKET[..21]).is_err());
        for (at, value) in [(0, 0x65), (0, 0x44), (0, 0x4f), (3, 19)] {
            let mut bytes = PACKET;
            bytes[at] = value;
            assert!(Packet::new_checked(bytes).is_err(), "byte {at} = {value}");
        }
    }
}
