//! Whatever arrives at the tunnel's port is read or refused, and reading goes no further than the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_datapath::fastdp::esp::Init;
use weave_datapath::fastdp::heartbeat::HEAD_LEN;
use weave_datapath::fastdp::{Heartbeat, Vni};
use weave_datapath::packet::{ethernet, ipv4, udp, vxlan};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(init) = Init::parse(bytes) {
        assert_eq!(Init::parse(&init.emit()), Ok(init));
    }
    let Ok(frame) = ethernet::Frame::new_checked(bytes) else {
        return;
    };
    assert_eq!(frame.payload().len() + 14, bytes.len());
    let _ = (frame.source(), frame.destination(), frame.ethertype());
    let Ok(ip) = ipv4::Packet::new_checked(frame.payload()) else {
        return;
    };
    let _ = (
        ip.source(),
        ip.destination(),
        ip.tos(),
        ip.ttl(),
        ip.dont_fragment(),
    );
    assert!(ip.payload().len() < frame.payload().len());
    let Ok(datagram) = udp::Packet::new_checked(ip.payload()) else {
        return;
    };
    let _ = (
        datagram.source_port(),
        datagram.destination_port(),
        datagram.checksum(),
    );
    let Ok(tunnel) = vxlan::Packet::new_checked(datagram.payload()) else {
        assert!(Vni::from_packet(datagram.payload()).is_err());
        return;
    };
    let repr = vxlan::Repr::parse(&tunnel);
    assert_eq!(repr.emit()[..], datagram.payload()[..8]);
    let Ok(vni) = Vni::from_packet(datagram.payload()) else {
        return;
    };
    assert_eq!(u32::from(vni), tunnel.vni());
    if let Some(head) = tunnel.payload().first_chunk::<HEAD_LEN>() {
        let heartbeat = Heartbeat {
            origin: vni.origin,
            destination: vni.destination,
            outer_src: ip.source(),
            outer_dst: ip.destination(),
            frame_len: u32::try_from(tunnel.payload().len()).unwrap_or(u32::MAX),
            head: *head,
        };
        let inner = ethernet::Frame::new_checked(tunnel.payload());
        let is_special = inner.is_ok_and(|inner| inner.is_special());
        assert!(heartbeat.uid().is_none() || is_special);
    }
});
