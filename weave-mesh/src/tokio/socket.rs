//! Options and errors of TCP sockets, and the addresses of targets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::connector::Target;

/// Sets what Weave Net sets on every connection: no delay, keep-alive, and linger 0, so that a
/// close discards what is not sent.
///
/// # Errors
///
/// Fails if the connection is gone already.
pub(super) fn configure(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE),
    )
}

/// The addresses a target has at this moment.
///
/// # Errors
///
/// The text for the status of the target.
pub(super) async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = match target {
        Target::Discovered(address) => return Ok(vec![*address]),
        Target::Direct { host, port, .. } => (host.as_str(), *port),
    };
    let failed = |reason: String| format!("dial tcp: lookup {host}: {reason}");
    let found = match timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await {
        Ok(found) => found.map_err(|error| failed(text(&error)))?,
        Err(_) => return Err(failed("i/o timeout".to_owned())),
    };
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(failed("no such host".to_owned()));
    }
    Ok(addresses)
}

/// Connects to the first of `addresses` that answers, from the host that is listened on.
///
/// # Errors
///
/// The last address tried, and the text for the status of the target.
pub(super) async fn connect(
    listen: SocketAddr,
    addresses: &[SocketAddr],
) -> Result<TcpStream, (Option<SocketAddr>, String)> {
    let mut last = (None, "no address to dial".to_owned());
    for address in addresses {
        let from = local_address(listen, *address);
        let shown = from.map_or_else(|| ":0".to_owned(), |from| from.to_string());
        let failed = |reason: &str| format!("dial tcp {shown}->{address}: {reason}");
        match timeout(CONNECT_TIMEOUT, open(from, *address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                last = (
                    Some(*address),
                    failed(&format!("connect: {}", text(&error))),
                );
            }
            Err(_) => last = (Some(*address), failed("i/o timeout")),
        }
    }
    Err(last)
}

/// An IPv4 address in IPv6 clothes, as a dual-stack listener sees it, in its own.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::from((ip, v6.port())),
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
        },
        SocketAddr::V4(_) => address,
    }
}

/// The text of an I/O error in the words of the C library, without number.
pub(super) fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        io::ErrorKind::BrokenPipe => "broken pipe".to_owned(),
        _ => error.to_string(),
    }
}

/// A number that differs at every start: the keys the standard library draws for its hash maps.
pub(super) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

async fn open(from: Option<SocketAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = from {
        socket.bind(from)?;
    }
    socket.connect(address).await
}

/// The listening host with port 0, if it is one and of the right family.
fn local_address(listen: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
    let is_usable = !listen.ip().is_unspecified() && listen.is_ipv4() == to.is_ipv4();
    is_usable.then(|| SocketAddr::new(listen.ip(), 0))
}

/// Time for the resolution of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one address to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Idle time before a keep-alive, and between two.
const KEEPALIVE: Duration = Duration::from_secs(15);
