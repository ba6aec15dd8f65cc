//! TCP streams between two pods that carry a little all the time, and know what they should carry.
//!
//! Each client writes a block that names stream and round, and waits for the same bytes back. A
//! stream is broken when either end gets an error, an early end or other bytes; it stalls while a
//! block is on its way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weave_datapath::netns::Namespace;

use crate::lab::error::Error;
use crate::lab::record::Record;
use crate::lab::underlay;

/// All streams together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Streams {
    /// Streams that were opened.
    pub(super) opened: usize,
    /// Streams that did not carry everything to the end.
    pub(super) broken: usize,
    /// Blocks that came back.
    pub(super) blocks: u64,
    /// The longest time one block took there and back.
    pub(super) longest_stall_ms: f64,
    /// Why streams broke, a few of them.
    pub(super) reasons: Vec<String>,
}

/// Streams at work.
#[derive(Debug)]
pub(super) struct Running {
    opened: usize,
    stop: CancellationToken,
    clients: JoinSet<Client>,
    servers: JoinSet<io::Result<u64>>,
}

/// What one client saw.
#[derive(Debug, Default)]
struct Client {
    blocks: u64,
    longest: Duration,
    broken: Option<String>,
}

/// Opens `count` streams from the pod of host 1 to that of host 2 and lets them run.
///
/// # Errors
/// One that cannot be opened.
pub(super) async fn open(record: &Record, count: usize) -> Result<Running, Error> {
    let failed = |error: io::Error| Error::kernel("open streams", error);
    let (client, server) = (record.pod(1, 1)?, record.pod(2, 1)?);
    let (here, there) = (
        underlay::open(&client.namespace)?,
        underlay::open(&server.namespace)?,
    );
    let pairs = connect(here, there, server.address.addr(), count)
        .await
        .map_err(failed)?;
    let mut running = Running {
        opened: pairs.len(),
        stop: CancellationToken::new(),
        clients: JoinSet::new(),
        servers: JoinSet::new(),
    };
    for (number, (client, server)) in pairs.into_iter().enumerate() {
        let client = tokio::net::TcpStream::from_std(client).map_err(failed)?;
        let server = tokio::net::TcpStream::from_std(server).map_err(failed)?;
        let stop = running.stop.clone();
        running.clients.spawn(speak(client, number, stop));
        running.servers.spawn(echo(server));
    }
    Ok(running)
}

impl Running {
    /// Waits for the last blocks to come back, and adds up.
    pub(super) async fn finish(mut self) -> Streams {
        self.stop.cancel();
        let mut all = Streams {
            opened: self.opened,
            ..Streams::default()
        };
        while let Some(client) = self.clients.join_next().await {
            let client = client.unwrap_or_else(|error| Client {
                broken: Some(error.to_string()),
                ..Client::default()
            });
            all.add(client);
        }
        // Clients have closed, so every server comes to its end, if that reaches it.
        let servers = async {
            while let Some(server) = self.servers.join_next().await {
                if let Ok(Err(error)) = server {
                    all.note(format!("server: {error}"));
                }
            }
        };
        if tokio::time::timeout(END_LIMIT, servers).await.is_err() {
            self.servers.abort_all();
        }
        all
    }
}

impl Streams {
    fn add(&mut self, client: Client) {
        self.blocks += client.blocks;
        let stall = client.longest.as_secs_f64() * 1000.0;
        self.longest_stall_ms = self.longest_stall_ms.max(stall);
        if let Some(reason) = client.broken {
            self.broken += 1;
            self.note(reason);
        }
    }

