//! Telling the sender of a packet how large it may be.
//!
//! The answer seems to come from the packet's destination, the only address that the sender will
//! believe (Weave Net sleeve overlay, ICMP section; RFC 792, RFC 1191; RFC 4443 for IPv6).

use crate::packet::{checksum, ethernet::HEADER_LEN};

use super::fragment::write_header_checksum;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const ICMPV6: u8 = 58;
/// An answer fits every way of IPv6 (RFC 4443, 3.2).
const IPV6_ANSWER: usize = 1280;
const ICMP_LEN: usize = 8;
/// Bytes of the offending packet quoted after its header.
const QUOTED: usize = 8;

/// An Ethernet frame with "fragmentation needed and DF set" for the sender of `frame`, stating an
/// `mtu` in bytes of IPv4 packet. `None`: the frame is no sound IPv4 packet, or itself an ICMP error
/// or a fragment other than the first, which must not be answered (RFC 1122, 3.2.2).
#[must_use]
pub fn fragmentation_needed(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let (ethernet, packet) = frame.split_at_checked(HEADER_LEN)?;
    let header_len = usize::from(*packet.first()? & 0x0f) * 4;
    let quoted = packet.get(..header_len + QUOTED)?;
    if header_len < IPV4_LEN || quoted[0] >> 4 != 4 || is_not_to_be_answered(quoted, header_len) {
        return None;
    }
    let mut out = Vec::with_capacity(HEADER_LEN + IPV4_LEN + ICMP_LEN + quoted.len());
    out.extend_from_slice(&ethernet[6..12]);
    out.extend_from_slice(&ethernet[..6]);
    out.extend_from_slice(&ethernet[12..]);

    let total = u16::try_from(IPV4_LEN + ICMP_LEN + quoted.len()).ok()?;
    let mut header = [0; IPV4_LEN];
    header[0] = 0x45;
    header[1] = quoted[1];
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[8] = 64;
    header[9] = 1;
    header[12..16].copy_from_slice(&quoted[16..20]);
    header[16..20].copy_from_slice(&quoted[12..16]);
    write_header_checksum(&mut header);
    out.extend_from_slice(&header);

    let at = out.len();
    out.extend_from_slice(&[3, 4, 0, 0, 0, 0]);
    out.extend_from_slice(&mtu.to_be_bytes());
    out.extend_from_slice(quoted);
    let sum = checksum::of(&out[at..]);
    out[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    Some(out)
}

/// An Ethernet frame with "packet too big" for the sender of `frame`, stating an `mtu` in bytes of
/// IPv6 packet. `None`: the frame is no sound IPv6 packet, or one that must not be answered: an
/// error itself, or of a sender that is no single host (RFC 4443, 2.4).
#[must_use]
pub fn packet_too_big(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let (ethernet, packet) = frame.split_at_checked(HEADER_LEN)?;
    let header = packet.get(..IPV6_LEN)?;
    let (source, destination) = (header.get(8..24)?, header.get(24..40)?);
    let is_error = header[6] == ICMPV6 && packet.get(IPV6_LEN).is_some_and(|kind| *kind < 128);
    let is_one_host = source[0] != 0xff && source.iter().any(|byte| *byte != 0);
    if header[0] >> 4 != 6 || is_error || !is_one_host {
        return None;
    }
    let quoted = &packet[..packet.len().min(IPV6_ANSWER - IPV6_LEN - ICMP_LEN)];
    let length = u16::try_from(ICMP_LEN + quoted.len()).ok()?;
    let mut out = Vec::with_capacity(HEADER_LEN + IPV6_LEN + usize::from(length));
    out.extend_from_slice(&ethernet[6..12]);
    out.extend_from_slice(&ethernet[..6]);
    out.extend_from_slice(&ethernet[12..]);
    out.extend_from_slice(&[0x60, 0, 0, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[ICMPV6, 64]);
    out.extend_from_slice(destination);
    out.extend_from_slice(source);

    let at = out.len();
    out.extend_from_slice(&[2, 0, 0, 0]);
    out.extend_from_slice(&u32::from(mtu).to_be_bytes());
    out.extend_from_slice(quoted);
    // Both addresses, the length and the protocol are part of the sum (RFC 8200, 8.1).
    let pseudo = checksum::sum(u64::from(length) + u64::from(ICMPV6), source);
    let sum = checksum::sum(checksum::sum(pseudo, destination), &out[at..]);
    let sum = !checksum::fold(sum);
    out[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    Some(out)
}

/// Tells the sender of `frame` that packets of it may have `mtu` bytes, by the ICMP of its kind.
/// `None` as for [`fragmentation_needed`] and [`packet_too_big`].
#[must_use]
pub fn too_big(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    match frame.get(HEADER_LEN)? >> 4 {
        6 => packet_too_big(frame, mtu),
        _ => fragmentation_needed(frame, mtu),
    }
}

fn is_not_to_be_answered(packet: &[u8], header_len: usize) -> bool {
    let later_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
    let icmp_error = packet[9] == 1 && !matches!(packet[header_len], 0 | 8 | 13..=18);
    later_fragment || icmp_error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of `len` bytes from `fd00::1` to `fd00::2` in an Ethernet frame.
    fn ipv6(len: usize, next: u8) -> Vec<u8> {
        let mut frame = vec![0; HEADER_LEN + len];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        let packet = &mut frame[HEADER_LEN..];
        packet[0] = 0x60;
        packet[6] = next;
        for (at, last) in [(8, 1), (24, 2)] {
            (packet[at], packet[at + 15]) = (0xfd, last);
        }
        frame
    }

    #[test]
    fn the_sender_of_a_large_ipv6_packet_is_told_by_its_destination() {
        let frame = ipv6(1400, 6);

        let answer = too_big(&frame, 1300).unwrap();

        assert_eq!(answer[..6], frame[6..12]);
        assert_eq!(answer[6..12], frame[..6]);
        let packet = &answer[HEADER_LEN..];
        assert_eq!(packet.len(), 1280, "as much as fits every way is quoted");
        assert_eq!((packet[8 + 15], packet[24 + 15]), (2, 1));
        let message = &packet[IPV6_LEN..];
        assert_eq!(message[..2], [2, 0]);
        assert_eq!(message[4..8], [0, 0, 0x05, 0x14]);
        assert_eq!(message[8..], frame[HEADER_LEN..HEADER_LEN + 1232]);
        let length = u64::from(u16::from_be_bytes([packet[4], packet[5]]));
        assert_eq!(length, 1240);
        let sum = checksum::sum(length + 58, &packet[8..40]);
        assert_eq!(checksum::fold(checksum::sum(sum, message)), 0xffff);
    }

    #[test]
    fn errors_and_senders_that_are_no_host_get_no_answer() {
        let mut error = ipv6(1400, ICMPV6);
        error[HEADER_LEN + IPV6_LEN] = 2;
        assert_eq!(too_big(&error, 1300), None);
        error[HEADER_LEN + IPV6_LEN] = 128;
        assert!(too_big(&error, 1300).is_some(), "an echo request");
        let mut nobody = ipv6(1400, 6);
        nobody[HEADER_LEN + 8..HEADER_LEN + 24].fill(0);
        assert_eq!(too_big(&nobody, 1300), None);
        let mut cut = ipv6(IPV6_LEN, 6);
        cut.pop();
        assert_eq!(too_big(&cut, 1300), None);
        assert_eq!(too_big(&[0; 14], 1300), None);
    }
}
