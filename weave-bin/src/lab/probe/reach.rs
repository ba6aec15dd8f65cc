//! Echo requests from one place to many: who answers at all, and how fast.
//!
//! Two phases with different aims. [`reach`] keeps many requests in flight and repeats them until
//! all are answered or the time is up; addresses are resolved and caches filled on the way.
//! [`round_trip`] then sends one request at a time on a quiet network.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use weave_datapath::netns::Namespace;

use super::echo;
use crate::lab::stats::median;

/// A raw ICMP socket in some namespace. It stays in that namespace whoever uses it.
#[derive(Debug)]
pub(crate) struct EchoSocket {
    socket: Socket,
    identifier: u16,
    token: u64,
    is_v4: bool,
}

impl EchoSocket {
    /// Opens a socket in `namespace` that sends from `source`.
    ///
    /// # Errors
    /// What the kernel refused, in words.
    pub(crate) fn open(
        namespace: &Namespace,
        source: impl Into<IpAddr>,
        token: u64,
    ) -> Result<Self, String> {
        let source = source.into();
        let open = || -> io::Result<Socket> {
            let address = SocketAddr::new(source, 0);
            let protocol = match source {
                IpAddr::V4(_) => Protocol::ICMPV4,
                IpAddr::V6(_) => Protocol::ICMPV6,
            };
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            socket.bind(&SockAddr::from(address))?;
            socket.set_read_timeout(Some(TICK))?;
            Ok(socket)
        };
        let socket = namespace
            .run(open)
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("echo socket at {source}: {error}"))?;
        let [.., high, low] = token.to_be_bytes();
        Ok(Self {
            socket,
            identifier: u16::from_be_bytes([high, low]),
            token,
            is_v4: source.is_ipv4(),
        })
    }

    /// Sends request `index` to `target`.
    ///
    /// # Errors
    /// What the kernel said, for example that there is no route.
    pub(crate) fn send(&self, target: impl Into<IpAddr>, index: u32) -> io::Result<()> {
        self.send_sized(target, index, 0)
    }

    /// [`EchoSocket::send`] as a packet of `bytes`, IP header included; a shorter one than a request
    /// needs is as long as that.
    ///
    /// # Errors
    /// The same; also that the packet is larger than the way allows, if the kernel knows.
    pub(crate) fn send_sized(
        &self,
        target: impl Into<IpAddr>,
        index: u32,
        bytes: u16,
    ) -> io::Result<()> {
        let (message, header) = if self.is_v4 {
            (echo::request(self.identifier, self.token, index), 20)
        } else {
            (echo::request6(self.identifier, self.token, index), 40)
        };
        let mut message = message.to_vec();
        // Zeros behind a message do not change its checksum.
        let whole = usize::from(bytes.saturating_sub(header));
        message.resize(whole.max(message.len()), 0);
        let target = SockAddr::from(SocketAddr::new(target.into(), 0));
        self.socket.send_to(&message, &target).map(drop)
    }

    /// The next packet; waits a few milliseconds for it, unless told not to block.
    ///
    /// # Errors
    /// What the kernel said about an earlier request.
    pub(crate) fn receive(&self) -> io::Result<Received> {
        let mut buffer = [0; 256];
        match (&self.socket).read(&mut buffer) {
            Ok(length) => {
                let packet = &buffer[..length];
                let answer = if self.is_v4 {
                    echo::answer(packet, self.identifier, self.token)
                } else {
                    echo::answer6(packet, self.identifier, self.token)
                };
                Ok(answer.map_or(Received::Other, Received::Answer))
            }
            Err(error) if is_nothing(&error) => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Lets `bytes` of packets wait to be received, beyond what the kernel allows everyone.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn make_room(&self, bytes: usize) -> io::Result<()> {
        Ok(setsockopt(&self.socket, RcvBufForce, &bytes)?)
    }

    /// Makes [`EchoSocket::receive`] return at once, or wait a few milliseconds again.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }
}

/// What a socket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The answer to the request with this index.
    Answer(u32),
    /// A packet that is none of our business.
    Other,
    /// Nothing came.
    Nothing,
}

/// What one target did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Whether it answered.
    pub(crate) answered: bool,
    /// Requests sent.
    pub(crate) sent: u32,
    /// The last complaint of our own kernel.
    pub(crate) complaint: Option<String>,
}

/// Sends to all `targets` until each has answered, `deadline` has passed, or `stop` is set.
pub(crate) fn reach<A: Copy + Into<IpAddr>>(
    socket: &EchoSocket,
    targets: &[A],
    deadline: Instant,
    stop: &AtomicBool,
) -> Vec<Reached> {
    let mut found = vec![Reached::default(); targets.len()];
    let mut due = vec![Instant::now(); targets.len()];
    let mut left = targets.len();
    while left > 0 && Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let mut in_flight = (0..targets.len())
            .filter(|index| !found[*index].answered && found[*index].sent > 0 && due[*index] > now)
            .count();
        for (index, target) in targets.iter().enumerate() {
            if in_flight >= WINDOW {
                break;
            }
            if found[index].answered || due[index] > now {
                continue;
            }
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            if let Err(error) = socket.send(*target, number) {
                found[index].complaint = Some(plain(&error));
            }
            found[index].sent += 1;
            due[index] = now + RETRY;
            in_flight += 1;
        }
        while in_flight > 0 && now.elapsed() < RETRY {
            match socket.receive() {
                Ok(Received::Answer(index)) => {
                    let slot = usize::try_from(index)
                        .ok()
                        .and_then(|index| found.get_mut(index));
                    if let Some(slot) = slot.filter(|slot| !slot.answered) {
                        slot.answered = true;
                        left -= 1;
                        in_flight -= 1;
                    }
                }
                Ok(Received::Other) => {}
                Ok(Received::Nothing) | Err(_) => break,
            }
        }
    }
    found
}

/// The middle of `samples` round trips to `target`, one request at a time; `None` when none was
/// answered.
pub(crate) fn round_trip(
    socket: &EchoSocket,
    target: Ipv4Addr,
    samples: u32,
    stop: &AtomicBool,
) -> Option<Duration> {
    let mut times = Vec::new();
    for sample in 0..samples {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Numbers no request of the first phase had.
        let index = u32::MAX - sample;
        let sent = Instant::now();
        if socket.send(target, index).is_err() {
            continue;
        }
        while sent.elapsed() < ANSWER_LIMIT {
            match socket.receive() {
                Ok(Received::Answer(answer)) if answer == index => {
                    times.push(sent.elapsed().as_secs_f64());
                    break;
                }
                _ => {}
            }
        }
    }
    median(&times).map(Duration::from_secs_f64)
}

/// Whether a socket only had nothing to give.
pub(crate) fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// The system's words in lower case, without their number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Requests in flight from one place.
const WINDOW: usize = 32;
/// After this a request is sent again.
const RETRY: Duration = Duration::from_millis(300);
/// How long a read waits.
const TICK: Duration = Duration::from_millis(20);
/// A settled network answers long before.
const ANSWER_LIMIT: Duration = Duration::from_millis(250);
