//! The heartbeat frame: proof that full-size frames of one connection arrive.
//!
//! ```text
//!  offset  0  12  addresses, zero
//!         12   2  type, zero
//!         14   8  uid of the connection
//!         22   2  length of this frame, 14 + MTU, modulo 65536
//!         24  ..  zeros up to 14 + MTU
//! ```
//!
//! It travels as an inner frame of the tunnel, origin = sender, destination = the remote peer
//! (Weave Net fast datapath, heartbeat section).

use std::net::Ipv4Addr;

use super::{ShortId, Vni};
use crate::packet::{
    ethernet::{self, Frame},
    vxlan,
};

/// Bytes of a heartbeat that carry information: header, uid and length.
pub const HEAD_LEN: usize = 24;

/// A special frame received from a peer, as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Origin short id of the VNI.
    pub origin: ShortId,
    /// Destination short id of the VNI.
    pub destination: ShortId,
    /// Source address of the outer packet.
    pub outer_src: Ipv4Addr,
    /// Destination address of the outer packet.
    pub outer_dst: Ipv4Addr,
    /// Length of the inner frame in bytes.
    pub frame_len: u32,
    /// First bytes of the inner frame; zero beyond its end.
    pub head: [u8; HEAD_LEN],
}

impl Heartbeat {
    /// Uid of the connection, if this is a well-formed heartbeat: zero addresses and type, at
    /// least 24 bytes, and a length field equal to the received length.
    #[must_use]
    pub fn uid(&self) -> Option<u64> {
        let special = Frame::new_checked(&self.head[..]).is_ok_and(|frame| frame.is_special());
        let [.., high, low] = self.head;
        let stated = u32::from(u16::from_be_bytes([high, low]));
        let complete = usize::try_from(self.frame_len).is_ok_and(|len| len >= HEAD_LEN);
        if !special || !complete || stated != self.frame_len & 0xffff {
            return None;
        }
        let mut uid = [0; 8];
        uid.copy_from_slice(&self.head[field::UID..field::LENGTH]);
        Some(u64::from_be_bytes(uid))
    }
}

/// The heartbeat frame of connection `uid` for an overlay MTU of `mtu` bytes.
#[must_use]
pub fn frame(uid: u64, mtu: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(uid, mtu, &mut bytes);
    bytes
}

/// The UDP payload that carries the heartbeat: VXLAN header and frame.
#[must_use]
pub fn payload(vni: Vni, uid: u64, mtu: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(vxlan::HEADER_LEN + frame_len(mtu));
    bytes.extend_from_slice(&vni.header());
    emit(uid, mtu, &mut bytes);
    bytes
}

/// Length in bytes of the heartbeat for `mtu`. Below an MTU of 10 bytes it is the bare head.
fn frame_len(mtu: u16) -> usize {
    (ethernet::HEADER_LEN + usize::from(mtu)).max(HEAD_LEN)
}

fn emit(uid: u64, mtu: u16, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let len = frame_len(mtu);
    let modulo = u16::try_from(len & 0xffff).expect("invariant: a 16-bit mask leaves 16 bits");
    bytes.resize(start + len, 0);
    bytes[start + field::UID..start + field::LENGTH].copy_from_slice(&uid.to_be_bytes());
    bytes[start + field::LENGTH..start + HEAD_LEN].copy_from_slice(&modulo.to_be_bytes());
}

mod field {
    pub(super) const UID: usize = 14;
    pub(super) const LENGTH: usize = 22;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(frame: &[u8]) -> Heartbeat {
        let mut head = [0; HEAD_LEN];
        let known = frame.len().min(HEAD_LEN);
        head[..known].copy_from_slice(&frame[..known]);
        Heartbeat {
            origin: ShortId::try_from(1_u16).unwrap(),
            destination: ShortId::try_from(2_u16).unwrap(),
            outer_src: Ipv4Addr::new(10, 0, 0, 1),
            outer_dst: Ipv4Addr::new(10, 0, 0, 2),
            frame_len: u32::try_from(frame.len()).unwrap(),
            head,
        }
    }

    #[test]
    fn a_heartbeat_is_full_size_and_says_so() {
        for mtu in [10, 576, 1376, 1410, 8916, 65_535] {
            let bytes = frame(0x0123_4567_89ab_cdef, mtu);
            assert_eq!(bytes.len(), 14 + usize::from(mtu));
            assert_eq!(received(&bytes).uid(), Some(0x0123_4567_89ab_cdef));
        }
    }

    #[test]
    fn a_cut_or_padded_heartbeat_is_none() {
        let bytes = frame(7, 1376);
        assert_eq!(received(&bytes[..bytes.len() - 1]).uid(), None);
        assert_eq!(received(&bytes[..20]).uid(), None);
        assert_eq!(received(&[&bytes[..], &[0]].concat()).uid(), None);
    }

    #[test]
    fn a_frame_with_an_address_or_type_is_none() {
        for at in 0..14 {
            let mut bytes = frame(7, 1376);
            bytes[at] = 1;
            assert_eq!(received(&bytes).uid(), None, "byte {at}");
        }
    }
}
