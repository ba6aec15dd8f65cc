//! Requests and responses of one byte: the time from pod to pod and back.
//!
//! Invariant: one request is on its way at a time, each is timed by itself, and those of the
//! warm-up are left out. Both threads sleep while they wait, as a server does, and share one
//! processor: to wake a sleeping one takes several times as long as any of the paths, on virtual
//! machines above all, and would hide the difference between them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use super::open::Connection;
use super::{Placement, Side, Span};

/// Sends requests over `connection`, one after another, for as long as `span` says, and gives the
/// nanoseconds each took; never nothing.
///
/// # Errors
///
/// A thread could not be bound to its processor, the connection broke, or an answer took longer
/// than the connection's read timeout.
pub(crate) fn sample(
    connection: &Connection,
    placement: &Placement,
    span: Span,
) -> io::Result<Vec<u32>> {
    for end in [&connection.client, &connection.server] {
        end.set_nodelay(true)?;
    }
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            placement.bind(0, Side::Client)?;
            answer(&connection.server)
        });
        let client = scope.spawn(|| {
            placement.bind(0, Side::Client)?;
            let times = ask(&connection.client, span);
            // The server leaves its loop when the stream ends.
            let _ = connection.client.shutdown(Shutdown::Both);
            times
        });
        let times = client
            .join()
            .map_err(|_| io::Error::other("a load thread panicked"))?;
        let answered = server
            .join()
            .map_err(|_| io::Error::other("a load thread panicked"))?;
        let times = times?;
        answered?;
        Ok(times)
    })
}

fn ask(mut client: &TcpStream, span: Span) -> io::Result<Vec<u32>> {
    let mut times = Vec::with_capacity(1 << 17);
    let mut byte = [0x57];
    let begin = Instant::now();
    let end = span.warm_up + span.window;
    loop {
        let sent = Instant::now();
        client.write_all(&byte)?;
        client.read_exact(&mut byte)?;
        let back = Instant::now();
        if back - begin >= span.warm_up {
            times.push(u32::try_from((back - sent).as_nanos()).unwrap_or(u32::MAX));
        }
        if back - begin >= end {
            return Ok(times);
        }
    }
}

fn answer(mut server: &TcpStream) -> io::Result<()> {
    let mut byte = [0];
    loop {
        match server.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => server.write_all(&byte)?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::loopback;
    use super::super::tests::short;
    use super::*;

    #[test]
    fn every_round_trip_of_the_window_is_timed() {
        let connections = loopback::connections(1);

        let placement = Placement::of_this_process().unwrap();
        let times = sample(&connections[0], &placement, short()).unwrap();

        assert!(!times.is_empty());
        assert!(
            times.iter().all(|time| *time > 500),
            "a system call takes longer"
        );
    }

    #[test]
    fn a_server_that_leaves_is_an_error() {
        let connections = loopback::connections(1);
        connections[0].server.shutdown(Shutdown::Both).unwrap();

        let placement = Placement::of_this_process().unwrap();
        assert!(sample(&connections[0], &placement, short()).is_err());
    }
}
