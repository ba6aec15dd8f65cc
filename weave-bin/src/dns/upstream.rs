//! Other name servers: which there are, and asking one of them.
//!
//! They are the `nameserver` lines of a file like `/etc/resolv.conf`, looked at again when its time
//! of change differs, at most every [`LOOK`]. A server that is we ourselves is left out, or a
//! question would go round for ever.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tracing::{info, warn};

use super::answer::{Transport, is_answer};

/// The servers of a file that may change.
#[derive(Debug)]
pub struct Upstream {
    path: Option<PathBuf>,
    listen: SocketAddr,
    /// How long each server has to answer.
    limit: Duration,
    read: Mutex<Read>,
}

/// What the file said when it was looked at last.
#[derive(Debug, Default)]
struct Read {
    looked: Option<Instant>,
    changed: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

impl Upstream {
    /// The servers named in `path`, none without one; each has `limit` to answer. `listen` is where
    /// we listen.
    pub fn new(path: Option<PathBuf>, listen: SocketAddr, limit: Duration) -> Self {
        Self {
            path,
            listen,
            limit,
            read: Mutex::default(),
        }
    }

    /// These servers, whatever their port.
    #[cfg(test)]
    pub(super) fn fixed(servers: Vec<SocketAddr>, limit: Duration) -> Self {
        let this = Self::new(None, SocketAddr::from(([0; 4], 0)), limit);
        this.read.lock().unwrap().servers = servers;
        this
    }

    /// The servers, in the order of the file.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let mut read = self
            .read
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(path) = &self.path {
            read.look(path, self.listen, Instant::now());
        }
        read.servers.clone()
    }

    /// Asks one server after the other; the first answer, with the id of `query`.
    ///
    /// `id` is what the servers see instead, which must not be guessed.
    pub async fn ask(&self, query: &[u8], transport: Transport, id: u16) -> Option<Vec<u8>> {
        let (own, mut sent) = (query.get(..2)?, query.to_vec());
        sent[..2].copy_from_slice(&id.to_be_bytes());
        for server in self.servers() {
            match exchange(server, &sent, transport, self.limit).await {
                Ok(mut reply) => {
                    reply[..2].copy_from_slice(own);
                    return Some(reply);
                }
                Err(error) => tracing::debug!("[nameserver] {server}: {error}"),
            }
        }
        None
    }
}

impl Read {
    fn look(&mut self, path: &Path, listen: SocketAddr, now: Instant) {
        if self.looked.is_some_and(|last| now < last + LOOK) {
            return;
        }
        let is_first = self.looked.replace(now).is_none();
        let changed = std::fs::metadata(path).and_then(|data| data.modified());
        let changed = match changed {
            Ok(changed) if self.changed == Some(changed) => return,
            Ok(changed) => changed,
            Err(error) => return self.lose(path, is_first, &error),
        };
        let text = match read_start(path) {
            Ok(text) => text,
            Err(error) => return self.lose(path, is_first, &error),
        };
        self.changed = Some(changed);
        self.servers = parse(&text);
        self.servers.retain(|server| !is_ours(*server, listen));
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        info!("[nameserver] upstream servers: [{}]", servers.join(" "));
    }

    /// What was read before holds: a file is away for a moment when it is replaced.
    fn lose(&mut self, path: &Path, is_first: bool, error: &io::Error) {
        if is_first || self.changed.take().is_some() {
            warn!("[nameserver] cannot read {}: {error}", path.display());
        }
    }
}

/// Sends `query` to `server` and waits for its answer, `limit` at most.
///
/// # Errors
/// The system's, or that the time is up. Answers to other questions are not listened to.
pub async fn exchange(
    server: SocketAddr,
    query: &[u8],
    transport: Transport,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    let exchange = async {
        match transport {
            Transport::Udp => exchange_datagrams(server, query).await,
            Transport::Tcp => exchange_in_stream(server, query).await,
        }
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {limit:?}"),
        )),
    }
}

async fn exchange_datagrams(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let from: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    // Datagrams from anywhere else do not arrive.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_answer(query, &buffer[..length]) {
            buffer.truncate(length);
            buffer.shrink_to_fit();
            return Ok(buffer);
        }
    }
}

async fn exchange_in_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query).await?;
    let reply = read_message(&mut stream).await?;
    if is_answer(query, &reply) {
        Ok(reply)
    } else {
        Err(io::Error::other("it answered another question"))
    }
}

