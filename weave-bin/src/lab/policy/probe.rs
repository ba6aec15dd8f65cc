//! Real connections between pods, many at once.
//!
//! TCP connects to a socket that listens; a UDP datagram is sent back by its receiver; an SCTP INIT
//! is answered. A flow is open only if the answer came, so replies are tested as well; what arrived
//! without an answer coming back is told apart. Invariant: every socket is opened in the namespace
//! of its pod and bound to the pod's address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::task::JoinSet;
use weave_datapath::netns::Namespace;
use weave_npc::model::{Protocol, Transport};

use super::sctp::{self, Kind, Message};
use crate::lab::error::Error;

/// One connection to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ask {
    /// The client's address.
    pub(super) source: IpAddr,
    /// The server's address.
    pub(super) destination: IpAddr,
    /// The server's port.
    pub(super) transport: Transport,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Seen {
    /// The answer came.
    Open,
    /// The first packet arrived, its answer did not come back.
    Half,
    /// Nothing arrived.
    Closed,
}

/// Tries all of `asks` at the same time, in portions that the limit of open files allows.
///
/// # Errors
/// A socket that cannot be opened: that is the lab's failure, not the network's.
pub(super) async fn probe(
    places: &HashMap<IpAddr, Namespace>,
    asks: &[Ask],
    patience: Duration,
) -> Result<Vec<Seen>, Error> {
    let mut seen = Vec::new();
    for portion in asks.chunks(PORTION) {
        seen.extend(portion_of(places, portion, patience).await?);
    }
    Ok(seen)
}

async fn portion_of(
    places: &HashMap<IpAddr, Namespace>,
    asks: &[Ask],
    patience: Duration,
) -> Result<Vec<Seen>, Error> {
    let board = Arc::new(Board::default());
    // Another port each time: what was answered once is established, and no policy is asked.
    let init_port = FIRST_PORT + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % PORTS;
    let mut servers = JoinSet::new();
    let mut listeners = Vec::new();
    let opened = open(places, asks)?;
    for (kind, socket) in opened.servers {
        match kind {
            Server::Tcp => listeners.push(TcpListener::from(socket)),
            Server::Udp => {
                let socket = tokio_udp(socket)?;
                servers.spawn(send_back(socket, board.clone()));
            }
        }
    }
    let mut raws = BTreeMap::new();
    for (address, socket) in opened.raws {
        let socket = Arc::new(tokio_udp(socket)?);
        servers.spawn(answer_inits(
            socket.clone(),
            address.is_ipv4(),
            board.clone(),
        ));
        raws.insert(address, socket);
    }
    let mut clients = JoinSet::new();
    for (index, (ask, socket)) in asks.iter().zip(opened.clients).enumerate() {
        let token = u32::try_from(index).unwrap_or(u32::MAX);
        let (ask, board) = (*ask, board.clone());
        let raw = raws.get(&ask.source).cloned();
        clients.spawn(async move {
            let means = Means {
                socket,
                raw,
                init_port,
            };
            let attempt = attempt(ask, token, means, &board, patience);
            // Without an answer the attempt never ends.
            let is_open = tokio::time::timeout(patience, attempt).await.is_ok();
            (index, is_open)
        });
    }
    let mut seen = vec![Seen::Closed; asks.len()];
    while let Some(ended) = clients.join_next().await {
        let (index, is_open) = ended.map_err(|error| Error::kernel("probe", error))?;
        if is_open {
            seen[index] = Seen::Open;
        }
    }
    servers.shutdown().await;
    for token in board.arrived() {
        let slot = usize::try_from(token).ok().and_then(|at| seen.get_mut(at));
        if let Some(slot) = slot.filter(|slot| **slot == Seen::Closed) {
            *slot = Seen::Half;
        }
    }
    Ok(seen)
}

/// What a client sends with.
struct Means {
    socket: Option<Socket>,
    raw: Option<Arc<tokio::net::UdpSocket>>,
    /// The source port of INITs.
    init_port: u16,
}

