//! Large frames: as the kernel hands them over, cut into packets, and put together again.
//!
//! A TAP device with offloads gives and takes frames with up to 64 KiB of one TCP or UDP flow and a
//! header that says how to cut them ([`Offload`]). [`split`] cuts them as the kernel would;
//! [`coalesce`] is its inverse for what arrives. The law: cutting, and putting together again what
//! was cut, gives the receiver the same bytes of every flow in the same order, with right checksums.

pub mod coalesce;
pub mod split;

/// Bytes of the header in front of each frame of the TAP device (`struct virtio_net_hdr`,
/// `linux/virtio_net.h`; its fields have the byte order of the host).
pub const HEADER_LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const ECN: u8 = 0x80;

/// How a large frame is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It is not to be cut.
    Whole,
    /// A TCP segment over IPv4.
    Tcp4,
    /// A TCP segment over IPv6.
    Tcp6,
    /// UDP datagrams of equal length, over IPv4 or IPv6.
    Udp,
}

/// What is left to do with a frame before it may leave as packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// How to cut it.
    pub kind: Kind,
    /// Bytes of payload in each packet, if it is cut.
    pub size: u16,
    /// Where the checksum starts, if it is still to be made: offset in the frame, and from there
    /// the offset of the field. The field holds the sum of the pseudo-header.
    pub checksum: Option<(u16, u16)>,
}

/// The header is of a kind that was not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offload header asks for the unknown segmentation {0}")]
pub struct UnknownKind(pub u8);

impl Offload {
    /// A complete packet.
    pub const NONE: Self = Self {
        kind: Kind::Whole,
        size: 0,
        checksum: None,
    };

    /// Reads the header in front of a frame.
    ///
    /// # Errors
    /// [`UnknownKind`] for a segmentation that [`Kind`] does not name; drop the frame.
    pub fn parse(header: [u8; HEADER_LEN]) -> Result<Self, UnknownKind> {
        let [flags, kind, _, _, s0, s1, c0, c1, o0, o1] = header;
        let kind = match kind & !ECN {
            0 => Kind::Whole,
            1 => Kind::Tcp4,
            4 => Kind::Tcp6,
            5 => Kind::Udp,
            unknown => return Err(UnknownKind(unknown)),
        };
        let start = u16::from_ne_bytes([c0, c1]);
        let field = u16::from_ne_bytes([o0, o1]);
        Ok(Self {
            kind,
            size: u16::from_ne_bytes([s0, s1]),
            checksum: (flags & NEEDS_CHECKSUM != 0).then_some((start, field)),
        })
    }

    /// The header for a frame whose protocol headers end at `headers` bytes.
    #[must_use]
    pub fn emit(self, headers: u16) -> [u8; HEADER_LEN] {
        let kind = match self.kind {
            Kind::Whole => 0,
            Kind::Tcp4 => 1,
            Kind::Tcp6 => 4,
            Kind::Udp => 5,
        };
        let (flags, (start, field)) = match self.checksum {
            Some(place) => (NEEDS_CHECKSUM, place),
            None => (0, (0, 0)),
        };
        let headers = if self.kind == Kind::Whole { 0 } else { headers };
        let [h0, h1] = headers.to_ne_bytes();
        let [s0, s1] = self.size.to_ne_bytes();
        let [c0, c1] = start.to_ne_bytes();
        let [o0, o1] = field.to_ne_bytes();
        [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        for kind in [Kind::Whole, Kind::Tcp4, Kind::Tcp6, Kind::Udp] {
            for checksum in [None, Some((34, 16))] {
                let offload = Offload {
                    kind,
                    size: 1336,
                    checksum,
                };
                assert_eq!(Offload::parse(offload.emit(54)), Ok(offload));
            }
        }
    }

    #[test]
    fn unknown_kinds_are_refused_and_the_congestion_bit_is_not_one() {
        let mut header = Offload::NONE.emit(0);
        header[1] = 3;
        assert_eq!(Offload::parse(header), Err(UnknownKind(3)));
        header[1] = 0x81;
        assert_eq!(Offload::parse(header).unwrap().kind, Kind::Tcp4);
    }
}
