//! Sockets between two pods, all with the same options.
//!
//! Invariant: whatever the path, a socket has the buffer sizes and timeouts set here. The kernel's
//! automatic sizing would give each path its own, depending on what ran before it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Both ends of one TCP connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The end that connected.
    pub(crate) client: TcpStream,
    /// The end that accepted.
    pub(crate) server: TcpStream,
}

/// Runs a closure where sockets are to live: inside a pod.
pub(crate) trait Place {
    /// Runs `work` there and gives its result.
    ///
    /// # Errors
    ///
    /// The place cannot be entered, or what `work` returns.
    fn open(&self, work: impl FnOnce() -> io::Result<Socket> + Send) -> io::Result<Socket>;
}

/// Connects `count` times from `client` to `address`, an address of `server`.
///
/// # Errors
///
/// A socket could not be made, or the other end did not answer within [`PATIENCE`].
pub(crate) fn connections(
    client: &impl Place,
    server: &impl Place,
    address: Ipv4Addr,
    count: usize,
) -> io::Result<Vec<Connection>> {
    let listener = server.open(move || {
        let listener = tcp_socket()?;
        listener.bind(&SocketAddr::from((address, 0)).into())?;
        listener.listen(8)?;
        Ok(listener)
    })?;
    let target = listener.local_addr()?;
    let mut connections = Vec::new();
    for _ in 0..count {
        let target = target.clone();
        let client = client.open(move || {
            let socket = tcp_socket()?;
            socket.connect_timeout(&target, PATIENCE)?;
            Ok(socket)
        })?;
        // The handshake is over, so the connection waits in the listener's queue.
        let (server, _) = listener.accept()?;
        server.set_read_timeout(Some(PATIENCE))?;
        connections.push(Connection {
            client: client.into(),
            server: server.into(),
        });
    }
    Ok(connections)
}

/// A UDP socket in `client` that is connected to the second one, bound to `address` in `server`.
///
/// # Errors
///
/// A socket could not be made or bound.
pub(crate) fn datagrams(
    client: &impl Place,
    server: &impl Place,
    address: Ipv4Addr,
) -> io::Result<(UdpSocket, UdpSocket)> {
    let server = server.open(move || {
        let socket = udp_socket()?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        Ok(socket)
    })?;
    let target = server.local_addr()?;
    let client = client.open(move || {
        let socket = udp_socket()?;
        socket.connect(&target)?;
        Ok(socket)
    })?;
    Ok((client.into(), server.into()))
}

fn tcp_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    set_buffers(&socket)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn udp_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    set_buffers(&socket)?;
    Ok(socket)
}

/// Sets both buffers past the system's limit where this process may, else up to that limit.
fn set_buffers(socket: &Socket) -> io::Result<()> {
    if setsockopt(&socket.as_fd(), sockopt::SndBufForce, &BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    if setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    Ok(())
}

/// Bytes of each socket buffer; the kernel doubles it for its own bookkeeping (socket(7)).
const BUFFER: usize = 2 << 20;

/// How long a connect or a read waits before the path counts as broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sockets on the loopback device, for tests of the load itself.
#[cfg(test)]
pub(crate) mod loopback {
    use super::*;

    struct Here;

    impl Place for Here {
        fn open(&self, work: impl FnOnce() -> io::Result<Socket> + Send) -> io::Result<Socket> {
            work()
        }
    }

    pub(crate) fn connections(count: usize) -> Vec<Connection> {
        super::connections(&Here, &Here, Ipv4Addr::LOCALHOST, count).unwrap()
    }

    pub(crate) fn datagrams() -> (UdpSocket, UdpSocket) {
        super::datagrams(&Here, &Here, Ipv4Addr::LOCALHOST).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_have_the_same_buffers() {
        let connections = loopback::connections(2);
        let sizes = |stream: &TcpStream| {
            let socket = socket2::SockRef::from(stream);
            (
                socket.send_buffer_size().unwrap(),
                socket.recv_buffer_size().unwrap(),
            )
        };

        let expected = sizes(&connections[0].client);

        assert!(expected.0 >= 4096 && expected.1 >= 4096);
        for connection in &connections {
            assert_eq!(sizes(&connection.client), expected);
            assert_eq!(sizes(&connection.server), expected);
        }
    }
}
