//! Packet views never look beyond their bytes, and what they say is what is there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use weave_datapath::{
    ShortId,
    fastdp::{Heartbeat, Vni, heartbeat},
    packet::{ethernet, ipv4, udp, vxlan},
};

fn short_id() -> impl Strategy<Value = ShortId> {
    (0..ShortId::COUNT).prop_map(|id| ShortId::try_from(id).unwrap())
}

proptest! {
    /// Whatever a view accepts, its payload is the end of it, and every field can be read.
    #[test]
    fn payloads_lie_within_their_packets(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        if let Ok(frame) = ethernet::Frame::new_checked(&bytes[..]) {
            prop_assert_eq!(frame.payload(), &bytes[14..]);
            prop_assert_eq!(frame.is_special(), bytes[..14].iter().all(|byte| *byte == 0));
        }
        if let Ok(packet) = ipv4::Packet::new_checked(&bytes[..]) {
            let total = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            let header = usize::from(bytes[0] & 0xf) * 4;
            prop_assert_eq!(packet.payload(), &bytes[header..total]);
        }
        if let Ok(packet) = udp::Packet::new_checked(&bytes[..]) {
            prop_assert!(packet.payload().len() + 8 <= bytes.len());
        }
        if let Ok(packet) = vxlan::Packet::new_checked(&bytes[..]) {
            prop_assert_eq!(packet.payload(), &bytes[8..]);
            let again = vxlan::Repr::parse(&packet).emit();
            prop_assert_eq!(&again[..], &bytes[..8], "reserved bytes are zero or refused");
        }
    }

    /// A header says the two ids it was made of.
    #[test]
    fn a_vni_is_read_as_written(origin in short_id(), destination in short_id()) {
        let vni = Vni { origin, destination };

        prop_assert_eq!(Vni::from_packet(&vni.header()).unwrap(), vni);
        prop_assert_eq!(Vni::from_low_bits(u32::from(vni)), vni);
    }

    /// A heartbeat is recognised, with its uid, exactly when all of it has arrived.
    #[test]
    fn a_heartbeat_is_whole_or_none(uid in any::<u64>(), mtu in 10_u16..9000, cut in 0_u32..3) {
        let frame = heartbeat::frame(uid, mtu);
        let id = ShortId::try_from(1_u16).unwrap();
        let mut head = [0; heartbeat::HEAD_LEN];
        head.copy_from_slice(&frame[..heartbeat::HEAD_LEN]);
        let heartbeat = Heartbeat {
            origin: id,
            destination: id,
            outer_src: [10, 0, 0, 1].into(),
            outer_dst: [10, 0, 0, 2].into(),
            frame_len: u32::try_from(frame.len()).unwrap() - cut,
            head,
        };

        prop_assert_eq!(heartbeat.uid(), (cut == 0).then_some(uid));
    }
}
