//! Packets without pause while controllers end and start again.
//!
//! Every pair of pods sends datagrams at every UDP port, allowed or not, and the receivers never
//! answer: each datagram is the first of its connection as far as the kernel knows, so each is
//! judged. Beside them [streams](super::streams) go on that were there before. Invariant: a datagram
//! that arrives over a forbidden pair is a leak, and one that does not arrive over an allowed pair is
//! a loss, whatever the controllers were doing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use weave_datapath::netns::Namespace;
use weave_npc::model::{Protocol, Transport};

use super::probe::Ask;
use super::streams::{Lines, Streams};
use crate::lab::error::Error;

/// What became of the datagrams.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Storm {
    /// How often the controllers were ended and started again.
    pub(super) restarts: usize,
    /// Pairs and ports that are allowed.
    pub(super) allowed_flows: usize,
    /// Datagrams sent over them.
    pub(super) allowed_sent: u64,
    /// Those of them that did not arrive.
    pub(super) allowed_lost: u64,
    /// Pairs and ports that are forbidden.
    pub(super) forbidden_flows: usize,
    /// Datagrams sent over them.
    pub(super) forbidden_sent: u64,
    /// Those of them that arrived.
    pub(super) leaked: u64,
    /// The connections that were there before.
    pub(super) streams: Streams,
    /// How long it went on, in seconds.
    pub(super) seconds: f64,
}

impl Storm {
    /// Whether nothing leaked, nothing was lost and no stream broke.
    pub(super) fn passed(&self) -> bool {
        self.leaked == 0
            && self.allowed_lost == 0
            && self.allowed_sent + self.forbidden_sent > 0
            && self.streams.passed()
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} restarts in {:.1} s: {} of {} forbidden datagrams leaked ({} flows), {} of {} \
             allowed ones lost ({} flows); {} of {} streams broken, {} of {} blocks lost, {} \
             segments sent again, at most {:.0} ms there and back",
            self.restarts,
            self.seconds,
            self.leaked,
            self.forbidden_sent,
            self.forbidden_flows,
            self.allowed_lost,
            self.allowed_sent,
            self.allowed_flows,
            self.streams.broken,
            self.streams.opened,
            self.streams.lost,
            self.streams.sent,
            self.streams.resent,
            self.streams.longest_ms
        )?;
        (self.streams.reasons.iter()).try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

/// A storm that goes on.
pub(super) struct Running {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<io::Result<(Counts, Streams)>>,
    allowed: Vec<bool>,
    begun: Instant,
}

impl Running {
    /// Begins. `flows` are pairs at ports with what is decided about them; each at a UDP port sends
    /// one datagram every `interval`, and each at a TCP port that is allowed keeps a stream.
    ///
    /// # Errors
    /// A socket that cannot be opened.
    pub(super) fn start(
        places: &HashMap<IpAddr, Namespace>,
        flows: &[(Ask, bool)],
        interval: Duration,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::kernel("sockets of the storm", error);
        let is_udp = |ask: &Ask| matches!(ask.transport, Transport::Port(Protocol::Udp, _));
        let datagrams = flows.iter().filter(|(ask, _)| is_udp(ask));
        let datagrams: Vec<(Ask, bool)> = datagrams.copied().collect();
        let sockets = Sockets::open(places, &datagrams).map_err(failed)?;
        let lines = Lines::open(places, flows).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = std::thread::spawn(move || sockets.run(lines, interval, &flag));
        Ok(Self {
            stop,
            thread,
            allowed: datagrams.iter().map(|(_, allowed)| *allowed).collect(),
            begun: Instant::now(),
        })
    }

