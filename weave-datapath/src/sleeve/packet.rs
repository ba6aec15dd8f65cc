//! Layout of a sleeve packet: the name of its sender, then frames, each with its own addresses.
//!
//! ```text
//!  UDP payload   0   6  name of the peer that sends this packet
//!                6   .  the records, in clear; or sealed, see `seal`
//!
//!  record        0   6  name of the origin: the peer that took the frame off its bridge
//!                6   6  name of the destination peer
//!               12   2  length L of the frame in bytes
//!               14   L  the Ethernet frame, without checksum
//! ```
//!
//! The invariant: whatever the bytes, [`records`] ends, and yields every whole record that comes
//! before the first broken one (Weave Net sleeve overlay, plaintext packet section).

use super::PeerName;

/// Bytes of a peer name.
pub const NAME_LEN: usize = 6;
/// Bytes before each frame.
pub const RECORD_HEADER_LEN: usize = 14;
/// Longest UDP payload over IPv4, in bytes.
pub const MAX_PAYLOAD: usize = 65_507;

/// A frame on its way between two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The peer that took the frame off its bridge.
    pub origin: PeerName,
    /// The peer it is for: the last one of a unicast, the next one of a broadcast.
    pub destination: PeerName,
    /// The Ethernet frame. Its length is stated in 16 bits.
    pub frame: &'a [u8],
}

/// A packet does not end where its records do. What came before is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The last record states more bytes than there are.
    #[error("too short; expected frame of length {stated}, got {got}")]
    Truncated {
        /// Length that the record states, in bytes.
        stated: usize,
        /// Bytes left.
        got: usize,
    },
    /// Bytes are left that are no record.
    #[error("{0} octets of trailing garbage")]
    Trailing(usize),
}

/// Takes the name of the sender off a UDP payload. `None`: shorter than a name, drop it.
#[must_use]
pub fn split_sender(payload: &[u8]) -> Option<(PeerName, &[u8])> {
    let (name, rest) = payload.split_first_chunk::<NAME_LEN>()?;
    Some((name_from(name), rest))
}

/// The records of an opened packet, without the name in front.
#[must_use]
pub fn records(body: &[u8]) -> Records<'_> {
    Records { rest: body }
}

/// Iterator over the records of a packet; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((header, rest)) = rest.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return Some(Err(Error::Trailing(rest.len())));
        };
        let [o0, o1, o2, o3, o4, o5, d0, d1, d2, d3, d4, d5, high, low] = *header;
        let stated = usize::from(u16::from_be_bytes([high, low]));
        let Some((frame, rest)) = rest.split_at_checked(stated) else {
            return Some(Err(Error::Truncated {
                stated,
                got: rest.len(),
            }));
        };
        self.rest = rest;
        Some(Ok(Record {
            origin: name_from(&[o0, o1, o2, o3, o4, o5]),
            destination: name_from(&[d0, d1, d2, d3, d4, d5]),
            frame,
        }))
    }
}

/// The six bytes of a name.
#[must_use]
pub fn name_bytes(name: PeerName) -> [u8; NAME_LEN] {
    let [_, _, a, b, c, d, e, f] = name.0.to_be_bytes();
    [a, b, c, d, e, f]
}

fn name_from(bytes: &[u8; NAME_LEN]) -> PeerName {
    let [a, b, c, d, e, f] = *bytes;
    PeerName(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// Bytes in front of a frame of `len` bytes. `None`: no record can state that length.
#[must_use]
pub fn header(
    origin: PeerName,
    destination: PeerName,
    len: usize,
) -> Option<[u8; RECORD_HEADER_LEN]> {
    let len = u16::try_from(len).ok()?;
    let mut header = [0; RECORD_HEADER_LEN];
    header[..NAME_LEN].copy_from_slice(&name_bytes(origin));
    header[NAME_LEN..2 * NAME_LEN].copy_from_slice(&name_bytes(destination));
    header[2 * NAME_LEN..].copy_from_slice(&len.to_be_bytes());
    Some(header)
}

/// Appends a record to the body of a packet. `false`: the frame is longer than 65 535 bytes and
/// nothing was appended.
#[must_use]
pub fn append(body: &mut Vec<u8>, record: Record<'_>) -> bool {
    match header(record.origin, record.destination, record.frame.len()) {
        Some(header) => {
            body.extend_from_slice(&header);
            body.extend_from_slice(record.frame);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_too_long_to_state_is_refused() {
        let mut body = Vec::new();
        let frame = vec![0; 65_536];
        let record = Record {
            origin: PeerName(1),
            destination: PeerName(2),
            frame: &frame,
        };

        assert!(!append(&mut body, record));
        assert!(body.is_empty());
        assert!(append(
            &mut body,
            Record {
                frame: &frame[1..],
                ..record
            }
        ));
        assert_eq!(records(&body).count(), 1);
    }

    #[test]
    fn a_payload_without_room_for_a_name_has_no_sender() {
        assert_eq!(split_sender(&[0; 5]), None);
        let (name, rest) = split_sender(&[2, 0, 0, 0, 0, 1, 9]).unwrap();
        assert_eq!(name.to_string(), "02:00:00:00:00:01");
        assert_eq!(rest, [9]);
    }
}
