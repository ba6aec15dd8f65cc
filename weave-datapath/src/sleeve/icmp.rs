//! Telling the sender of a packet how large it may be.
//!
//! The answer seems to come from the packet's destination, the only address that the sender will
//! believe (Weave Net sleeve overlay, ICMP section; RFC 792, RFC 1191; RFC 4443 for IPv6).

use crate::packet::{checksum, ethernet::HEADER_LEN};

use super::fragment::write_header_checksum;

const IPV4_LEN: usize = 20;
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

fn is_not_to_be_answered(packet: &[u8], header_len: usize) -> bool {
    let later_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
    let icmp_error = packet[9] == 1 && !matches!(packet[header_len], 0 | 8 | 13..=18);
    later_fragment || icmp_error
}
