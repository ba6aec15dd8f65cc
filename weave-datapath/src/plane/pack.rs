//! Packing frames for one peer into UDP payloads, and payloads into runs that one call sends.
//!
//! A payload takes as many frames as it holds. A run is a row of payloads of equal length, of which
//! the last may be shorter: what the kernel cuts apart again (UDP segmentation offload). The
//! invariant: frames leave in the order they came, each in one payload, and no payload is longer
//! than the limit unless a single frame makes it so.

use crate::fastdp::PeerName;
use crate::sleeve::{
    packet::{NAME_LEN, RECORD_HEADER_LEN, name_bytes},
    seal::{OVERHEAD, Sealer, Stream},
};

/// Payloads in a run at most (`UDP_MAX_SEGMENTS`, `linux/udp.h`).
const MAX_PAYLOADS: usize = 64;
/// Bytes of a run at most: all is one IP packet until it is cut.
const MAX_RUN: usize = 65_507;

/// Payloads that leave by one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// All payloads, one after the other.
    pub bytes: &'a [u8],
    /// Length of each but the last.
    pub payload: usize,
}

/// Seals the payloads of a packer, and gives each its number.
pub trait Seal {
    /// Whether payloads are sealed.
    fn is_sealed(&self) -> bool;

    /// The sealer, and the next number of `stream`; `None`: payloads are sent in clear.
    fn next(&self, stream: Stream) -> Option<(&Sealer, u64)>;
}

/// Packs the frames of one stream of one link. Reusable; holds two buffers of at most 64 KiB.
#[derive(Debug, Default)]
pub struct Packer {
    /// Records of the payload that is being filled.
    body: Vec<u8>,
    /// Finished payloads.
    run: Vec<u8>,
    payload: usize,
    count: usize,
}

/// What a packer needs to know of its link.
#[derive(Debug)]
pub struct Envelope<'a, S> {
    /// Our name: it is in front of every payload.
    pub us: PeerName,
    /// By which stream the payloads leave.
    pub stream: Stream,
    /// Most bytes of a payload.
    pub limit: usize,
    /// What seals them.
    pub seal: &'a S,
    /// Whether several payloads may leave by one call.
    pub runs: bool,
}

impl<S: Seal> Envelope<'_, S> {
    fn overhead(&self) -> usize {
        NAME_LEN + if self.seal.is_sealed() { OVERHEAD } else { 0 }
    }
}

impl Packer {
    /// An empty packer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame of `len` bytes that `write` appends behind its record header. Runs that are
    /// complete go to `send`.
    pub fn push<S: Seal>(
        &mut self,
        envelope: &Envelope<'_, S>,
        header: [u8; RECORD_HEADER_LEN],
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
        send: &mut impl FnMut(Run<'_>),
    ) {
        let room = envelope.limit.saturating_sub(envelope.overhead());
        if !self.body.is_empty() && self.body.len() + RECORD_HEADER_LEN + len > room {
            self.close(envelope, send);
        }
        self.body.extend_from_slice(&header);
        write(&mut self.body);
    }

    /// Sends all that is left.
    pub fn flush<S: Seal>(&mut self, envelope: &Envelope<'_, S>, send: &mut impl FnMut(Run<'_>)) {
        if !self.body.is_empty() {
            self.close(envelope, send);
        }
        self.send_run(send);
    }

    /// Finishes the payload that is being filled.
    fn close<S: Seal>(&mut self, envelope: &Envelope<'_, S>, send: &mut impl FnMut(Run<'_>)) {
        let next = envelope.seal.next(envelope.stream);
        let len = envelope.overhead() + self.body.len();
        if len > self.payload || self.run.len() + len > MAX_RUN || !envelope.runs {
            self.send_run(send);
        }
        self.run.extend_from_slice(&name_bytes(envelope.us));
        match next {
            Some((sealer, number)) => {
                sealer.seal(&self.body, envelope.stream, number, &mut self.run);
            }
            None => self.run.extend_from_slice(&self.body),
        }
        self.body.clear();
        self.count += 1;
        if self.count == 1 {
            self.payload = len;
        }
        if len < self.payload || self.count == MAX_PAYLOADS {
            self.send_run(send);
        }
    }

    fn send_run(&mut self, send: &mut impl FnMut(Run<'_>)) {
        if self.count > 0 {
            send(Run {
                bytes: &self.run,
                payload: self.payload,
            });
        }
        self.run.clear();
        self.payload = 0;
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sleeve::packet::{header, records, split_sender};

    struct Clear;
    impl Seal for Clear {
        fn is_sealed(&self) -> bool {
            false
        }

        fn next(&self, _: Stream) -> Option<(&Sealer, u64)> {
            None
        }
    }

    fn pack(frames: &[Vec<u8>], limit: usize, runs: bool) -> Vec<Vec<u8>> {
        let us = PeerName(7);
        let envelope = Envelope {
            us,
            stream: Stream::Whole,
            limit,
            seal: &Clear,
            runs,
        };
        let mut payloads = Vec::new();
        let mut packer = Packer::new();
        let mut send = |run: Run<'_>| {
            let cut: Vec<_> = run.bytes.chunks(run.payload).map(<[u8]>::to_vec).collect();
            assert!(cut.len() <= MAX_PAYLOADS && run.bytes.len() <= MAX_RUN);
            assert!(runs || cut.len() == 1);
            payloads.extend(cut);
        };
        for frame in frames {
            let header = header(PeerName(1), PeerName(2), frame.len()).unwrap();
            let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
            packer.push(&envelope, header, frame.len(), write, &mut send);
        }
        packer.flush(&envelope, &mut send);
        packer.flush(&envelope, &mut send);
        payloads
    }

    proptest! {
        #[test]
        fn frames_arrive_in_order_and_payloads_keep_the_limit(
            sizes in prop::collection::vec(0..600_usize, 0..200),
            limit in 100..1000_usize,
            runs: bool,
        ) {
            let frames: Vec<_> = sizes.iter().enumerate()
                .map(|(index, size)| vec![u8::try_from(index % 256).unwrap(); *size])
                .collect();
            let payloads = pack(&frames, limit, runs);
            let mut arrived = Vec::new();
            for payload in &payloads {
                let (sender, body) = split_sender(payload).unwrap();
                prop_assert_eq!(sender, PeerName(7));
                let read: Vec<_> = records(body).map(|record| record.unwrap().frame.to_vec()).collect();
                prop_assert!(payload.len() <= limit || read.len() == 1);
                arrived.extend(read);
            }
            prop_assert_eq!(arrived, frames);
        }
    }

    #[test]
    fn equal_frames_leave_by_one_call() {
        let frames = vec![vec![1; 100]; 10];
        assert_eq!(pack(&frames, 120, true).len(), 10);
        let mut calls = 0;
        let mut packer = Packer::new();
        let envelope = Envelope {
            us: PeerName(7),
            stream: Stream::Whole,
            limit: 120,
            seal: &Clear,
            runs: true,
        };
        for frame in &frames {
            let header = header(PeerName(1), PeerName(2), 100).unwrap();
            let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
            packer.push(&envelope, header, 100, write, &mut |_| calls += 1);
        }
        packer.flush(&envelope, &mut |_| calls += 1);
        assert_eq!(calls, 1);
    }
}
