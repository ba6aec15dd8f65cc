//! Putting TCP segments that arrive one after the other together into large frames.
//!
//! One large frame costs the kernel about what one packet costs. Only segments that differ in
//! nothing but what [`split`](super::split) changes are put together, and only if their checksums
//! are right; so that a receiver sees the bytes it would have seen. Order within a flow is kept:
//! a packet that cannot be added ends the frame of its flow first.

use super::{HEADER_LEN, Kind, Offload};
use crate::packet::{
    checksum::{fold, sum},
    ethernet,
};

const TCP: u8 = 6;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// Flows that are put together at the same time; a further flow ends the oldest.
const FLOWS: usize = 8;
/// Longest frame, without Ethernet header, in bytes.
const MAX_PACKET: usize = 65_535;

/// Collects frames and gives them on, with an offload header in front of each.
#[derive(Debug, Default)]
pub struct Coalescer {
    flows: Vec<Flow>,
    spare: Vec<Vec<u8>>,
}

/// A frame that may grow.
#[derive(Debug)]
struct Flow {
    mark: u16,
    /// Offload header, then the frame.
    bytes: Vec<u8>,
    segment: Segment,
    size: usize,
    next: u32,
    count: usize,
    /// A short or pushed segment was the last.
    closed: bool,
}

/// Where things are in a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    version: u8,
    transport: usize,
    payload: usize,
    len: usize,
}

impl Coalescer {
    /// Nothing is collected yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a frame in. Only frames with the same `mark` are put together. `emit` gets what must
    /// leave now: mark, and offload header with frame.
    pub fn push(&mut self, mark: u16, frame: &[u8], emit: &mut impl FnMut(u16, &[u8])) {
        let Some(segment) = Segment::of(frame) else {
            if may_be_tcp(frame) {
                self.flush(emit);
            }
            let mut bytes = self.buffer();
            bytes.extend_from_slice(&Offload::NONE.emit(0));
            bytes.extend_from_slice(frame);
            emit(mark, &bytes);
            self.spare.push(bytes);
            return;
        };
        let same = self.flows.iter().position(|flow| {
            let ours = &flow.bytes[HEADER_LEN..];
            flow.mark == mark && flow.segment.same_flow(ours, segment, frame)
        });
        if let Some(index) = same {
            let flow = &mut self.flows[index];
            if flow.takes(segment, frame) {
                flow.append(segment, frame);
                return;
            }
            self.end(index, emit);
        }
        if self.flows.len() == FLOWS {
            self.end(0, emit);
        }
        let mut bytes = self.buffer();
        bytes.extend_from_slice(&[0; HEADER_LEN]);
        bytes.extend_from_slice(&frame[..segment.payload + segment.len]);
        self.flows.push(Flow {
            mark,
            segment,
            size: segment.len,
            next: sequence(frame, segment).wrapping_add(length(segment.len)),
            count: 1,
            closed: segment.len == 0 || flags(frame, segment) != ACK || !segment.is_sound(frame),
            bytes,
        });
    }

    /// Gives on all that was collected; call it when nothing more is waiting to be taken in.
    pub fn flush(&mut self, emit: &mut impl FnMut(u16, &[u8])) {
        while !self.flows.is_empty() {
            self.end(0, emit);
        }
    }

    fn end(&mut self, index: usize, emit: &mut impl FnMut(u16, &[u8])) {
        let mut flow = self.flows.remove(index);
        flow.finish();
        emit(flow.mark, &flow.bytes);
        self.spare.push(flow.bytes);
    }

    fn buffer(&mut self) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        self.spare.truncate(FLOWS);
        bytes.clear();
        bytes
    }
}

impl Flow {
    /// Whether the segment continues this frame and nothing but payload is new in it.
    fn takes(&self, segment: Segment, frame: &[u8]) -> bool {
        let ours = &self.bytes[HEADER_LEN..];
        let pushed = flags(frame, segment);
        !self.closed
            && segment.len > 0
            && segment.len <= self.size
            && sequence(frame, segment) == self.next
            && matches!(pushed, ACK | 0x18)
            && self.bytes.len() - HEADER_LEN - ethernet::HEADER_LEN + segment.len <= MAX_PACKET
            && self.segment.same_headers(ours, segment, frame)
            && segment.is_sound(frame)
    }

    fn append(&mut self, segment: Segment, frame: &[u8]) {
        self.bytes
            .extend_from_slice(&frame[segment.payload..segment.payload + segment.len]);
        self.next = self.next.wrapping_add(length(segment.len));
        self.count += 1;
        let pushed = flags(frame, segment) & PSH;
        self.closed = segment.len < self.size || pushed != 0;
        self.bytes[HEADER_LEN + self.segment.transport + 13] |= pushed;
    }

