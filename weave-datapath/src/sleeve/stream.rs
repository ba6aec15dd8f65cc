//! How a frame leaves towards a peer.
//!
//! The invariant: a frame that must not be fragmented never is, and one that does not fit is either
//! answered, cut, or counted; none vanishes without trace (Weave Net sleeve overlay, section on
//! choosing a stream).

use super::seal::Stream;
use crate::packet::ethernet::HEADER_LEN;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// The smallest MTU that a sender of IPv6 takes note of.
const IPV6_LEAST: u16 = 1280;

/// What is to be done with an outgoing frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Send it by this stream.
    Send(Stream),
    /// Cut it with [`fragment`](super::fragment::fragment); every piece goes by [`Stream::Whole`].
    Cut,
    /// Answer its sender with [`too_big`](super::icmp::too_big).
    Answer,
    /// Drop it: too large for a flood, which nobody may answer.
    TooBig,
}

/// What is known of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// MTU in force, bytes of inner IP packet.
    pub mtu: u16,
    /// Whether fragments of outer packets arrive: the last large probe was acknowledged.
    pub fragments_arrive: bool,
}

/// Chooses for a frame of `len` bytes, or for packets of that length that `frame` is to be cut
/// into. `flood`: it is a broadcast, multicast or of unknown destination.
#[must_use]
pub fn choose(frame: &[u8], len: usize, path: Path, flood: bool) -> Choice {
    let too_big = len > usize::from(path.mtu) + HEADER_LEN;
    let Some(dont_fragment) = ipv4_dont_fragment(frame) else {
        // Routers do not cut packets of IPv6; every way of it carries 1280 bytes (RFC 8200, 5).
        let is_told = too_big && !flood && path.mtu >= IPV6_LEAST && is_ipv6(frame);
        return if is_told {
            Choice::Answer
        } else {
            Choice::Send(Stream::Fragmented)
        };
    };
    match (dont_fragment, too_big) {
        (true, false) => Choice::Send(Stream::Whole),
        (true, true) if flood => Choice::TooBig,
        (true, true) => Choice::Answer,
        (false, _) if path.fragments_arrive => Choice::Send(Stream::Fragmented),
        (false, false) => Choice::Send(Stream::Whole),
        (false, true) => Choice::Cut,
    }
}

fn is_ipv6(frame: &[u8]) -> bool {
    let kind = frame.get(12..HEADER_LEN);
    kind.is_some_and(|kind| kind == TYPE_IPV6.to_be_bytes())
}

/// The "don't fragment" bit of an untagged IPv4 frame, `None` for all others.
fn ipv4_dont_fragment(frame: &[u8]) -> Option<bool> {
    let kind = frame.get(12..HEADER_LEN)?;
    if kind != TYPE_IPV4.to_be_bytes() {
        return None;
    }
    let packet = frame.get(HEADER_LEN..HEADER_LEN + 20)?;
    (packet[0] >> 4 == 4).then_some(packet[6] & 0x40 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(len: usize, dont_fragment: bool) -> Vec<u8> {
        let mut frame = vec![0; len];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[20] = if dont_fragment { 0x40 } else { 0 };
        frame
    }

    #[test]
    fn senders_of_ipv6_are_told_what_the_path_carries() {
        let path = |mtu| Path {
            mtu,
            fragments_arrive: true,
        };
        let mut frame = vec![0; 1500];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        let chosen = |len, mtu, flood| choose(&frame, len, path(mtu), flood);
        let fragmented = Choice::Send(Stream::Fragmented);

        assert_eq!(chosen(1394, 1380, false), fragmented);
        assert_eq!(chosen(1395, 1380, false), Choice::Answer);
        assert_eq!(chosen(1395, 1380, true), fragmented, "nobody may answer");
        assert_eq!(
            chosen(1395, 1279, false),
            fragmented,
            "it would not be heeded"
        );
    }

    #[test]
    fn the_table_of_the_specification() {
        let path = |fragments_arrive| Path {
            mtu: 1000,
            fragments_arrive,
        };
        let (fits, big) = (1014, 1015);
        let chosen = |frame: &[u8], path, flood| choose(frame, frame.len(), path, flood);
        let whole = Choice::Send(Stream::Whole);
        let fragmented = Choice::Send(Stream::Fragmented);
        for arrive in [true, false] {
            let path = path(arrive);
            assert_eq!(chosen(&ipv4(fits, true), path, false), whole);
            assert_eq!(chosen(&ipv4(big, true), path, true), Choice::TooBig);
            assert_eq!(chosen(&ipv4(big, true), path, false), Choice::Answer);
            assert_eq!(chosen(&vec![0xff; big], path, false), fragmented);
        }
        for len in [fits, big] {
            assert_eq!(chosen(&ipv4(len, false), path(true), false), fragmented);
        }
        assert_eq!(chosen(&ipv4(fits, false), path(false), false), whole);
        assert_eq!(chosen(&ipv4(big, false), path(false), false), Choice::Cut);
    }
}
