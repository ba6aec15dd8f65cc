//! Connections that were there before, kept while controllers end and start again.
//!
//! Over every pair and TCP port that is allowed one connection is opened; then each carries a
//! numbered block there and back, again and again, until the end. Invariant: a stream is whole only
//! if every block came back as it was sent; what the kernel had to send again is counted as well,
//! so that a packet that was dropped and repaired behind the program's back is seen.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use weave_datapath::netns::Namespace;
use weave_npc::model::{Protocol, Transport};

use super::probe::Ask;

/// What became of the streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Streams {
    /// Connections that were opened.
    pub(super) opened: usize,
    /// Those that ended, or gave back something else than was sent.
    pub(super) broken: usize,
    /// Blocks that were sent.
    pub(super) sent: u64,
    /// Blocks that did not come back, on all streams.
    pub(super) lost: u64,
    /// Segments that the kernels of all pods sent again.
    pub(super) resent: u64,
    /// The longest time one block took there and back, in milliseconds.
    pub(super) longest_ms: f64,
    /// Why streams broke, a few of them.
    pub(super) reasons: Vec<String>,
}

impl Streams {
    /// Whether no stream broke and nothing was lost.
    pub(super) fn passed(&self) -> bool {
        self.broken == 0 && self.lost == 0
    }

    fn note(&mut self, reason: String) {
        self.broken += 1;
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}

/// Streams at work.
pub(super) struct Lines {
    lines: Vec<Line>,
    pods: Vec<Namespace>,
    resent_before: u64,
    streams: Streams,
}

/// Both ends of one stream.
struct Line {
    label: String,
    client: TcpStream,
    server: TcpStream,
    /// Blocks sent and blocks that came back; at most one is under way.
    sent: u64,
    back: u64,
    since: Instant,
    heard: Vec<u8>,
    is_broken: bool,
}

impl Lines {
    /// Opens a stream for each of `flows` that is allowed and TCP, [`MOST`] at most.
    ///
    /// # Errors
    /// One that cannot be opened.
    pub(super) fn open(
        places: &HashMap<IpAddr, Namespace>,
        flows: &[(Ask, bool)],
    ) -> io::Result<Self> {
        let mut listeners: BTreeMap<SocketAddr, TcpListener> = BTreeMap::new();
        let mut lines = Vec::new();
        for (ask, is_allowed) in flows {
            let Transport::Port(Protocol::Tcp, port) = ask.transport else {
                continue;
            };
            if !is_allowed || lines.len() == MOST {
                continue;
            }
            let target = SocketAddr::new(ask.destination, port);
            if let std::collections::btree_map::Entry::Vacant(slot) = listeners.entry(target) {
                slot.insert(within(places, ask.destination, || listen(target))?.into());
            }
            let own = SocketAddr::new(ask.source, 0);
            let client = within(places, ask.source, || dial(own, target))?;
            let (server, _) = listeners[&target].accept()?;
            lines.push(Line::new(
                format!("{own} to {target}"),
                client.into(),
                server,
            )?);
        }
        // A namespace that has several addresses is asked once.
        let names: BTreeMap<_, _> = places.values().map(|pod| (pod.path(), pod)).collect();
        let pods: Vec<Namespace> = names.into_values().cloned().collect();
        let resent_before = resent(&pods)?;
        let streams = Streams {
            opened: lines.len(),
            ..Streams::default()
        };
        Ok(Self {
            lines,
            pods,
            resent_before,
            streams,
        })
    }

    /// Moves on whatever can move; returns at once.
    pub(super) fn turn(&mut self) {
        self.step(true);
    }

    /// Waits for the blocks under way, and adds up.
    ///
    /// # Errors
    /// The counters of a pod cannot be read.
    pub(super) fn finish(mut self) -> io::Result<Streams> {
        let end = Instant::now() + PATIENCE;
        while self.lines.iter().any(Line::is_waiting) && Instant::now() < end {
            self.step(false);
            std::thread::sleep(Duration::from_millis(1));
        }
        for line in &self.lines {
            self.streams.sent += line.sent;
            self.streams.lost += line.sent - line.back;
        }
        self.streams.resent = resent(&self.pods)?.saturating_sub(self.resent_before);
        Ok(self.streams)
    }

    fn step(&mut self, may_send: bool) {
        for line in self.lines.iter_mut().filter(|line| !line.is_broken) {
            match line.step(may_send) {
                Ok(Some(took)) => {
                    let took = took.as_secs_f64() * 1000.0;
                    self.streams.longest_ms = self.streams.longest_ms.max(took);
                }
                Ok(None) => {}
                Err(error) => {
                    line.is_broken = true;
                    let reason = format!("{}, block {}: {error}", line.label, line.sent);
                    self.streams.note(reason);
                }
            }
        }
    }
}

impl Line {
    fn new(label: String, client: TcpStream, server: TcpStream) -> io::Result<Self> {
        for end in [&client, &server] {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
        }
        Ok(Self {
            label,
            client,
            server,
            sent: 0,
            back: 0,
            since: Instant::now(),
            heard: Vec::new(),
            is_broken: false,
        })
    }

