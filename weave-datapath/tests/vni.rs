//! VNIs and VXLAN headers against those of Weave Net (`vectors/vni.json`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use serde_json::Value;
use weave_datapath::{PeerName, ShortId, fastdp::Vni};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/vni.json")).unwrap()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

fn short_id(value: &Value) -> ShortId {
    ShortId::try_from(number(value)).unwrap()
}

#[test]
fn every_encoding_matches_in_both_directions() {
    let vectors = vectors();
    let cases = vectors["encode"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let vni = Vni {
            origin: short_id(&case["src_short_id"]),
            destination: short_id(&case["dst_short_id"]),
        };
        let header = hex(case["vxlan_header_hex"].as_str().unwrap());

        assert_eq!(u32::from(vni), number(&case["vni"]));
        assert_eq!(vni.header()[..], header[..]);
        assert_eq!(Vni::from_packet(&header).unwrap(), vni);
        assert_eq!(Vni::from_low_bits(number(&case["vni"])), vni);
    }
}

/// The bits above the VNI in a tunnel id are not looked at, and a contested short id means the peer
/// with the lowest name: the mesh hands only owners to the datapath.
#[test]
fn short_ids_mean_the_peers_that_own_them() {
    let vectors = vectors();
    let mut owners: BTreeMap<ShortId, &str> = BTreeMap::new();
    for peer in vectors["peer_table"].as_array().unwrap() {
        let name = peer["name"].as_str().unwrap();
        if !peer["short_id"].is_null() {
            let owner = owners.entry(short_id(&peer["short_id"])).or_insert(name);
            *owner = name.min(owner);
        }
    }
    for case in vectors["lookup"].as_array().unwrap() {
        let vni = match case["tunnel_id_8bytes_hex"].as_str() {
            Some(id) => {
                let low = u64::from_str_radix(id, 16).unwrap() & u64::from(u32::MAX);
                Vni::from_low_bits(u32::try_from(low).unwrap())
            }
            None => Vni {
                origin: short_id(&case["src_short_id"]),
                destination: short_id(&case["dst_short_id"]),
            },
        };

        assert_eq!(owners.get(&vni.origin).copied(), case["src_peer"].as_str());
        assert_eq!(
            owners.get(&vni.destination).copied(),
            case["dst_peer"].as_str()
        );
    }
}

#[test]
fn peer_names_read_as_in_the_vectors() {
    assert_eq!(PeerName(9).to_string(), "00:00:00:00:00:09");
}