    /// Writes lengths, checksums and offload header of what was collected.
    fn finish(&mut self) {
        if self.count == 1 {
            self.bytes[..HEADER_LEN].copy_from_slice(&Offload::NONE.emit(0));
            return;
        }
        let (head, frame) = self.bytes.split_at_mut(HEADER_LEN);
        let transport = self.segment.transport;
        let ip = ethernet::HEADER_LEN;
        let kind = if self.segment.version == 4 {
            let total = frame.len() - ip;
            frame[ip + 2..ip + 4].copy_from_slice(&low_bytes(total));
            frame[ip + 10..ip + 12].fill(0);
            let value = !fold(sum(0, &frame[ip..transport]));
            frame[ip + 10..ip + 12].copy_from_slice(&value.to_be_bytes());
            Kind::Tcp4
        } else {
            let payload = frame.len() - transport;
            frame[ip + 4..ip + 6].copy_from_slice(&low_bytes(payload));
            Kind::Tcp6
        };
        // The kernel completes the checksum: the field holds the sum of the pseudo-header.
        let pseudo = fold(self.segment.pseudo(frame, frame.len() - transport));
        frame[transport + 16..transport + 18].copy_from_slice(&pseudo.to_be_bytes());
        let offload = Offload {
            kind,
            size: u16::try_from(self.size).unwrap_or(u16::MAX),
            checksum: Some((low(transport), 16)),
        };
        head.copy_from_slice(&offload.emit(low(self.segment.payload)));
    }
}

impl Segment {
    /// `None`: not a TCP segment that could be put together with others.
    fn of(frame: &[u8]) -> Option<Self> {
        let ip = ethernet::HEADER_LEN;
        let kind = frame.get(12..ip)?;
        let (version, transport, end) = if kind == [0x08, 0x00] {
            let header = frame.get(ip..ip + 20)?;
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            if header[0] != 0x45 || header[9] != TCP || fragment != 0 {
                return None;
            }
            (4, ip + 20, ip + total)
        } else if kind == [0x86, 0xdd] {
            let header = frame.get(ip..ip + 40)?;
            let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if header[0] >> 4 != 6 || header[6] != TCP {
                return None;
            }
            (6, ip + 40, ip + 40 + payload)
        } else {
            return None;
        };
        let header_len = usize::from(*frame.get(transport + 12)? >> 4) * 4;
        let payload = transport + header_len;
        (header_len >= 20 && payload <= end && end <= frame.len()).then(|| Self {
            version,
            transport,
            payload,
            len: end - payload,
        })
    }

    /// Whether the two belong to one connection: addresses and ports.
    fn same_flow(self, ours: &[u8], other: Self, theirs: &[u8]) -> bool {
        let addresses = if self.version == 4 { 26..34 } else { 22..54 };
        self.version == other.version
            && ours[addresses.clone()] == theirs[addresses]
            && ours[self.transport..self.transport + 4]
                == theirs[other.transport..other.transport + 4]
    }

    /// Whether all that cutting would copy is equal: Ethernet, IP but lengths, identification and
    /// checksum, TCP acknowledgement, window, urgent pointer and options.
    fn same_headers(self, ours: &[u8], other: Self, theirs: &[u8]) -> bool {
        let (t, ip) = (self.transport, ethernet::HEADER_LEN);
        let same = |range: std::ops::Range<usize>| ours[range.clone()] == theirs[range];
        let network = if self.version == 4 {
            same(ip..ip + 2) && same(ip + 6..ip + 10)
        } else {
            same(ip..ip + 4) && same(ip + 6..ip + 8)
        };
        self.payload == other.payload
            && same(0..ip)
            && network
            && same(t + 8..t + 13)
            && same(t + 14..t + 16)
            && same(t + 18..self.payload)
    }

    /// Whether the checksums are right.
    fn is_sound(self, frame: &[u8]) -> bool {
        let end = self.payload + self.len;
        let header = self.version == 6
            || fold(sum(0, &frame[ethernet::HEADER_LEN..self.transport])) == 0xffff;
        let pseudo = self.pseudo(frame, end - self.transport);
        header && fold(sum(pseudo, &frame[self.transport..end])) == 0xffff
    }

    fn pseudo(self, frame: &[u8], len: usize) -> u64 {
        let addresses = if self.version == 4 { 26..34 } else { 22..54 };
        sum(0, &frame[addresses])
            + u64::from(TCP)
            + u64::try_from(len).expect("lengths fit 64 bits")
    }
}

/// Whether a frame may belong to a flow that is being put together.
fn may_be_tcp(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&TCP),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&TCP),
        _ => false,
    }
}

fn sequence(frame: &[u8], segment: Segment) -> u32 {
    let at = segment.transport + 4;
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

fn flags(frame: &[u8], segment: Segment) -> u8 {
    frame[segment.transport + 13]
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a segment is shorter than 64 KiB")
}

fn low(at: usize) -> u16 {
    u16::try_from(at).expect("headers end within 200 bytes")
}

fn low_bytes(len: usize) -> [u8; 2] {
    u16::try_from(len)
        .expect("frames are kept below 64 KiB")
        .to_be_bytes()
}