    fn is_waiting(&self) -> bool {
        !self.is_broken && self.sent > self.back
    }

    /// Sends a block if none is under way, gives back what the server has, and takes what came
    /// back; how long a block took that is back now.
    fn step(&mut self, may_send: bool) -> io::Result<Option<Duration>> {
        if may_send && self.sent == self.back {
            self.client.write_all(&self.sent.to_be_bytes())?;
            self.sent += 1;
            self.since = Instant::now();
        }
        let mut buffer = [0; 64];
        if let Some(len) = some(self.server.read(&mut buffer))? {
            self.server.write_all(&buffer[..len])?;
        }
        let Some(len) = some(self.client.read(&mut buffer))? else {
            return Ok(None);
        };
        self.heard.extend_from_slice(&buffer[..len]);
        let Some(block) = self.heard.first_chunk() else {
            return Ok(None);
        };
        let number = u64::from_be_bytes(*block);
        if self.heard.len() != size_of::<u64>() || number != self.back || self.back == self.sent {
            return Err(io::Error::other("other bytes came back"));
        }
        self.heard.clear();
        self.back += 1;
        Ok(Some(self.since.elapsed()))
    }
}

/// How much was read; nothing if there is nothing.
fn some(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Segments that all of `pods` sent again since they exist.
fn resent(pods: &[Namespace]) -> io::Result<u64> {
    let mut all = 0;
    for pod in pods {
        let read = || std::fs::read_to_string("/proc/thread-self/net/snmp");
        let text = pod.run(read).map_err(io::Error::other)??;
        all += counter(&text, "Tcp:", "RetransSegs")
            .ok_or_else(|| io::Error::other("the kernel counts no segments"))?;
    }
    Ok(all)
}

/// The value below `name` in the two lines of `proc_net_snmp` that begin with `head`.
fn counter(text: &str, head: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(head));
    let mut names = lines.next()?.split_whitespace();
    let column = names.position(|found| found == name)?;
    lines.next()?.split_whitespace().nth(column)?.parse().ok()
}

fn within(
    places: &HashMap<IpAddr, Namespace>,
    address: IpAddr,
    work: impl FnOnce() -> io::Result<Socket> + Send,
) -> io::Result<Socket> {
    let place = places
        .get(&address)
        .ok_or_else(|| io::Error::other(format!("no pod has {address}")))?;
    place.run(work).map_err(io::Error::other)?
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = stream(address)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn dial(own: SocketAddr, target: SocketAddr) -> io::Result<Socket> {
    let socket = stream(target)?;
    socket.bind(&own.into())?;
    socket.connect_timeout(&target.into(), PATIENCE)?;
    Ok(socket)
}

fn stream(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(SocketProtocol::TCP))
}

/// Streams at the same time: processes may have 1024 files open, and the storm needs some.
const MOST: usize = 200;
const BACKLOG: i32 = 8;
/// For a connection that is allowed, and for the last blocks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many reasons are kept.
const REASONS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        Line::new("a to b".to_owned(), client, server).unwrap()
    }

    fn lines(lines: Vec<Line>) -> Lines {
        let streams = Streams {
            opened: lines.len(),
            ..Streams::default()
        };
        Lines {
            lines,
            pods: Vec::new(),
            resent_before: 0,
            streams,
        }
    }

    #[test]
    fn a_stream_that_lasts_is_whole() {
        let mut all = lines(vec![line(), line()]);
        for _ in 0..20 {
            all.turn();
            std::thread::sleep(Duration::from_millis(1));
        }

        let streams = all.finish().unwrap();

        assert!(streams.passed(), "{streams:?}");
        assert!(streams.opened == 2 && streams.sent > 2, "{streams:?}");
    }

    #[test]
    fn a_stream_that_ends_is_broken_and_its_block_lost() {
        let mut all = lines(vec![line(), line()]);
        all.lines[1]
            .server
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        all.turn();
        all.turn();

        let streams = all.finish().unwrap();

        assert!(!streams.passed());
        assert_eq!((streams.broken, streams.lost), (1, 1), "{streams:?}");
        assert!(streams.reasons[0].starts_with("a to b, block 1: "));
    }

    #[test]
    fn other_bytes_break_a_stream() {
        let mut all = lines(vec![line()]);
        all.lines[0].server.write_all(&9_u64.to_be_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        all.turn();

        let streams = all.finish().unwrap();

        assert_eq!(streams.broken, 1, "{streams:?}");
        assert!(streams.reasons[0].ends_with("other bytes came back"));
    }

    #[test]
    fn counters_are_found_below_their_names() {
        let text = "Ip: A B\nIp: 1 2\nTcp: X RetransSegs Y\nTcp: -1 17 3\n";

        assert_eq!(counter(text, "Tcp:", "RetransSegs"), Some(17));
        assert_eq!(counter(text, "Udp:", "RetransSegs"), None);
        assert_eq!(counter(text, "Tcp:", "X"), None);
    }
}
