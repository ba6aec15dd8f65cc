//! Counts what goes over the wires, message by message.

use std::time::Duration;

/// What one host did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Bytes written to TCP connections, introductions included, TCP and IP headers not.
    pub bytes_sent: u64,
    /// Protocol messages sent, heartbeats included.
    pub messages_sent: u64,
    /// The largest message sent, in bytes after its length prefix.
    pub largest_message: u64,
    /// Connections that became part of the topology.
    pub connections_added: u64,
    /// Connections that were part of the topology and ended.
    pub connections_ended: u64,
    /// Connections that ended during the introduction, and dials that failed.
    pub attempts_failed: u64,
    /// Times the routes were computed.
    pub route_calculations: u64,
    /// Processor time charged by the cost model, before it is stretched for a starved host.
    pub cpu: Duration,
}

impl Counts {
    /// What two hosts did together; of the largest messages the larger.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent + other.bytes_sent,
            messages_sent: self.messages_sent + other.messages_sent,
            largest_message: self.largest_message.max(other.largest_message),
            connections_added: self.connections_added + other.connections_added,
            connections_ended: self.connections_ended + other.connections_ended,
            attempts_failed: self.attempts_failed + other.attempts_failed,
            route_calculations: self.route_calculations + other.route_calculations,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// Follows one direction of a connection: the introduction of version 2, then frames.
#[derive(Debug, Default)]
pub(super) struct Meter {
    seen: u64,
    prefix: [u8; 4],
    prefix_len: usize,
    /// Bytes of the current frame, or of a public key, that are still to come.
    rest: u64,
}

impl Meter {
    /// Adds `bytes`, which follow those of the last call, to `counts`.
    pub(super) fn add(&mut self, mut bytes: &[u8], counts: &mut Counts) {
        counts.bytes_sent += len(bytes);
        while let Some((&first, tail)) = bytes.split_first() {
            if self.seen < INTRODUCTION {
                self.seen += 1;
                if self.seen == INTRODUCTION && first == 1 {
                    self.rest = PUBLIC_KEY;
                }
                bytes = tail;
            } else if self.rest > 0 {
                let skipped = self.rest.min(len(bytes));
                self.rest -= skipped;
                bytes = bytes
                    .get(usize::try_from(skipped).unwrap_or(bytes.len())..)
                    .unwrap_or_default();
            } else {
                self.prefix[self.prefix_len] = first;
                self.prefix_len += 1;
                if self.prefix_len == self.prefix.len() {
                    self.prefix_len = 0;
                    self.rest = u32::from_be_bytes(self.prefix).into();
                    counts.messages_sent += 1;
                    counts.largest_message = counts.largest_message.max(self.rest);
                }
                bytes = tail;
            }
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Header and encryption flag.
const INTRODUCTION: u64 = 8;
/// What follows the flag if it is 1.
const PUBLIC_KEY: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(stream: &[u8], piece: usize) -> Counts {
        let (mut meter, mut counts) = (Meter::default(), Counts::default());
        for bytes in stream.chunks(piece) {
            meter.add(bytes, &mut counts);
        }
        counts
    }

    #[test]
    fn messages_are_counted_however_the_stream_is_cut() {
        let plain = b"weave\x01\x02\x00\0\0\0\x03abc\0\0\0\x01x";
        let mut sealed = b"weave\x01\x02\x01".to_vec();
        sealed.extend_from_slice(&[7; 32]);
        sealed.extend_from_slice(b"\0\0\0\x03abc\0\0\0\x00\0\0\0\x01x");

        for piece in 1..plain.len() {
            let counts = count(plain, piece);
            assert_eq!((counts.messages_sent, counts.largest_message), (2, 3));
            assert_eq!(counts.bytes_sent, len(plain));
            assert_eq!(count(&sealed, piece).messages_sent, 3);
        }
    }
}
