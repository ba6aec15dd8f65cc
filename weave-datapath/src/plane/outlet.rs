//! Where a frame from the kernel is to go: the tag that the kernel programs put on it.
//!
//! ```text
//!   6  destination   6  source   2  0x88a8   2  control word   [2  0x88a8   2  control word]   ...
//!
//!   control word     bits 15..13  kind      bits 11..0  short id
//!                    0  from our bridge to the peer with this id
//!                    1  along the tree of the peer with this id
//!                    2  from the peer with this id; a second tag of kind 0 says to whom
//! ```
//!
//! A frame without tag comes from a bridge that no program serves. Frames for the kernel programs
//! carry tags of the same form: kind 0 names the origin of a frame for us, kind 2 that of one for
//! the peer in the second tag.

use crate::{
    fastdp::ShortId,
    gso::{HEADER_LEN, Offload},
};

const TAG: [u8; 2] = [0x88, 0xa8];
const TAG_LEN: u16 = 4;
const ADDRESSES: usize = 12;
const ID_BITS: u16 = 12;
const KIND_SHIFT: u16 = 13;

/// Where a frame is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlet {
    /// Nobody has decided yet: look its addresses up.
    Undecided,
    /// From our bridge to a peer.
    Unicast(ShortId),
    /// To every hop of this origin's tree that the kernel does not serve itself.
    Flood(ShortId),
    /// From one peer to another.
    Relay {
        /// Who took it off its bridge.
        origin: ShortId,
        /// Whom it is for.
        destination: ShortId,
    },
}

/// The frame is too short, or its tags make no sense. Drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of {0} bytes from the kernel has no sense in its tag")]
pub struct Malformed(pub usize);

/// Takes the tags off the front of `buffer`, which holds an offload header and a frame. The frame
/// starts at the returned index; its offload counts from there.
///
/// # Errors
/// [`Malformed`]; never with the kernel programs of this crate.
pub fn take(buffer: &mut [u8]) -> Result<(Outlet, Offload, usize), Malformed> {
    let malformed = Malformed(buffer.len());
    let (header, frame) = buffer.split_first_chunk::<HEADER_LEN>().ok_or(malformed)?;
    let mut offload = Offload::parse(*header).map_err(|_| malformed)?;
    let Some(first) = word(frame, 0)? else {
        return Ok((Outlet::Undecided, offload, HEADER_LEN));
    };
    let (outlet, tags) = match (first >> KIND_SHIFT, id(first)) {
        (0, destination) => (Outlet::Unicast(destination), 1),
        (1, origin) => (Outlet::Flood(origin), 1),
        (2, origin) => {
            let destination = id(word(frame, 1)?.ok_or(malformed)?);
            (
                Outlet::Relay {
                    origin,
                    destination,
                },
                2,
            )
        }
        _ => return Err(malformed),
    };
    let shift = TAG_LEN * tags;
    if let Some((start, _)) = &mut offload.checksum {
        *start = start.checked_sub(shift).ok_or(malformed)?;
    }
    let shift = usize::from(shift);
    buffer.copy_within(HEADER_LEN..HEADER_LEN + ADDRESSES, HEADER_LEN + shift);
    Ok((outlet, offload, HEADER_LEN + shift))
}

/// Who a frame for the kernel is from, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inlet {
    /// From a peer, for us: into the bridge and along the peer's tree.
    Deliver(ShortId),
    /// From one peer to another that the tunnel reaches.
    Relay {
        /// Who took it off its bridge.
        origin: ShortId,
        /// Whom it is for.
        destination: ShortId,
    },
}

/// Bytes of offload header, addresses and tags.
const HEAD: usize = HEADER_LEN + ADDRESSES + 8;

/// What goes in front of a frame that user space gives to the kernel programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; HEAD],
    len: usize,
}

