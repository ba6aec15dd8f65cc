//! Bulk data over TCP connections.
//!
//! Invariant: bytes count when the receiving thread has read them, so data still in a buffer or on
//! its way is not part of the result.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::open::Connection;
use super::{Placement, Rate, Side, Span, count_per_second};

/// Sends over all `connections` at once, client to server, and gives the payload bytes a second
/// received over all of them.
///
/// # Errors
///
/// A thread could not be bound to its processor, or nothing arrived.
pub(crate) fn sample(
    connections: &[Connection],
    placement: &Placement,
    span: Span,
) -> io::Result<Rate> {
    let stop = AtomicBool::new(false);
    let counters: Vec<AtomicU64> = connections.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (stream, (connection, counter)) in connections.iter().zip(&counters).enumerate() {
            let stop = &stop;
            threads.push(scope.spawn(move || {
                placement.bind(stream, Side::Server)?;
                receive(&connection.server, counter, stop)
            }));
            threads.push(scope.spawn(move || {
                placement.bind(stream, Side::Client)?;
                send(&connection.client, stop)
            }));
        }
        let rate = count_per_second(span, &stop, || {
            counters
                .iter()
                .map(|counter| counter.load(Ordering::Relaxed))
                .sum()
        });
        for connection in connections {
            // A peer that has gone already is as stopped as it can be.
            let _ = connection.client.shutdown(Shutdown::Both);
            let _ = connection.server.shutdown(Shutdown::Both);
        }
        for thread in threads {
            thread
                .join()
                .map_err(|_| io::Error::other("a load thread panicked"))??;
        }
        rate
    })
}

fn send(mut client: &std::net::TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let block = vec![0x57; SEND_BLOCK];
    while !stop.load(Ordering::Relaxed) {
        if let Err(error) = client.write_all(&block) {
            return stopped_or(error, stop);
        }
    }
    Ok(())
}

/// Empties the receive buffer every [`REST`]. A receiver that sleeps until something arrives is
/// woken by the sender's processor, which does the work of both hosts here; the less the path lets
/// through, the more often. On real hosts, where each has its own, that does not happen.
fn receive(
    mut server: &std::net::TcpStream,
    counter: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut block = vec![0; RECEIVE_BLOCK];
    server.set_nonblocking(true)?;
    while !stop.load(Ordering::Relaxed) {
        match server.read(&mut block) {
            Ok(0) if stop.load(Ordering::Relaxed) => break,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                counter.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
            Err(error) => return stopped_or(error, stop),
        }
    }
    Ok(())
}

/// Errors count while the measurement runs; afterwards the sockets are shut under the threads.
fn stopped_or(error: io::Error, stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) {
        Ok(())
    } else {
        Err(error)
    }
}

/// Bytes a write: what bulk senders commonly use.
const SEND_BLOCK: usize = 128 << 10;

/// Bytes a read: enough that the receiver is not the one that sets the pace.
const RECEIVE_BLOCK: usize = 256 << 10;

/// How long the receiver rests when there is nothing; the buffers hold several times what arrives
/// meanwhile.
const REST: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::super::open::loopback;
    use super::super::tests::short;
    use super::*;

    #[test]
    fn bytes_flow_over_every_connection() {
        let connections = loopback::connections(2);

        let rate = sample(
            &connections,
            &Placement::of_this_process().unwrap(),
            short(),
        )
        .unwrap()
        .per_second;

        assert!(rate > 1000.0, "{rate} bytes a second over loopback");
    }

    #[test]
    fn a_broken_connection_is_an_error() {
        let connections = loopback::connections(1);
        connections[0].client.shutdown(Shutdown::Both).unwrap();

        let placement = Placement::of_this_process().unwrap();
        assert!(sample(&connections, &placement, short()).is_err());
    }
}
