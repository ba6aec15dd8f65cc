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
//! A frame without tag comes from a bridge that no program serves.

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

    proptest! {
        #[test]
        fn any_bytes_can_be_offered(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((_, _, at)) = take(&mut bytes) {
                prop_assert!(at <= bytes.len());
            }
        }
    }
}