impl Head {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Tags a frame. `bytes` is an offload header and a frame; the kernel gets the head and then the
/// second part of what is returned. `None`: the frame has no addresses.
#[must_use]
pub fn put(inlet: Inlet, bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (front, rest) = bytes.split_at_checked(HEADER_LEN + ADDRESSES)?;
    let id = u16::from;
    let words = match inlet {
        Inlet::Deliver(origin) => [Some(id(origin)), None],
        Inlet::Relay {
            origin,
            destination,
        } => [Some(2 << KIND_SHIFT | id(origin)), Some(id(destination))],
    };
    let mut head = Head {
        bytes: [0; HEAD],
        len: front.len(),
    };
    head.bytes[..front.len()].copy_from_slice(front);
    for word in words.into_iter().flatten() {
        head.bytes[head.len..head.len + 2].copy_from_slice(&TAG);
        head.bytes[head.len + 2..head.len + 4].copy_from_slice(&word.to_be_bytes());
        head.len += usize::from(TAG_LEN);
    }
    let shift = u16::try_from(head.len - front.len()).ok()?;
    for at in [field::HEADERS, field::CHECKSUM_START] {
        let value = u16::from_ne_bytes([head.bytes[at], head.bytes[at + 1]]);
        if value != 0 {
            head.bytes[at..at + 2].copy_from_slice(&(value + shift).to_ne_bytes());
        }
    }
    Some((head, rest))
}

/// Offsets in the offload header of what counts from the beginning of the frame.
mod field {
    pub(super) const HEADERS: usize = 2;
    pub(super) const CHECKSUM_START: usize = 6;
}

/// The control word of tag `index`; `None` if something else is there.
fn word(frame: &[u8], index: usize) -> Result<Option<u16>, Malformed> {
    let at = ADDRESSES + index * usize::from(TAG_LEN);
    let tag = frame.get(at..at + 4).ok_or(Malformed(frame.len()))?;
    Ok((tag[..2] == TAG).then(|| u16::from_be_bytes([tag[2], tag[3]])))
}

fn id(word: u16) -> ShortId {
    let id = word & ((1 << ID_BITS) - 1);
    ShortId::try_from(id).expect("twelve bits are a short id")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn short(number: u16) -> ShortId {
        ShortId::try_from(number).unwrap()
    }

    fn buffer(tags: &[u16], checksum: Option<(u16, u16)>) -> Vec<u8> {
        let offload = Offload {
            checksum,
            ..Offload::NONE
        };
        let mut bytes = offload.emit(0).to_vec();
        bytes.extend(1..=12);
        for tag in tags {
            bytes.extend(TAG);
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend([8, 0, 0x45, 99]);
        bytes
    }

    #[test]
    fn the_tag_is_taken_off_and_the_checksum_moves_along() {
        let cases = [
            (vec![], Outlet::Undecided),
            (vec![0x0123], Outlet::Unicast(short(0x123))),
            (vec![0x2fff], Outlet::Flood(short(0xfff))),
            (
                vec![0x4001, 0x0002],
                Outlet::Relay {
                    origin: short(1),
                    destination: short(2),
                },
            ),
        ];
        for (tags, expected) in cases {
            let shift = u16::try_from(tags.len() * 4).unwrap();
            let mut bytes = buffer(&tags, Some((34 + shift, 16)));
            let (outlet, offload, at) = take(&mut bytes).unwrap();
            assert_eq!(outlet, expected);
            assert_eq!(offload.checksum, Some((34, 16)));
            let frame: Vec<u8> = (1..=12).chain([8, 0, 0x45, 99]).collect();
            assert_eq!(bytes[at..], frame);
        }
    }

    #[test]
    fn tags_without_sense_are_refused() {
        for tags in [vec![0x6000], vec![0xe001], vec![0x4001]] {
            assert!(take(&mut buffer(&tags, None)).is_err());
        }
        assert!(take(&mut buffer(&[1], Some((2, 0)))).is_err());
    }

    #[test]
    fn what_is_put_on_is_what_the_programs_take_off() {
        let offload = Offload {
            kind: crate::gso::Kind::Tcp4,
            size: 1336,
            checksum: Some((34, 16)),
        };
        let mut bytes = offload.emit(54).to_vec();
        bytes.extend(1..=60);
        let (origin, destination) = (short(7), short(9));
        let deliver = put(Inlet::Deliver(origin), &bytes).unwrap();
        let relay = put(
            Inlet::Relay {
                origin,
                destination,
            },
            &bytes,
        )
        .unwrap();
        for ((head, rest), shift) in [(deliver, 4_u16), (relay, 8)] {
            let mut tagged = head.as_bytes().to_vec();
            tagged.extend_from_slice(rest);
            let (header, frame) = tagged.split_first_chunk::<HEADER_LEN>().unwrap();
            let read = Offload::parse(*header).unwrap();
            assert_eq!(read.checksum, Some((34 + shift, 16)));
            assert_eq!(header[2..4], (54 + shift).to_ne_bytes());
            assert_eq!(frame.len(), 60 + usize::from(shift));
            assert_eq!(frame[12 + usize::from(shift)..], bytes[HEADER_LEN + 12..]);
            assert_eq!(frame[12..14], TAG);
        }
        assert_eq!(relay.0.as_bytes()[24..26], [0x40, 7]);
        assert_eq!(relay.0.as_bytes()[28..30], [0x00, 9]);
        assert_eq!(put(Inlet::Deliver(origin), &bytes[..21]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_offered(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((_, _, at)) = take(&mut bytes) {
                prop_assert!(at <= bytes.len());
            }
        }
    }
}
