//! The VNI of fast datapath packets: origin and destination peer in 24 bits.
//!
//! ```text
//!  23         12 11          0
//!  +------------+------------+
//!  | destination|   origin   |
//!  +------------+------------+
//! ```
//!
//! Origin is the peer whose pod sent the frame. Destination is the final peer of a unicast and the
//! next hop of a broadcast copy.

use std::fmt;

use super::ShortId;
use crate::packet::{self, vxlan};

/// Origin and destination of a packet between peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni {
    /// The peer that captured the frame.
    pub origin: ShortId,
    /// The peer it goes to.
    pub destination: ShortId,
}

impl Vni {
    /// The VXLAN header that carries this VNI.
    #[must_use]
    pub fn header(self) -> [u8; vxlan::HEADER_LEN] {
        vxlan::Repr::new(self.into())
            .expect("invariant: two 12-bit halves fit into 24 bits")
            .emit()
    }

    /// Reads the VNI of a VXLAN packet.
    ///
    /// # Errors
    /// What [`vxlan::Packet::new_checked`] refuses.
    pub fn from_packet(bytes: &[u8]) -> Result<Self, packet::Error> {
        Ok(Self::from_low_bits(
            vxlan::Packet::new_checked(bytes)?.vni(),
        ))
    }

    /// Origin from bits 0–11 and destination from bits 12–23; higher bits are not looked at.
    #[must_use]
    pub fn from_low_bits(vni: u32) -> Self {
        let half = |bits: u32| {
            ShortId::try_from(bits & 0xfff).expect("invariant: a 12-bit mask leaves 12 bits")
        };
        Self {
            origin: half(vni),
            destination: half(vni >> 12),
        }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        Self::from(vni.origin) | Self::from(vni.destination) << 12
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}→{}", self.origin, self.destination)
    }
}