    fn note(&mut self, reason: String) {
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}

/// Both ends of `count` connections, opened inside the two namespaces.
async fn connect(
    here: Namespace,
    there: Namespace,
    address: Ipv4Addr,
    count: usize,
) -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listen = move || TcpListener::bind((address, 0));
    let listener = there.run_async(listen).await.map_err(io::Error::other)??;
    let target = listener.local_addr()?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let dial = move || TcpStream::connect_timeout(&target, CONNECT_LIMIT);
        let client = here.run_async(dial).await.map_err(io::Error::other)??;
        let (server, from) = listener.accept()?;
        check_same(&client, from)?;
        for end in [&client, &server] {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
        }
        pairs.push((client, server));
    }
    Ok(pairs)
}

/// Nobody else dials the listener, so what it accepts is what was dialled.
fn check_same(client: &TcpStream, accepted: SocketAddr) -> io::Result<()> {
    if client.local_addr()? == accepted {
        Ok(())
    } else {
        Err(io::Error::other(format!("{accepted} is no stream of ours")))
    }
}

async fn echo(mut stream: tokio::net::TcpStream) -> io::Result<u64> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await
}

async fn speak(
    mut stream: tokio::net::TcpStream,
    number: usize,
    stop: CancellationToken,
) -> Client {
    let mut client = Client::default();
    while !stop.is_cancelled() {
        let sent = block(number, client.blocks);
        let begun = Instant::now();
        let round = tokio::time::timeout(ANSWER_LIMIT, exchange(&mut stream, &sent)).await;
        client.longest = client.longest.max(begun.elapsed());
        let fault = match round {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some("other bytes came back".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("nothing came back for {ANSWER_LIMIT:?}")),
        };
        if let Some(fault) = fault {
            client.broken = Some(format!("stream {number}, block {}: {fault}", client.blocks));
            return client;
        }
        client.blocks += 1;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    client
}

/// Whether `sent` comes back as it is.
async fn exchange(stream: &mut tokio::net::TcpStream, sent: &[u8]) -> io::Result<bool> {
    stream.write_all(sent).await?;
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).await?;
    Ok(received == sent)
}

fn block(stream: usize, round: u64) -> Vec<u8> {
    let text = format!("stream {stream} round {round};");
    text.bytes().cycle().take(BLOCK).collect()
}

/// Bytes of a block: more than one segment.
const BLOCK: usize = 4096;
/// Between a block that came back and the next.
const PAUSE: Duration = Duration::from_millis(50);
/// A stream that carries nothing for longer is broken for who uses it.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long the end of a stream may take to reach its server.
const END_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How many reasons are kept.
const REASONS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection.
    fn local() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_nonblocking(true).unwrap();
        }
        (client, server)
    }

    #[tokio::test]
    async fn a_stream_that_lasts_is_whole() {
        let (client, server) = local();
        let stop = CancellationToken::new();
        let server = tokio::net::TcpStream::from_std(server).unwrap();
        let client = tokio::net::TcpStream::from_std(client).unwrap();
        let echoing = tokio::spawn(echo(server));
        let speaking = tokio::spawn(speak(client, 7, stop.clone()));
        tokio::time::sleep(PAUSE * 3).await;

        stop.cancel();

        let seen = speaking.await.unwrap();
        assert_eq!(seen.broken, None);
        assert!(seen.blocks > 0);
        assert_eq!(
            echoing.await.unwrap().unwrap(),
            seen.blocks * u64::try_from(BLOCK).unwrap()
        );
    }

    #[tokio::test]
    async fn a_stream_whose_other_end_goes_is_broken() {
        let (client, server) = local();
        let client = tokio::net::TcpStream::from_std(client).unwrap();
        drop(server);

        let seen = speak(client, 3, CancellationToken::new()).await;

        let mut all = Streams::default();
        all.add(seen);
        assert_eq!((all.broken, all.blocks), (1, 0));
        assert!(all.reasons[0].starts_with("stream 3, block 0: "));
    }

    #[test]
    fn blocks_differ_by_stream_and_round() {
        assert_eq!(block(1, 2).len(), BLOCK);
        assert_ne!(block(1, 2), block(2, 1));
        assert_ne!(block(1, 2), block(1, 3));
    }
}
