//! Trying: TCP connections, echo requests, a question to the name server. Everything is bounded.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::TcpStream;

use super::judge::Echo;
use crate::lab::probe::reach::{EchoSocket, Received, plain};

/// How long a TCP connection takes, in milliseconds, or why there is none.
pub(super) async fn connect(address: SocketAddr) -> Result<f64, String> {
    let begun = Instant::now();
    match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(millis(begun)),
        Ok(Err(error)) => Err(plain(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT.as_secs())),
    }
}

/// What `target` does with small packets and with those of `size` bytes.
pub(super) fn echo(socket: &EchoSocket, target: IpAddr, size: Option<u16>) -> Echo {
    let small = repeated(socket, target, 0, SMALL);
    let full = size.filter(|_| small.is_some());
    Echo {
        small,
        full: full.map(|size| repeated(socket, target, size, FULL).is_some()),
        size: size.unwrap_or(0),
    }
}

/// The round trip of the first of some requests that is answered. `first` is the number of the
/// first one, so that answers to earlier ones are not taken for its own.
fn repeated(socket: &EchoSocket, target: IpAddr, size: u16, first: u32) -> Option<f64> {
    (first..first + TRIES).find_map(|index| {
        let begun = Instant::now();
        // A packet that is too large for the way, as far as the kernel knows, is refused at once.
        socket.send_sized(target, index, size).ok()?;
        while begun.elapsed() < WAIT {
            if let Ok(Received::Answer(answer)) = socket.receive()
                && answer == index
            {
                return Some(millis(begun));
            }
        }
        None
    })
}

/// The largest packet to `host` that this kernel takes to pass, in bytes; it learns that from
/// routers that refuse larger ones (`ip(7)`, `IP_MTU`).
pub(super) fn path_mtu(host: IpAddr) -> Option<u16> {
    if !host.is_ipv4() {
        return None;
    }
    let ask = || -> io::Result<i32> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // Nothing is sent by this.
        socket.connect((host, DISCARD))?;
        Ok(getsockopt(&socket, sockopt::IpMtu)?)
    };
    ask().ok()?.try_into().ok()
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

const CONNECT: Duration = Duration::from_secs(2);
/// Of one request.
const WAIT: Duration = Duration::from_millis(500);
/// Requests until one is answered; the first to a pod also waits for ARP.
const TRIES: u32 = 3;
/// Numbers of small and of full requests.
const SMALL: u32 = 0;
const FULL: u32 = 100;
/// Port of a service that nobody talks to.
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_small_and_large_packets() {
        if !nix::unistd::Uid::effective().is_root() {
            println!("skipped: needs root");
            return;
        }
        let socket = crate::cli::echo::open(true).unwrap();
        let host = IpAddr::from([127, 0, 0, 1]);

        let found = echo(&socket, host, Some(1376));

        assert!(found.small.is_some(), "{found:?}");
        assert_eq!((found.full, found.size), (Some(true), 1376));
        assert!(path_mtu(host).unwrap() > 1500);
    }

    #[tokio::test]
    async fn a_port_that_nobody_has_refuses() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        assert!(connect(address).await.is_ok());
        drop(taken);

        assert_eq!(connect(address).await, Err("connection refused".to_owned()));
    }
}
