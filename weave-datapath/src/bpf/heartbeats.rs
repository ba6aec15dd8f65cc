//! Heartbeats in and out: the event ring and the sockets that look like the tunnel.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddrV4},
};

use aya::maps::{MapData, RingBuf};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::{Error, abi::event, sys};
use crate::fastdp::{Heartbeat, Vni, heartbeat::HEAD_LEN};

/// Special frames as the tunnel program reports them.
pub(super) struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    /// Registers the ring with the current tokio runtime.
    pub(super) fn new(ring: RingBuf<MapData>) -> Result<Self, Error> {
        match sys::watch(ring) {
            Ok(ring) => Ok(Self(ring)),
            Err(source) => Err(Error::kernel("wait for BPF events", source)),
        }
    }

    /// The next event. Records of another shape are skipped.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Heartbeat, Error> {
        loop {
            let ready = self.0.readable_mut().await;
            let mut ready = ready.map_err(|source| Error::kernel("read BPF events", source))?;
            while let Some(record) = ready.get_inner_mut().next() {
                if let Some(heartbeat) = parse(&record) {
                    return Ok(heartbeat);
                }
            }
            ready.clear_ready();
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

/// One socket for each local address that heartbeats leave from.
#[derive(Debug, Default)]
pub(super) struct Sender(BTreeMap<Ipv4Addr, Socket>);

impl Sender {
    /// Sends `payload` (VXLAN header and frame) as the tunnel would: DF set, TTL 64, no checksum.
    pub(super) fn send(
        &mut self,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        port: u16,
        payload: &[u8],
    ) -> Result<(), Error> {
        let sent = match self.0.get(&local) {
            Some(socket) => send(socket, remote, port, payload),
            None => open(local).and_then(|socket| {
                let sent = send(&socket, remote, port, payload);
                self.0.insert(local, socket);
                sent
            }),
        };
        sent.map_err(|source| {
            // The address may have left the host: bind anew next time.
            if source.raw_os_error() != Some(nix::libc::EMSGSIZE) {
                self.0.remove(&local);
            }
            Error::Send {
                local,
                remote,
                source,
            }
        })
    }
}

fn open(local: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_ttl_v4(64)?;
    // Nobody answers to this port: what arrives here is not worth memory.
    socket.set_recv_buffer_size(1)?;
    sys::like_tunnel(&socket)?;
    socket.bind(&SocketAddrV4::new(local, 0).into())?;
    Ok(socket)
}

fn send(socket: &Socket, remote: Ipv4Addr, port: u16, payload: &[u8]) -> io::Result<()> {
    let sent = socket.send_to(payload, &SocketAddrV4::new(remote, port).into())?;
    if sent < payload.len() {
        return Err(ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Reads one `struct weave_event`.
fn parse(record: &[u8]) -> Option<Heartbeat> {
    let record: &[u8; event::SIZE] = record.try_into().ok()?;
    let word = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&record[at..at + 4]);
        u32::from_ne_bytes(bytes)
    };
    let vni = Vni::from_low_bits(word(event::VNI));
    let mut head = [0; HEAD_LEN];
    head.copy_from_slice(&record[event::HEAD..]);
    Some(Heartbeat {
        origin: vni.origin,
        destination: vni.destination,
        outer_src: word(event::REMOTE).into(),
        outer_dst: word(event::LOCAL).into(),
        frame_len: word(event::LENGTH),
        head,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_heartbeat() {
        let mut record = Vec::new();
        for word in [0x00a0_4764_u32, 0x0a00_0001, 0x0a00_0002, 1390] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(&[7; HEAD_LEN]);

        let heartbeat = parse(&record).unwrap();

        assert_eq!(u16::from(heartbeat.origin), 0x764);
        assert_eq!(u16::from(heartbeat.destination), 0xa04);
        assert_eq!(heartbeat.outer_src, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(heartbeat.outer_dst, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(heartbeat.frame_len, 1390);
        assert_eq!(heartbeat.head, [7; HEAD_LEN]);
        assert_eq!(parse(&record[1..]), None);
    }
}
