//! The frames, byte by byte.
//!
//! ```text
//! Ethernet: destination 6 | source 6 | type 2 (0x0806)
//! ARP     : 0001 0800 06 04 | operation 2 | sender MAC 6 | sender IP 4 | target MAC 6 | target IP 4
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

/// Length of an ARP frame for IPv4 over Ethernet, without padding.
const ARP_LENGTH: usize = 42;

/// An announcement: broadcast request, sender = target = `ip`, target MAC all ones.
#[must_use]
pub fn announcement_frame(mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_LENGTH] {
    arp_request(mac, ip, BROADCAST, ip)
}

/// A question who has `target`, with the target MAC unknown (zero).
#[must_use]
pub fn request_frame(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> [u8; ARP_LENGTH] {
    arp_request(mac, sender, [0; 6], target)
}

/// The sender's address and MAC, when `frame` is an ARP reply for IPv4 over Ethernet.
#[must_use]
pub fn parse_reply(frame: &[u8]) -> Option<(Ipv4Addr, [u8; 6])> {
    let body = frame.get(..ARP_LENGTH)?;
    if body[12..14] != ARP_TYPE || body[14..20] != ETHERNET_IPV4 || body[20..22] != [0, 2] {
        return None;
    }
    let mac: [u8; 6] = body[22..28].try_into().ok()?;
    let ip: [u8; 4] = body[28..32].try_into().ok()?;
    Some((ip.into(), mac))
}

/// An unsolicited neighbour advertisement for `ip` to all nodes, override flag set.
///
/// ```text
/// Ethernet 14 (33:33:00:00:00:01, 0x86dd) | IPv6 40 (hop limit 255, ip -> ff02::1)
/// ICMPv6   136 0 checksum | flags 4 (O) | target 16 | option 2, 1, MAC 6
/// ```
#[must_use]
pub fn advertisement_frame(mac: [u8; 6], ip: Ipv6Addr) -> [u8; 86] {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut frame = [0; 86];
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14] = 0x60;
    frame[19] = ICMP_LENGTH;
    frame[20] = ICMPV6;
    frame[21] = 255;
    frame[22..38].copy_from_slice(&ip.octets());
    frame[38..54].copy_from_slice(&all_nodes.octets());
    frame[54] = 136;
    frame[58] = 0x20;
    frame[62..78].copy_from_slice(&ip.octets());
    frame[78..80].copy_from_slice(&[2, 1]);
    frame[80..86].copy_from_slice(&mac);
    // Pseudo header: both addresses, length, next header (RFC 8200 section 8.1).
    let pseudo = u32::from(ICMP_LENGTH) + u32::from(ICMPV6);
    let checksum = ones_complement(pseudo + word_sum(&frame[22..86]));
    frame[56..58].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn arp_request(
    mac: [u8; 6],
    sender: Ipv4Addr,
    target_mac: [u8; 6],
    target: Ipv4Addr,
) -> [u8; ARP_LENGTH] {
    let mut frame = [0; ARP_LENGTH];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ARP_TYPE);
    frame[14..20].copy_from_slice(&ETHERNET_IPV4);
    frame[20..22].copy_from_slice(&[0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&sender.octets());
    frame[32..38].copy_from_slice(&target_mac);
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// Sum of big-endian words; `bytes` has even length and at most a few hundred bytes.
fn word_sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum()
}

fn ones_complement(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("invariant: folded to 16 bits")
}

const BROADCAST: [u8; 6] = [0xff; 6];
const ARP_TYPE: [u8; 2] = [0x08, 0x06];
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ICMPV6: u8 = 58;
const ICMP_LENGTH: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0x3f, 0xd8, 0xec, 0x0a, 0xb9];

    #[test]
    fn an_announcement_is_a_broadcast_request_for_the_own_address() {
        let frame = announcement_frame(MAC, Ipv4Addr::new(10, 32, 0, 2));

        let expected = "ffffffffffff 023fd8ec0ab9 0806 000108000604 0001 \
                        023fd8ec0ab9 0a200002 ffffffffffff 0a200002";
        assert_eq!(hex(&frame), expected.replace(' ', ""));
    }

    #[test]
    fn a_request_is_not_taken_for_a_reply() {
        let frame = request_frame(MAC, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 32, 0, 2));

        assert_eq!(parse_reply(&frame), None);
    }

    #[test]
    fn a_reply_gives_the_sender_and_short_frames_give_nothing() {
        let mut frame = request_frame(MAC, Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::LOCALHOST);
        frame[21] = 2;

        assert_eq!(parse_reply(&frame), Some((Ipv4Addr::new(10, 1, 2, 3), MAC)));
        for length in 0..frame.len() {
            assert_eq!(parse_reply(&frame[..length]), None);
        }
    }

    #[test]
    fn an_advertisement_sums_to_zero_as_its_receiver_computes_it() {
        let ip: Ipv6Addr = "fd00:1::25".parse().unwrap();
        let frame = advertisement_frame(MAC, ip);

        let pseudo = u32::from(ICMP_LENGTH) + u32::from(ICMPV6);
        assert_eq!(ones_complement(pseudo + word_sum(&frame[22..])), 0);
        assert_eq!(frame[62..78], ip.octets());
        assert_eq!(frame[80..], MAC);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