    /// Ends it and counts.
    ///
    /// # Errors
    /// A socket failed meanwhile.
    pub(super) fn finish(self, restarts: usize) -> Result<Storm, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.begun.elapsed().as_secs_f64();
        let (counts, streams) = self
            .thread
            .join()
            .map_err(|_| Error::State("the storm ended by itself".to_owned()))?
            .map_err(|error| Error::kernel("sockets of the storm", error))?;
        let mut storm = Storm {
            restarts,
            streams,
            seconds,
            ..Storm::default()
        };
        for (index, is_allowed) in self.allowed.iter().enumerate() {
            let (sent, arrived) = (counts.sent[index], counts.arrived[index]);
            if *is_allowed {
                storm.allowed_flows += 1;
                storm.allowed_sent += sent;
                storm.allowed_lost += sent.saturating_sub(arrived);
            } else {
                storm.forbidden_flows += 1;
                storm.forbidden_sent += sent;
                storm.leaked += arrived;
            }
        }
        Ok(storm)
    }
}

/// Datagrams by flow.
struct Counts {
    sent: Vec<u64>,
    arrived: Vec<u64>,
}

struct Sockets {
    clients: Vec<(UdpSocket, SocketAddr)>,
    servers: Vec<UdpSocket>,
}

impl Sockets {
    fn open(places: &HashMap<IpAddr, Namespace>, flows: &[(Ask, bool)]) -> io::Result<Self> {
        let mut clients: BTreeMap<IpAddr, UdpSocket> = BTreeMap::new();
        let mut servers: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
        let mut senders = Vec::new();
        for (ask, _) in flows {
            let Transport::Port(Protocol::Udp, port) = ask.transport else {
                return Err(io::Error::other("only UDP"));
            };
            let target = SocketAddr::new(ask.destination, port);
            if let std::collections::btree_map::Entry::Vacant(slot) = servers.entry(target) {
                slot.insert(bound(places, target)?);
            }
            if let std::collections::btree_map::Entry::Vacant(slot) = clients.entry(ask.source) {
                slot.insert(bound(places, SocketAddr::new(ask.source, 0))?);
            }
            senders.push((clients[&ask.source].try_clone()?, target));
        }
        Ok(Self {
            clients: senders,
            servers: servers.into_values().collect(),
        })
    }

    /// Sends round after round until told to stop, then waits for what is under way.
    fn run(
        &self,
        mut lines: Lines,
        interval: Duration,
        stop: &AtomicBool,
    ) -> io::Result<(Counts, Streams)> {
        let flows = self.clients.len();
        let mut counts = Counts {
            sent: vec![0; flows],
            arrived: vec![0; flows],
        };
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            for (index, (socket, target)) in self.clients.iter().enumerate() {
                let token = u32::try_from(index).unwrap_or(u32::MAX);
                socket.send_to(&token.to_be_bytes(), target)?;
                counts.sent[index] += 1;
            }
            self.collect(&mut counts)?;
            lines.turn();
            next += interval;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let end = Instant::now() + AFTERMATH;
        while Instant::now() < end {
            self.collect(&mut counts)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((counts, lines.finish()?))
    }

    fn collect(&self, counts: &mut Counts) -> io::Result<()> {
        let mut buffer = [0; 8];
        for server in &self.servers {
            loop {
                match server.recv(&mut buffer) {
                    Ok(4) => {
                        let token = buffer.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                        let index = token.and_then(|token| usize::try_from(token).ok());
                        if let Some(count) = index.and_then(|at| counts.arrived.get_mut(at)) {
                            *count += 1;
                        }
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn bound(places: &HashMap<IpAddr, Namespace>, address: SocketAddr) -> io::Result<UdpSocket> {
    let namespace = places
        .get(&address.ip())
        .ok_or_else(|| io::Error::other(format!("no pod has {}", address.ip())))?;
    let open = || -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(SocketProtocol::UDP))?;
        socket.set_recv_buffer_size(RECEIVE)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let socket = namespace.run(open).map_err(io::Error::other)??;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from(socket))
}

/// Room for what arrives while this process does not run.
const RECEIVE: usize = 4 << 20;
/// For datagrams under way at the end.
const AFTERMATH: Duration = Duration::from_millis(300);
