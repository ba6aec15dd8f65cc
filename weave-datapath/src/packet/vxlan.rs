//! VXLAN headers as the Linux driver demands them: flag I alone, every reserved bit zero.
//!
//! ```text
//!  0             1                   4             7
//!  +-------------+-------------------+-------------+------------+
//!  | flags 0x08  | reserved (zero)   | VNI 24 bits | zero       |
//!  +-------------+-------------------+-------------+------------+
//! ```

use super::{Error, need};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// The only flags byte in use: the VNI is valid.
pub const FLAGS: u8 = 0x08;

/// A checked view of a VXLAN packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the length, the flags and that reserved bytes are zero, as the kernel does.
    ///
    /// # Errors
    /// [`Error::Truncated`] below 8 bytes, [`Error::Illegal`] for other flags or a reserved byte
    /// that is not zero.
    pub fn new_checked(bytes: T) -> Result<Self, Error> {
        let packet = Self(bytes);
        let bytes = packet.0.as_ref();
        need(LAYER, bytes, HEADER_LEN)?;
        let illegal = |field| Error::Illegal {
            layer: LAYER,
            field,
        };
        if bytes[0] != FLAGS {
            return Err(illegal("flags byte"));
        }
        if bytes[1..4] != [0; 3] || bytes[7] != 0 {
            return Err(illegal("reserved byte"));
        }
        Ok(packet)
    }

    /// The network identifier, below 2^24.
    pub fn vni(&self) -> u32 {
        let bytes = self.0.as_ref();
        u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]])
    }

    /// The inner Ethernet frame.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

/// A VXLAN header as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    vni: u32,
}

impl Repr {
    /// A header with this identifier.
    ///
    /// # Errors
    /// [`Error::Illegal`] when `vni` does not fit into 24 bits.
    pub fn new(vni: u32) -> Result<Self, Error> {
        if vni >> 24 != 0 {
            return Err(Error::Illegal {
                layer: LAYER,
                field: "VNI",
            });
        }
        Ok(Self { vni })
    }

    /// Reads the header of a checked packet.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { vni: packet.vni() }
    }

    /// The header's bytes.
    #[must_use]
    pub fn emit(self) -> [u8; HEADER_LEN] {
        let [_, a, b, c] = self.vni.to_be_bytes();
        [FLAGS, 0, 0, 0, a, b, c, 0]
    }

    /// The network identifier.
    #[must_use]
    pub fn vni(self) -> u32 {
        self.vni
    }
}

const LAYER: &str = "vxlan";

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 9] = [0x08, 0, 0, 0, 0xa0, 0x47, 0x64, 0, 0x55];

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(PACKET).unwrap();
        assert_eq!(packet.vni(), 0xa0_4764);
        assert_eq!(packet.payload(), [0x55]);
    }

    #[test]
    fn construct_is_the_inverse_of_parse() {
        let repr = Repr::parse(&Packet::new_checked(PACKET).unwrap());
        assert_eq!(repr.emit(), PACKET[..8]);
        assert!(Repr::new(1 << 24).is_err());
    }

    #[test]
    fn what_the_kernel_drops_is_refused() {
        assert!(Packet::new_checked(&PACKET[..7]).is_err());
        for (at, value) in [(0, 0x00), (0, 0x0c), (0, 0x88), (1, 1), (3, 1), (7, 1)] {
            let mut bytes = PACKET;
            bytes[at] = value;
            assert!(Packet::new_checked(bytes).is_err(), "byte {at} = {value}");
        }
    }
}
