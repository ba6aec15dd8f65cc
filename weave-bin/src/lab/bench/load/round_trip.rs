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

/// Times of the round trips of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RoundTrips {
    /// Half of the round trips took at most this many nanoseconds.
    pub(crate) median_ns: f64,
    /// 99 of 100 round trips took at most this many nanoseconds.
    pub(crate) p99_ns: f64,
}

/// Sends requests over `connection`, one after another, for as long as `span` says.
///
/// # Errors
///
/// A thread could not be bound to its processor, the connection broke, or an answer took longer
/// than the connection's read timeout.
pub(crate) fn sample(
    connection: &Connection,
    placement: &Placement,
    span: Span,
) -> io::Result<RoundTrips> {
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
        let mut times = times?;
        answered?;
        let missing = || io::Error::new(io::ErrorKind::TimedOut, "no round trip completed");
        Ok(RoundTrips {
            median_ns: nearest_rank(&mut times, 50).ok_or_else(missing)?,
            p99_ns: nearest_rank(&mut times, 99).ok_or_else(missing)?,
        })
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

/// The smallest of `times` that at least `percent` of 100 do not exceed; reorders them.
fn nearest_rank(times: &mut [u32], percent: usize) -> Option<f64> {
    let rank = (times.len() * percent).div_ceil(100).checked_sub(1)?;
    let (_, time, _) = times.select_nth_unstable(rank);
    Some(f64::from(*time))
}

#[cfg(test)]
mod tests {
    use super::super::open::loopback;
    use super::super::tests::short;
    use super::*;

    #[test]
    fn round_trips_take_time_and_the_slow_ones_more() {
        let connections = loopback::connections(1);

        let placement = Placement::of_this_process().unwrap();
        let times = sample(&connections[0], &placement, short()).unwrap();

        assert!(times.median_ns > 500.0, "{times:?}");
        assert!(times.p99_ns >= times.median_ns, "{times:?}");
    }

    #[test]
    fn percentiles_are_samples_that_occurred() {
        let mut times: Vec<u32> = (1..=200).rev().collect();

        assert_eq!(nearest_rank(&mut times, 50), Some(100.0));
        assert_eq!(nearest_rank(&mut times, 99), Some(198.0));
        assert_eq!(nearest_rank(&mut times, 100), Some(200.0));
        assert_eq!(nearest_rank(&mut [5], 99), Some(5.0));
        assert_eq!(nearest_rank(&mut [], 50), None);
    }

    #[test]
    fn a_server_that_leaves_is_an_error() {
        let connections = loopback::connections(1);
        connections[0].server.shutdown(Shutdown::Both).unwrap();

        let placement = Placement::of_this_process().unwrap();
        assert!(sample(&connections[0], &placement, short()).is_err());
    }
}
