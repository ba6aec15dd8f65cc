//! Small datagrams, as many as one thread can send.
//!
//! Invariant: only datagrams that the receiving thread read are counted. Packets that a queue on
//! the way or the receive buffer dropped are lost here as they would be for an application.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use super::{Placement, Rate, Side, Span, count_per_second};

/// Bytes of payload in a datagram.
pub(crate) const PAYLOAD: usize = 64;

/// Sends from `client`, which is connected to `server`, and gives the datagrams a second received.
///
/// # Errors
///
/// A thread could not be bound to its processor, a socket failed, or nothing arrived.
pub(crate) fn sample(
    client: &UdpSocket,
    server: &UdpSocket,
    placement: &Placement,
    span: Span,
) -> io::Result<Rate> {
    let stop = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            placement.bind(0, Side::Server)?;
            receive(server, &received, &stop)
        });
        let sender = scope.spawn(|| {
            placement.bind(0, Side::Client)?;
            send(client, &stop)
        });
        let rate = count_per_second(span, &stop, || received.load(Ordering::Relaxed));
        for thread in [sender, receiver] {
            thread
                .join()
                .map_err(|_| io::Error::other("a load thread panicked"))??;
        }
        rate
    })
}

fn send(client: &UdpSocket, stop: &AtomicBool) -> io::Result<()> {
    let payload = [0x57; PAYLOAD];
    let slices = [[IoSlice::new(&payload)]; BATCH];
    let addresses: [Option<SockaddrIn>; BATCH] = [None; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    while !stop.load(Ordering::Relaxed) {
        let flags = MsgFlags::empty();
        match sendmmsg(
            client.as_raw_fd(),
            &mut headers,
            &slices,
            addresses,
            [],
            flags,
        ) {
            // A full send buffer or queue is the pace of the path.
            Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Empties the receive buffer every [`REST`]. A receiver that sleeps until something arrives is
/// woken for every packet, and waking it costs the sender more than most paths do.
fn receive(server: &UdpSocket, received: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let mut buffers = [[0; PAYLOAD]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    while !stop.load(Ordering::Relaxed) {
        let flags = MsgFlags::MSG_DONTWAIT;
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let batch = recvmmsg(server.as_raw_fd(), &mut headers, &mut slices, flags, None);
        match batch.map(Iterator::count) {
            Ok(count) => {
                received.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            }
            Err(Errno::EAGAIN) => thread::sleep(REST),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Datagrams a system call.
const BATCH: usize = 64;

/// How long the receiver rests; the receive buffer holds what arrives meanwhile several times over.
const REST: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use super::super::open::loopback;
    use super::super::tests::short;
    use super::*;

    #[test]
    fn datagrams_are_counted_where_they_arrive() {
        let (client, server) = loopback::datagrams();

        let placement = Placement::of_this_process().unwrap();
        let sample = sample(&client, &server, &placement, short());
        let rate = sample.unwrap().per_second;

        assert!(rate > 10.0, "{rate} packets a second over loopback");
    }

    #[test]
    fn datagrams_for_somebody_else_do_not_count() {
        let (client, _) = loopback::datagrams();
        let (_, stranger) = loopback::datagrams();

        let placement = Placement::of_this_process().unwrap();
        let outcome = sample(&client, &stranger, &placement, short());

        assert!(outcome.is_err());
    }
}
