//! Cutting a large frame into packets, as the kernel does (`tcp_gso_segment`, `udp_gso_segment`).
//!
//! The invariant: every packet has right lengths, identification, sequence number, flags and
//! checksums; their payloads put together are the payload of the frame.

use super::{Kind, Offload};
use crate::packet::{
    checksum::{fold, sum},
    ethernet,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The frame contradicts its offload header, or has headers that nothing here can cut. Drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Headers do not fit into the frame, or name another protocol than the offload does.
    #[error("frame of {len} bytes does not have the headers that its offload needs")]
    Headers {
        /// Length of the frame in bytes.
        len: usize,
    },
    /// The place of the checksum lies outside of the frame.
    #[error("checksum at {start} + {field} is outside of a frame of {len} bytes")]
    Checksum {
        /// Where the sum starts.
        start: u16,
        /// Offset of the field.
        field: u16,
        /// Length of the frame in bytes.
        len: usize,
    },
}

/// A frame and how it is cut. Nothing is copied before [`write`](Self::write).
#[derive(Debug, Clone)]
pub struct Split<'a> {
    frame: &'a [u8],
    cut: Option<Cut>,
    checksum: Option<(usize, usize)>,
}

/// Where the headers of a frame that is cut are.
#[derive(Debug, Clone, Copy)]
struct Cut {
    ip: usize,
    version: u8,
    transport: usize,
    protocol: u8,
    payload: usize,
    size: usize,
}

impl<'a> Split<'a> {
    /// Checks that `frame` can be cut as `offload` says.
    ///
    /// # Errors
    /// [`Error`] if the two contradict each other.
    pub fn new(offload: Offload, frame: &'a [u8]) -> Result<Self, Error> {
        let headers = Error::Headers { len: frame.len() };
        let cut = match offload.kind {
            Kind::Whole => None,
            kind => Some(Cut::of(kind, offload.size, frame).ok_or(headers)?),
        };
        let checksum = match offload.checksum {
            Some((start, field)) if cut.is_none() => {
                let (at, end) = (usize::from(start), usize::from(start) + usize::from(field));
                if end + 2 > frame.len() {
                    return Err(Error::Checksum {
                        start,
                        field,
                        len: frame.len(),
                    });
                }
                Some((at, end))
            }
            _ => None,
        };
        Ok(Self {
            frame,
            cut,
            checksum,
        })
    }

    /// How many packets it gives; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.cut {
            Some(cut) => (self.frame.len() - cut.payload).div_ceil(cut.size).max(1),
            None => 1,
        }
    }

    /// Length in bytes of packet `index`.
    #[must_use]
    pub fn len_of(&self, index: usize) -> usize {
        match self.cut {
            Some(cut) => cut.payload + self.payload(cut, index).len(),
            None => self.frame.len(),
        }
    }

    fn payload(&self, cut: Cut, index: usize) -> &'a [u8] {
        let payload = &self.frame[cut.payload..];
        let start = (index * cut.size).min(payload.len());
        &payload[start..payload.len().min(start + cut.size)]
    }

    /// Appends packet `index` to `out`.
    pub fn write(&self, index: usize, out: &mut Vec<u8>) {
        let at = out.len();
        let Some(cut) = self.cut else {
            out.extend_from_slice(self.frame);
            if let Some((start, field)) = self.checksum {
                // The field holds the sum of the pseudo-header and takes part in the sum.
                let packet = &mut out[at..];
                let mut value = !fold(sum(0, &packet[start..]));
                if value == 0 {
                    value = 0xffff;
                }
                packet[field..field + 2].copy_from_slice(&value.to_be_bytes());
            }
            return;
        };
        let payload = self.payload(cut, index);
        out.extend_from_slice(&self.frame[..cut.payload]);
        out.extend_from_slice(payload);
        cut.finish(&mut out[at..], index, index + 1 == self.count());
    }
}

impl Cut {
    fn of(kind: Kind, size: u16, frame: &[u8]) -> Option<Self> {
        let ip = ethernet::HEADER_LEN;
        let version = *frame.get(ip)? >> 4;
        let (transport, protocol) = match version {
            4 => {
                let header_len = usize::from(frame[ip] & 0x0f) * 4;
                let protocol = *frame.get(ip + 9)?;
                (header_len >= 20).then_some((ip + header_len, protocol))?
            }
            6 => (ip + 40, *frame.get(ip + 6)?),
            _ => return None,
        };
        let wanted = match kind {
            Kind::Tcp4 => (4, TCP),
            Kind::Tcp6 => (6, TCP),
            Kind::Udp => (version, UDP),
            Kind::Whole => return None,
        };
        let header_len = match protocol {
            TCP => usize::from(*frame.get(transport + 12)? >> 4) * 4,
            _ => 8,
        };
        let minimum = if protocol == TCP { 20 } else { 8 };
        let payload = transport + header_len;
        let sound = wanted == (version, protocol)
            && size > 0
            && header_len >= minimum
            && payload <= frame.len();
        sound.then_some(Self {
            ip,
            version,
            transport,
            protocol,
            payload,
            size: size.into(),
        })
    }

    /// Makes the copied headers those of packet `index`.
    fn finish(self, packet: &mut [u8], index: usize, last: bool) {
        let transport_len = packet.len() - self.transport;
        let index = u32::try_from(index).expect("a frame below 64 KiB has fewer packets");
        if self.version == 4 {
            let total = length(packet.len() - self.ip);
            let header = &mut packet[self.ip..self.transport];
            header[2..4].copy_from_slice(&total);
            let id = u16::from_be_bytes([header[4], header[5]]);
            let low = u16::try_from(index).expect("a frame below 64 KiB has fewer packets");
            header[4..6].copy_from_slice(&id.wrapping_add(low).to_be_bytes());
            header[10..12].fill(0);
            let value = !fold(sum(0, header));
            header[10..12].copy_from_slice(&value.to_be_bytes());
        } else {
            let payload = length(transport_len);
            packet[self.ip + 4..self.ip + 6].copy_from_slice(&payload);
        }
        let transport = &mut packet[self.transport..];
        let field = if self.protocol == TCP {
            let sequence =
                u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            let ahead = index.wrapping_mul(u32::try_from(self.size).expect("from 16 bits"));
            transport[4..8].copy_from_slice(&sequence.wrapping_add(ahead).to_be_bytes());
            if !last {
                transport[13] &= !FIN_PSH;
            }
            if index > 0 {
                transport[13] &= !CWR;
            }
            16
        } else {
            transport[4..6].copy_from_slice(&length(transport_len));
            6
        };
        transport[field..field + 2].fill(0);
        let mut value = !fold(sum(self.pseudo(packet), &packet[self.transport..]));
        if value == 0 && self.protocol == UDP {
            value = 0xffff;
        }
        let at = self.transport + field;
        packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1).
    fn pseudo(self, packet: &[u8]) -> u64 {
        let addresses = if self.version == 4 {
            self.ip + 12..self.ip + 20
        } else {
            self.ip + 8..self.ip + 40
        };
        let len = packet.len() - self.transport;
        sum(0, &packet[addresses])
            + u64::from(self.protocol)
            + u64::try_from(len).expect("lengths fit 64 bits")
    }
}

fn length(bytes: usize) -> [u8; 2] {
    // A packet cut from a frame below 64 KiB states its length in 16 bits.
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}
