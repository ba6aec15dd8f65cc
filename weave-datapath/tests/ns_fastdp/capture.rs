//! Packets as they are on the wire between two hosts.

use std::{
    io::{ErrorKind, Read},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use socket2::{Domain, Protocol, Socket, Type};
use weave_datapath::{
    netns::Namespace,
    packet::{ethernet::Frame, ipv4, udp},
};

/// Receives every packet that arrives in a namespace.
pub(crate) struct Capture(Socket);

impl Capture {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let open = || {
            // ETH_P_IP in network byte order: arriving packets only, not those sent.
            let protocol = Protocol::from(i32::from(0x0800_u16.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            setsockopt(&socket, RcvBufForce, &(256 << 20)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            socket
        };
        Self(namespace.run(open).unwrap())
    }

    /// The IP packets to UDP port 6784 that arrive until `quiet` has passed without one.
    pub(crate) fn packets(&self, quiet: Duration) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut last = Instant::now();
        let mut buffer = vec![0; 1 << 16];
        while last.elapsed() < quiet {
            let len = match (&self.0).read(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            if is_tunnel(&buffer[..len]) {
                packets.push(buffer[14..len].to_vec());
                last = Instant::now();
            }
        }
        packets
    }
}

fn is_tunnel(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::new_checked(bytes) else {
        return false;
    };
    ipv4::Packet::new_checked(frame.payload()).is_ok_and(|ip| {
        ip.protocol() == 17
            && udp::Packet::new_checked(ip.payload())
                .is_ok_and(|udp| udp.destination_port() == 6784)
    })
}
