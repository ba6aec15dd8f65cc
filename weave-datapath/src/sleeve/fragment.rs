//! Cutting an IPv4 packet that may be fragmented into pieces that fit.
//!
//! The invariant: reassembled by any host, the pieces give the packet that was cut (Weave Net sleeve
//! overlay, fragmenting section).

use crate::packet::ethernet::HEADER_LEN;

/// Ethernet pads frames up to this many bytes.
const MIN_FRAME: usize = 60;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// Pieces of an Ethernet frame with an IPv4 packet, each with an IPv4 packet of at most `mtu` bytes.
/// Empty if the frame is no sound IPv4 packet or `mtu` has no room for eight bytes of payload: drop
/// the frame. All IPv4 options are kept on every piece; short pieces are padded to 60 bytes.
#[must_use]
pub fn fragment(frame: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    cut(frame, mtu).unwrap_or_default()
}

fn cut(frame: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let (ethernet, packet) = frame.split_at_checked(HEADER_LEN)?;
    let header_len = usize::from(*packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    if header_len < 20 || total < header_len {
        return None;
    }
    let (header, payload) = packet.get(..total)?.split_at_checked(header_len)?;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let piece = mtu.checked_sub(header_len)? / 8 * 8;
    if piece == 0 {
        return None;
    }
    let last = payload.len().div_ceil(piece).max(1) - 1;
    let mut pieces = Vec::with_capacity(last + 1);
    for index in 0..=last {
        let at = index * piece;
        let part = &payload[at..payload.len().min(at + piece)];
        let offset = (flags & OFFSET) + u16::try_from(at / 8).ok()?;
        let more = if index == last { flags & MORE } else { MORE };
        let field = flags & !(MORE | OFFSET) | more | offset & OFFSET;
        let mut out = Vec::with_capacity((HEADER_LEN + header_len + part.len()).max(MIN_FRAME));
        out.extend_from_slice(ethernet);
        out.extend_from_slice(header);
        out.extend_from_slice(part);
        let len = u16::try_from(header_len + part.len()).ok()?;
        let ip = &mut out[HEADER_LEN..HEADER_LEN + header_len];
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        ip[6..8].copy_from_slice(&field.to_be_bytes());
        write_header_checksum(ip);
        if out.len() < MIN_FRAME {
            out.resize(MIN_FRAME, 0);
        }
        pieces.push(out);
    }
    Some(pieces)
}

/// Puts the right checksum into an IPv4 header (RFC 791).
pub(super) fn write_header_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = crate::packet::checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