/// Writes a message with its length in front (RFC 1035 section 4.2.2).
///
/// # Errors
/// The system's; or the message is longer than 65535 bytes.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Reads a message with its length in front.
///
/// # Errors
/// The system's, the end of the stream among them.
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// The servers in the text of a `resolv.conf` (`resolv.conf(5)`), eight at most.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        let address: IpAddr = words.next().filter(|_| is_server)?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    };
    let mut servers: Vec<SocketAddr> = Vec::new();
    for found in text.lines().filter_map(server) {
        if !servers.contains(&found) && servers.len() < MOST {
            servers.push(found);
        }
    }
    servers
}

/// Whether a question to `server` would come to us, who listen at `listen`.
fn is_ours(server: SocketAddr, listen: SocketAddr) -> bool {
    if server.port() != listen.port() {
        return false;
    }
    if !listen.ip().is_unspecified() {
        return server.ip() == listen.ip();
    }
    // We listen on every address of this host: those are the ones that reach themselves.
    let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(server)?;
        socket.local_addr()
    });
    server.ip().is_loopback() || probe.is_ok_and(|from| from.ip() == server.ip())
}

fn read_start(path: &Path) -> io::Result<String> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(READ_LIMIT)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Between looks at the file.
pub const LOOK: Duration = Duration::from_secs(5);
const PORT: u16 = 53;
/// More would make an asker wait for longer than it does.
const MOST: usize = 8;
const READ_LIMIT: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    fn servers(text: &str) -> Vec<String> {
        parse(text)
            .iter()
            .map(|server| server.ip().to_string())
            .collect()
    }

    #[test]
    fn nameserver_lines_are_found_among_others() {
        let text = "# nameserver 1.1.1.1\nsearch a b\nnameserver 10.0.0.1\n;x\n\
                    nameserver\t10.0.0.2 # second\nnameserver nonsense\nnameserver\nnameserver ::1\n\
                    nameserver 10.0.0.1\nnameservers 10.0.0.3\r\n";

        assert_eq!(servers(text), ["10.0.0.1", "10.0.0.2", "::1"]);
        let many: String = (0..20)
            .map(|n| format!("nameserver 10.0.0.{n}\n"))
            .collect();
        assert_eq!(servers(&many).len(), MOST);
        assert!(servers("").is_empty());
    }

    #[test]
    fn we_do_not_ask_ourselves() {
        let ours =
            |server: &str, listen: &str| is_ours(server.parse().unwrap(), listen.parse().unwrap());

        assert!(ours("10.0.0.1:53", "10.0.0.1:53"));
        assert!(!ours("10.0.0.1:53", "10.0.0.2:53"));
        assert!(
            !ours("127.0.0.53:53", "10.0.0.2:53"),
            "another server of this host"
        );
        assert!(ours("127.0.0.53:53", "0.0.0.0:53"));
        assert!(!ours("127.0.0.53:53", "0.0.0.0:5353"));
        assert!(!ours("192.0.2.1:53", "0.0.0.0:53"));
    }

    #[test]
    fn a_changed_file_is_read_again_but_not_looked_at_all_the_time() {
        let scratch = Scratch::new();
        let path = scratch.path("resolv.conf");
        let listen = "10.0.0.9:53".parse().unwrap();
        let begun = Instant::now();
        let mut read = Read::default();
        let mut at = |seconds: u64| {
            read.look(&path, listen, begun + Duration::from_secs(seconds));
            read.servers
                .iter()
                .map(|server| server.ip().to_string())
                .collect::<Vec<_>>()
        };
        let write = |text: &str, age: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age))
                .unwrap();
        };
        assert!(at(0).is_empty(), "there is no file");

        write("nameserver 10.0.0.1\nnameserver 10.0.0.9\n", 1000);
        assert!(at(4).is_empty(), "nobody looked");
        assert_eq!(at(5), ["10.0.0.1"]);
        write("nameserver 10.0.0.2\n", 1000);
        assert_eq!(at(20), ["10.0.0.1"], "the same time of change");
        write("nameserver 10.0.0.2\n", 1001);
        assert_eq!(at(30), ["10.0.0.2"]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(at(40), ["10.0.0.2"], "what was read holds");
        write("nameserver 10.0.0.3\n", 1001);
        assert_eq!(at(50), ["10.0.0.3"], "it came back");
    }
}
