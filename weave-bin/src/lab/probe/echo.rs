//! ICMP echo messages (RFC 792) and how a raw socket hands them over.
//!
//! ```text
//!  0                   1                   2                   3
//! +---------------+---------------+-------------------------------+
//! |     type      |     code      |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |          identifier           |        sequence number        |
//! +---------------+---------------+-------------------------------+
//! |                        token (8 bytes)                        |
//! +---------------------------------------------------------------+
//! |                        index (4 bytes)                        |
//! +---------------------------------------------------------------+
//! ```
//!
//! The token tells our answers from those of anyone else in the namespace; the index says which
//! request is answered.

/// Length of a message in bytes.
pub(crate) const LENGTH: usize = 20;

/// An echo request. `identifier` and `index` come back in the answer.
pub(crate) fn request(identifier: u16, token: u64, index: u32) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = REQUEST;
    bytes[4..6].copy_from_slice(&identifier.to_be_bytes());
    let [_, _, high, low] = index.to_be_bytes();
    bytes[6..8].copy_from_slice(&[high, low]);
    bytes[8..16].copy_from_slice(&token.to_be_bytes());
    bytes[16..20].copy_from_slice(&index.to_be_bytes());
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The same for `ICMPv6` (RFC 4443, section 4), whose checksum the kernel fills in.
pub(crate) fn request6(identifier: u16, token: u64, index: u32) -> [u8; LENGTH] {
    let mut bytes = request(identifier, token, index);
    bytes[0] = REQUEST6;
    bytes[2..4].fill(0);
    bytes
}

/// The index of an answer to a request with this `identifier` and `token`, from a whole IPv4
/// packet as a raw socket gives it. `None` for anything else.
pub(crate) fn answer(packet: &[u8], identifier: u16, token: u64) -> Option<u32> {
    let header = usize::from(*packet.first()? & 0x0f) * 4;
    index_of(packet.get(header..)?, REPLY, identifier, token)
}

/// The same from an `ICMPv6` message, which a raw socket gives without the IPv6 header.
pub(crate) fn answer6(message: &[u8], identifier: u16, token: u64) -> Option<u32> {
    index_of(message, REPLY6, identifier, token)
}

fn index_of(message: &[u8], kind: u8, identifier: u16, token: u64) -> Option<u32> {
    let mine = *message.first()? == kind
        && message.get(4..6)? == identifier.to_be_bytes()
        && message.get(8..16)? == token.to_be_bytes();
    let index = message.get(16..20)?.try_into().ok()?;
    mine.then(|| u32::from_be_bytes(index))
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const REQUEST6: u8 = 128;
const REPLY6: u8 = 129;

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as the other end turns it round, behind an IPv4 header with options.
    fn reply(identifier: u16, token: u64, index: u32) -> Vec<u8> {
        let mut packet = vec![0; 24];
        packet[0] = 0x46;
        let mut message = request(identifier, token, index);
        message[0] = REPLY;
        packet.extend_from_slice(&message);
        packet
    }

    #[test]
    fn an_answer_gives_its_index_back() {
        assert_eq!(answer(&reply(7, 99, 0x0102_0304), 7, 99), Some(0x0102_0304));
    }

    #[test]
    fn an_ipv6_answer_comes_without_header() {
        let mut message = request6(7, 99, 5);
        assert_eq!((message[0], answer6(&message, 7, 99)), (128, None));
        message[0] = REPLY6;
        assert_eq!(answer6(&message, 7, 99), Some(5));
        assert_eq!(answer6(&message, 8, 99), None);
        assert_eq!(answer6(&message[..19], 7, 99), None);
    }

    #[test]
    fn messages_of_others_are_not_answers() {
        assert_eq!(answer(&reply(7, 99, 1), 8, 99), None);
        assert_eq!(answer(&reply(7, 99, 1), 7, 98), None);
        let mut request_of_a_neighbour = vec![0x45; 20];
        request_of_a_neighbour.extend_from_slice(&request(7, 99, 1));
        assert_eq!(answer(&request_of_a_neighbour, 7, 99), None);
    }

    #[test]
    fn short_packets_are_not_answers() {
        let packet = reply(7, 99, 1);
        for length in 0..packet.len() {
            assert_eq!(answer(&packet[..length], 7, 99), None);
        }
    }

    #[test]
    fn the_checksum_over_a_whole_message_is_zero() {
        assert_eq!(checksum(&request(0xffff, u64::MAX, 12_345)), 0);
        assert_eq!(checksum(&request(0, 0, 0)), 0);
    }
}
