//! Two streams in turns of some milliseconds.
//!
//! One thread sends and one receives; which connection the sender writes to changes from window to
//! window. Four windows, first and last on one connection and the two between on the other, are a
//! turn, and the turns begin with one and the other connection alternately. Invariant: what slows
//! the machine down for longer than a turn slows both, and what changes steadily within a turn adds
//! the same to both; the ratio of a turn stays what it is.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::bench::load::open::Connection;
use crate::lab::bench::load::{Placement, Side};

/// Bytes a second over each of the two connections, within one turn.
pub(super) type Turn = [f64; 2];

/// Measures `turns` turns of windows of this length over `lanes`, which are closed afterwards.
///
/// # Errors
/// A thread could not be bound to its processor, a connection broke, or nothing
/// arrived for a second.
pub(super) fn alternate(
    lanes: [&Connection; 2],
    placement: &Placement,
    turns: u32,
    window: Duration,
) -> io::Result<Vec<Turn>> {
    let shared = Shared::default();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            placement.bind(0, Side::Server)?;
            receive(lanes, &shared)
        });
        let sender = scope.spawn(|| {
            placement.bind(0, Side::Client)?;
            send(lanes, &shared)
        });
        let measured = measure(&shared, turns, window);
        shared.is_over.store(true, Ordering::Relaxed);
        for end in lanes.iter().flat_map(|lane| [&lane.client, &lane.server]) {
            // A peer that has gone already is as stopped as it can be.
            let _ = end.shutdown(Shutdown::Both);
        }
        for thread in [receiver, sender] {
            thread
                .join()
                .map_err(|_| io::Error::other("a load thread panicked"))??;
        }
        measured
    })
}

/// What the threads know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// The connection that is written to.
    lane: AtomicUsize,
    /// Bytes that arrived over each.
    arrived: [AtomicU64; 2],
    is_over: AtomicBool,
}

impl Shared {
    fn arrived(&self, lane: usize) -> u64 {
        self.arrived[lane].load(Ordering::Relaxed)
    }

    /// Errors count while the measurement runs; afterwards the sockets are shut under the threads.
    fn over_or(&self, error: io::Error) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(error)
        }
    }
}

fn measure(shared: &Shared, turns: u32, window: Duration) -> io::Result<Vec<Turn>> {
    let mut measured = Vec::new();
    for turn in 0..=turns {
        let (outer, inner) = if turn % 2 == 0 { (0, 1) } else { (1, 0) };
        let (mut bytes, mut time) = ([0.0; 2], [0.0; 2]);
        for lane in [outer, inner, inner, outer] {
            shared.lane.store(lane, Ordering::Relaxed);
            thread::sleep(window / SETTLE);
            let (before, begun) = (shared.arrived(lane), Instant::now());
            let (came, took) = loop {
                thread::sleep(window);
                let (came, took) = (shared.arrived(lane) - before, begun.elapsed());
                // On a busy machine the threads may not have run at all.
                if came > 0 || took >= PATIENCE {
                    break (came, took);
                }
            };
            if came == 0 {
                let why = format!("nothing arrived within {took:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            bytes[lane] += exact(came);
            time[lane] += took.as_secs_f64();
        }
        // The first turn warms caches and opens windows.
        if turn > 0 {
            measured.push([bytes[0] / time[0], bytes[1] / time[1]]);
        }
    }
    Ok(measured)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 bytes take days at any rate a host has"
)]
fn exact(count: u64) -> f64 {
    count as f64
}

fn send(lanes: [&Connection; 2], shared: &Shared) -> io::Result<()> {
    let block = vec![0x57; SEND_BLOCK];
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut client = &lanes[shared.lane.load(Ordering::Relaxed)].client;
        if let Err(error) = client.write_all(&block) {
            return shared.over_or(error);
        }
    }
    Ok(())
}

/// Empties both receive buffers and rests when there is nothing, so that the receiver is not woken
/// by the sender's processor. Both are read throughout: the sender may still wait for room in the
/// one that it is about to leave.
fn receive(lanes: [&Connection; 2], shared: &Shared) -> io::Result<()> {
    let mut block = vec![0; RECEIVE_BLOCK];
    for lane in lanes {
        lane.server.set_nonblocking(true)?;
    }
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for (lane, arrived) in lanes.iter().zip(&shared.arrived) {
            match (&lane.server).read(&mut block) {
                Ok(0) => return shared.over_or(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    is_idle = false;
                    arrived.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return shared.over_or(error),
            }
        }
        if is_idle {
            thread::sleep(REST);
        }
    }
    Ok(())
}

/// The part of a window, as its divisor, that passes before anything is counted: what is left of
/// the window before arrives.
const SETTLE: u32 = 5;
/// How long nothing may arrive before a connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes a write: what bulk senders commonly use.
const SEND_BLOCK: usize = 128 << 10;
/// Bytes a read: enough that the receiver is not the one that sets the pace.
const RECEIVE_BLOCK: usize = 256 << 10;
/// The buffers hold several times what arrives meanwhile.
const REST: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection() -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        Connection { client, server }
    }

    #[test]
    fn both_connections_carry_in_every_turn() {
        let (one, other) = (connection(), connection());
        let placement = Placement::of_this_process().unwrap();

        let window = Duration::from_millis(20);
        let turns = alternate([&one, &other], &placement, 3, window).unwrap();

        assert_eq!(turns.len(), 3);
        assert!(turns.iter().flatten().all(|rate| *rate > 1e6), "{turns:?}");
    }

    #[test]
    fn a_connection_that_broke_is_an_error() {
        let (one, other) = (connection(), connection());
        other.client.shutdown(Shutdown::Both).unwrap();
        let placement = Placement::of_this_process().unwrap();

        let window = Duration::from_millis(20);
        assert!(alternate([&one, &other], &placement, 1, window).is_err());
    }
}