/// Ends when the answer came.
async fn attempt(ask: Ask, token: u32, means: Means, board: &Board, patience: Duration) {
    let pause = patience / REPEATS;
    match (ask.transport, means.socket, means.raw) {
        (Transport::Port(Protocol::Tcp, port), Some(socket), _) => {
            let target = SocketAddr::new(ask.destination, port);
            let socket = tokio::net::TcpSocket::from_std_stream(TcpStream::from(socket));
            if socket.connect(target).await.is_ok() {
                return;
            }
        }
        (Transport::Port(Protocol::Udp, _), Some(socket), _) => {
            if let Ok(socket) = tokio_udp(socket) {
                loop {
                    let mut buffer = [0; 4];
                    let _lost = socket.send(&token.to_be_bytes()).await;
                    let answer = tokio::time::timeout(pause, socket.recv(&mut buffer));
                    if matches!(answer.await, Ok(Ok(4))) && buffer == token.to_be_bytes() {
                        return;
                    }
                    tokio::time::sleep(MOMENT).await;
                }
            }
        }
        (Transport::Port(Protocol::Sctp, port), _, Some(raw)) => {
            let init = Message {
                kind: Kind::Init,
                source: means.init_port,
                destination: port,
                verification: 0,
                tag: token + 1,
            };
            loop {
                let target = SocketAddr::new(ask.destination, 0);
                let _lost = raw.send_to(&init.emit(), target).await;
                for _ in 0..LOOKS {
                    tokio::time::sleep(pause / LOOKS).await;
                    if board.has_answer(token) {
                        return;
                    }
                }
            }
        }
        _ => {}
    }
    std::future::pending::<()>().await;
}

/// What arrived, by the tokens of the asks.
#[derive(Debug, Default)]
struct Board {
    arrived: Mutex<BTreeSet<u32>>,
    answered: Mutex<BTreeSet<u32>>,
}

impl Board {
    fn arrive(&self, token: u32) {
        lock(&self.arrived).insert(token);
    }

    fn answer(&self, token: u32) {
        lock(&self.answered).insert(token);
    }

    fn has_answer(&self, token: u32) -> bool {
        lock(&self.answered).contains(&token)
    }

    fn arrived(&self) -> BTreeSet<u32> {
        lock(&self.arrived).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends every datagram back to where it came from.
async fn send_back(socket: tokio::net::UdpSocket, board: Arc<Board>) {
    let mut buffer = [0; 64];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(token) = buffer[..len].first_chunk() {
            board.arrive(u32::from_be_bytes(*token));
        }
        let _lost = socket.send_to(&buffer[..len], from).await;
    }
}

/// Answers SCTP INITs, and notes answers to our own.
async fn answer_inits(socket: Arc<tokio::net::UdpSocket>, is_v4: bool, board: Arc<Board>) {
    let mut buffer = [0; 128];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        // A raw IPv4 socket hands over the header as well.
        let header = if is_v4 {
            usize::from(buffer[0] & 0x0f) * 4
        } else {
            0
        };
        let message = buffer[..len].get(header..).and_then(Message::parse);
        let Some(message) = message else {
            continue;
        };
        match message.kind {
            Kind::Init => {
                board.arrive(message.tag.wrapping_sub(1));
                let target = SocketAddr::new(from.ip(), 0);
                let _lost = socket.send_to(&message.answer().emit(), target).await;
            }
            Kind::InitAck => board.answer(message.verification.wrapping_sub(1)),
        }
    }
}

// ===== sockets =====

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Server {
    Tcp,
    Udp,
}

/// All sockets of a portion.
#[derive(Default)]
struct Opened {
    servers: Vec<(Server, Socket)>,
    raws: Vec<(IpAddr, Socket)>,
    /// One per ask; none where the raw socket of the pod serves.
    clients: Vec<Option<Socket>>,
}

