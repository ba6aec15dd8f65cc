//! Outer packets of Weave Net and of a kernel VXLAN device, taken apart field by field
//! (`vectors/vxlan_packets.json`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use weave_datapath::{
    fastdp::{PORT, Vni},
    packet::{Error, ethernet, ipv4, udp, vxlan},
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

/// The packet, with the zeros that the vectors leave out of heartbeats put back.
fn packet(case: &Value) -> Vec<u8> {
    if let Some(whole) = case["ip_packet_hex"].as_str() {
        return hex(whole);
    }
    let mut bytes = hex(case["ip_packet_first_80_hex"].as_str().unwrap());
    let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    assert!(bytes.len() <= len);
    bytes.resize(len, 0);
    bytes
}

#[test]
fn every_field_is_found_where_the_recording_says() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/vxlan_packets.json")).unwrap();
    let cases = vectors["packets"].as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let bytes = packet(case);
        let ip = ipv4::Packet::new_checked(&bytes).unwrap();
        let udp = udp::Packet::new_checked(ip.payload()).unwrap();
        let tunnel = vxlan::Packet::new_checked(udp.payload()).unwrap();
        let vni = Vni::from_packet(udp.payload()).unwrap();

        assert_eq!(ip.source().to_string(), case["ip_src"].as_str().unwrap());
        assert_eq!(
            ip.destination().to_string(),
            case["ip_dst"].as_str().unwrap()
        );
        assert_eq!(u64::from(ip.tos()), case["ip_tos"]);
        assert_eq!(ip.dont_fragment(), case["ip_df"]);
        assert_eq!(u64::from(ip.ttl()), case["ip_ttl_at_capture"]);
        assert_eq!(ip.protocol(), 17);
        assert_eq!(u64::from(udp.source_port()), case["udp_sport"]);
        assert_eq!(u64::from(udp.destination_port()), case["udp_dport"]);
        assert_eq!(udp.destination_port(), PORT);
        assert_eq!(u64::from(udp.checksum()), case["udp_checksum"]);
        assert_eq!(u64::from(tunnel.vni()), case["vni"]);
        assert_eq!(u64::from(u32::from(vni.origin)), case["src_short_id"]);
        assert_eq!(u64::from(u32::from(vni.destination)), case["dst_short_id"]);
        let header = vxlan::Repr::parse(&tunnel).emit();
        assert_eq!(
            header[..],
            hex(case["vxlan_header_hex"].as_str().unwrap())[..]
        );
        assert_eq!(vni.header(), header);
        let inner = ethernet::Frame::new_checked(tunnel.payload()).unwrap();
        assert_eq!(tunnel.payload().len(), case["inner_len"]);
        assert_eq!(
            inner.is_special(),
            case["ip_packet_hex"].is_null(),
            "a heartbeat"
        );
    }
}

#[test]
fn a_cut_packet_is_refused_at_every_length() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/vxlan_packets.json")).unwrap();
    let bytes = packet(&vectors["packets"][0]);
    for len in 0..bytes.len() {
        let cut = ipv4::Packet::new_checked(&bytes[..len]);
        assert!(matches!(cut, Err(Error::Truncated { .. })), "{len} bytes");
    }
}
