//! Frames between peers: heartbeats and probes. They are told apart by their length alone (Weave
//! Net sleeve overlay, special frames section).
//!
//! ```text
//!   22 bytes      heartbeat: 14 zeros, then the uid of the connection
//!   60001 bytes   large probe: zeros; arrives only if fragments of UDP packets do
//!   all others    size probe: zeros; the MTU it tries is 14 less than its length
//! ```

use crate::packet::ethernet::HEADER_LEN;

const HEARTBEAT_LEN: usize = HEADER_LEN + 8;
/// Length of the large probe in bytes.
pub const LARGE_PROBE: usize = 60_001;
/// Length in bytes of the frame that makes the kernel tell the MTU of the path: no path carries it
/// whole, nothing of it is sent.
pub const TRIGGER: usize = 60_000;

/// A frame of a peer to its neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// The peer is there and means this connection.
    Heartbeat {
        /// Uid of the connection.
        uid: u64,
    },
    /// Fragments arrive.
    LargeProbe,
    /// Packets of this MTU arrive.
    SizeProbe {
        /// Bytes of inner IP packet.
        mtu: u16,
    },
}

impl Special {
    /// Reads a frame whose addresses and type are zero. `None`: a large probe that is not all
    /// zeros, ignore it.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let body = frame.get(HEADER_LEN..)?;
        match frame.len() {
            HEARTBEAT_LEN => {
                let uid = u64::from_be_bytes(body.try_into().ok()?);
                Some(Self::Heartbeat { uid })
            }
            LARGE_PROBE if body.iter().any(|byte| *byte != 0) => None,
            LARGE_PROBE => Some(Self::LargeProbe),
            _ => u16::try_from(body.len())
                .ok()
                .map(|mtu| Self::SizeProbe { mtu }),
        }
    }

    /// The frame.
    #[must_use]
    pub fn frame(self) -> Vec<u8> {
        match self {
            Self::Heartbeat { uid } => {
                let mut frame = vec![0; HEARTBEAT_LEN];
                frame[HEADER_LEN..].copy_from_slice(&uid.to_be_bytes());
                frame
            }
            Self::LargeProbe => vec![0; LARGE_PROBE],
            Self::SizeProbe { mtu } => vec![0; HEADER_LEN + usize::from(mtu)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_tells() {
        let specials = [
            Special::Heartbeat { uid: 7 },
            Special::LargeProbe,
            Special::SizeProbe { mtu: 1438 },
            Special::SizeProbe { mtu: 0 },
        ];
        for special in specials {
            assert_eq!(Special::parse(&special.frame()), Some(special));
        }
    }

    #[test]
    fn a_large_probe_that_was_changed_is_ignored() {
        let mut frame = Special::LargeProbe.frame();
        frame[60_000] = 1;
        assert_eq!(Special::parse(&frame), None);
        assert_eq!(Special::parse(&frame[..13]), None);
    }
}