fn open(places: &HashMap<IpAddr, Namespace>, asks: &[Ask]) -> Result<Opened, Error> {
    let mut opened = Opened::default();
    let (mut servers, mut raws) = (BTreeSet::new(), BTreeSet::new());
    for ask in asks {
        match ask.transport {
            Transport::Port(Protocol::Tcp, port) => {
                servers.insert((ask.destination, Server::Tcp, port));
            }
            Transport::Port(Protocol::Udp, port) => {
                servers.insert((ask.destination, Server::Udp, port));
            }
            Transport::Port(Protocol::Sctp, _) => raws.extend([ask.source, ask.destination]),
            Transport::Other(_) => {}
        }
    }
    for (address, kind, port) in servers {
        let socket = within(places, address, || server(address, kind, port))?;
        opened.servers.push((kind, socket));
    }
    for address in raws {
        let socket = within(places, address, || raw(address))?;
        opened.raws.push((address, socket));
    }
    for ask in asks {
        let socket = match ask.transport {
            Transport::Port(Protocol::Sctp, _) | Transport::Other(_) => None,
            Transport::Port(protocol, port) => {
                Some(within(places, ask.source, || client(*ask, protocol, port))?)
            }
        };
        opened.clients.push(socket);
    }
    Ok(opened)
}

fn within(
    places: &HashMap<IpAddr, Namespace>,
    address: IpAddr,
    work: impl FnOnce() -> io::Result<Socket> + Send,
) -> Result<Socket, Error> {
    let failed = |error: String| Error::kernel(format!("socket of {address}"), error);
    let namespace = places
        .get(&address)
        .ok_or_else(|| failed("no pod has it".to_owned()))?;
    let socket = namespace
        .run(work)
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| failed(error.to_string()))?;
    Ok(socket)
}

fn server(address: IpAddr, kind: Server, port: u16) -> io::Result<Socket> {
    let target = SocketAddr::new(address, port);
    let domain = Domain::for_address(target);
    match kind {
        Server::Tcp => {
            let socket = Socket::new(domain, Type::STREAM, Some(SocketProtocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.bind(&target.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        }
        Server::Udp => {
            let socket = Socket::new(domain, Type::DGRAM, Some(SocketProtocol::UDP))?;
            socket.bind(&target.into())?;
            Ok(socket)
        }
    }
}

fn client(ask: Ask, protocol: Protocol, port: u16) -> io::Result<Socket> {
    let own = SocketAddr::new(ask.source, 0);
    let domain = Domain::for_address(own);
    if protocol == Protocol::Tcp {
        let socket = Socket::new(domain, Type::STREAM, Some(SocketProtocol::TCP))?;
        socket.bind(&own.into())?;
        // What is closed at once leaves no port waiting behind.
        socket.set_linger(Some(Duration::ZERO))?;
        return Ok(socket);
    }
    let socket = Socket::new(domain, Type::DGRAM, Some(SocketProtocol::UDP))?;
    socket.bind(&own.into())?;
    socket.connect(&SocketAddr::new(ask.destination, port).into())?;
    Ok(socket)
}

fn raw(address: IpAddr) -> io::Result<Socket> {
    let own = SocketAddr::new(address, 0);
    let protocol = SocketProtocol::from(sctp::PROTOCOL);
    let socket = Socket::new(Domain::for_address(own), Type::RAW, Some(protocol))?;
    socket.bind(&own.into())?;
    Ok(socket)
}

fn tokio_udp(socket: Socket) -> Result<tokio::net::UdpSocket, Error> {
    tokio::net::UdpSocket::from_std(UdpSocket::from(socket))
        .map_err(|error| Error::kernel("socket", error))
}

/// Connections tried at the same time: processes may have 1024 files open.
const PORTION: usize = 400;
/// More than connections of a portion to one server.
const BACKLOG: i32 = 512;
/// How often a datagram is sent until the patience is at its end.
const REPEATS: u32 = 3;
/// How often it is looked for an answer between two INITs.
const LOOKS: u32 = 20;
/// Between two datagrams if the first was refused at once.
const MOMENT: Duration = Duration::from_millis(1);
/// Source ports of INITs.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
