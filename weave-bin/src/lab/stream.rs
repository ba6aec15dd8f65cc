//! One TCP connection between two places, watched by its receiver.
//!
//! Invariant: a byte counts when the receiver has read it, and a stall is time in which it read
//! nothing while the sender had more.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use weave_datapath::netns::Namespace;

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Flow {
    /// Bytes received.
    pub(crate) bytes: u64,
    /// Bits a second from the first attempt to connect to the end, in millions.
    pub(crate) megabits_per_s: f64,
    /// Seconds from the first attempt to connect until the first [`HEAD`] bytes had arrived; absent
    /// when they never did.
    pub(crate) first_s: Option<f64>,
    /// The longest time without a byte, in milliseconds.
    pub(crate) longest_stall_ms: f64,
    /// Why the stream ended early, if it did.
    pub(crate) complaint: Option<String>,
}

impl Flow {
    /// For people.
    pub(crate) fn line(&self) -> String {
        let first = self.first_s.map_or_else(
            || "no full segments arrived".to_owned(),
            |first| format!("first {} KiB after {first:.2} s", HEAD >> 10),
        );
        let complaint = self.complaint.as_deref();
        format!(
            "{} bytes, {:.1} Mbit/s, {first}, longest stall {:.0} ms{}",
            self.bytes,
            self.megabits_per_s,
            self.longest_stall_ms,
            complaint.map_or_else(String::new, |text| format!(" ({text})"))
        )
    }
}

/// Sends from `from` to `to`, whose address is `address`, for `span` or until `stop` is set.
///
/// # Errors
/// No connection within [`PATIENCE`], or no socket.
pub(crate) fn stream(
    from: &Namespace,
    to: &Namespace,
    address: Ipv4Addr,
    span: Duration,
    stop: &AtomicBool,
) -> io::Result<Flow> {
    let listen = move || TcpListener::bind(SocketAddrV4::new(address, 0));
    let listener = to.run(listen).map_err(io::Error::other)??;
    let target = listener.local_addr()?;
    let begun = Instant::now();
    let connect = move || TcpStream::connect_timeout(&target, PATIENCE);
    let client = from.run(connect).map_err(io::Error::other)??;
    let (server, _) = listener.accept()?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(&client, begun + span, stop));
        let flow = receive(&server, begun, begun + span, stop);
        // Ends a sender that waits for room.
        let _ended = client.shutdown(Shutdown::Both);
        let complaint = match sender.join() {
            Ok(complaint) => complaint,
            Err(_) => Some("the sending thread panicked".to_owned()),
        };
        Ok(Flow {
            complaint: flow.complaint.or(complaint),
            ..flow
        })
    })
}

fn send(mut client: &TcpStream, end: Instant, stop: &AtomicBool) -> Option<String> {
    let block = vec![0x57; BLOCK];
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        if let Err(error) = client.write_all(&block) {
            return (Instant::now() < end).then(|| error.to_string());
        }
    }
    None
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 bytes take days at any rate a host has"
)]
fn receive(mut server: &TcpStream, begun: Instant, end: Instant, stop: &AtomicBool) -> Flow {
    let mut block = vec![0; BLOCK];
    let mut flow = Flow {
        bytes: 0,
        megabits_per_s: 0.0,
        first_s: None,
        longest_stall_ms: 0.0,
        complaint: None,
    };
    let mut last = begun;
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        let wait = left.clamp(Duration::from_millis(1), STEP);
        let read = server
            .set_read_timeout(Some(wait))
            .and_then(|()| server.read(&mut block));
        let length = match read {
            Ok(0) => {
                flow.complaint = Some("the sender closed the connection".to_owned());
                break;
            }
            Ok(length) => length,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => {
                flow.complaint = Some(error.to_string());
                break;
            }
        };
        flow.longest_stall_ms = flow.longest_stall_ms.max(millis(last.elapsed()));
        last = Instant::now();
        flow.bytes += u64::try_from(length).unwrap_or(0);
        if flow.bytes >= HEAD && flow.first_s.is_none() {
            flow.first_s = Some(begun.elapsed().as_secs_f64());
        }
    }
    flow.longest_stall_ms = flow.longest_stall_ms.max(millis(last.elapsed()));
    flow.megabits_per_s = flow.bytes as f64 * 8e-6 / begun.elapsed().as_secs_f64();
    flow
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

const BLOCK: usize = 64 << 10;
/// Bytes that need full-size segments: more than a first window of small ones.
const HEAD: u64 = 64 << 10;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_over_loopback_flows() {
        let here = Namespace::current().unwrap();
        let span = Duration::from_millis(200);
        let stop = AtomicBool::new(false);

        let flow = stream(&here, &here, Ipv4Addr::LOCALHOST, span, &stop).unwrap();

        assert!(flow.bytes > HEAD, "{flow:?}");
        assert!(flow.first_s.unwrap() < 0.2);
        assert_eq!(flow.complaint, None);
        assert!(
            flow.line().contains("first 64 KiB after"),
            "{}",
            flow.line()
        );
    }
}
