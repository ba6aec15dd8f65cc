//! The server: questions over UDP and TCP, answered from the store or by another server.
//!
//! One task serves datagrams and accepts connections. What waits for others runs beside it: at most
//! [`IN_FLIGHT`] questions and [`CONNECTIONS`] connections, each with a time limit. A bad message
//! costs its sender an answer, or its connection, and nobody else anything (N7).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::answer::{Transport, Verdict, Zone, answer, failure, limit, too_long};
use super::counters::count;
use super::socket::{Caller, Sockets};
use super::task::Names;
use super::upstream::{Upstream, read_message, write_message};

/// What questions are answered with.
#[derive(Debug)]
pub struct Service {
    /// What we answer for.
    pub zone: Zone,
    /// The names.
    pub names: Names,
    /// Who answers the rest.
    pub upstream: Upstream,
    /// Where we listen.
    pub address: SocketAddr,
}

/// Serves `sockets` until `stop`.
pub async fn serve(sockets: Sockets, service: Arc<Service>, stop: CancellationToken) {
    info!("[nameserver] Listening for DNS on {}", sockets.address());
    let sockets = Arc::new(sockets);
    let mut buffer = vec![0; DATAGRAM];
    let mut questions = JoinSet::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            received = sockets.receive(&mut buffer) => match received {
                Ok((length, caller)) => {
                    service.datagram(&sockets, caller, &buffer[..length], &mut questions);
                }
                Err(error) => pause(&error).await,
            },
            accepted = sockets.tcp.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS => {
                    connections.spawn(Arc::clone(&service).connection(stream));
                }
                Ok(_) => count(&service.names.counters().busy),
                Err(error) => pause(&error).await,
            },
            Some(_) = questions.join_next() => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Service {
    fn datagram(
        self: &Arc<Self>,
        sockets: &Arc<Sockets>,
        caller: Caller,
        query: &[u8],
        questions: &mut JoinSet<()>,
    ) {
        let reply = match self.decide(query, Transport::Udp) {
            Decision::Send(reply) => reply,
            Decision::Nothing => return,
            Decision::Forward if questions.len() < IN_FLIGHT => {
                let (this, sockets) = (Arc::clone(self), Arc::clone(sockets));
                let query = query.to_vec();
                questions.spawn(async move {
                    if let Some(reply) = this.forward(&query, Transport::Udp).await {
                        send(&sockets, caller, &reply);
                    }
                });
                return;
            }
            Decision::Forward => {
                count(&self.names.counters().busy);
                let Some(reply) = failure(query) else { return };
                reply
            }
        };
        send(sockets, caller, &reply);
    }

    /// Answers what comes over a connection, one question after the other, until it is quiet.
    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(Ok(query)) = timeout(QUIET, read_message(&mut stream)).await {
            let reply = match self.decide(&query, Transport::Tcp) {
                Decision::Send(reply) => Some(reply),
                Decision::Nothing => None,
                Decision::Forward => self.forward(&query, Transport::Tcp).await,
            };
            let Some(reply) = reply else { return };
            let sent = timeout(QUIET, write_message(&mut stream, &reply)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn decide(&self, query: &[u8], transport: Transport) -> Decision {
        let counters = self.names.counters();
        let seed = getrandom::u64().unwrap_or_default();
        let read = |store: &_| answer(query, &self.zone, store, transport, seed);
        match self.names.read(read) {
            Verdict::Reply(reply) => {
                count(&counters.local);
                Decision::Send(reply)
            }
            Verdict::Malformed(reply) => {
                count(&counters.malformed);
                Decision::Send(reply)
            }
            Verdict::Ignore => {
                count(&counters.malformed);
                Decision::Nothing
            }
            Verdict::Forward => Decision::Forward,
        }
    }

    async fn forward(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let counters = self.names.counters();
        let Ok(random) = getrandom::u32() else {
            return failure(query);
        };
        let [high, low, ..] = random.to_be_bytes();
        let id = u16::from_be_bytes([high, low]);
        match self.upstream.ask(query, transport, id).await {
            Some(reply) => {
                count(&counters.forwarded);
                let fits = reply.len() <= limit(query, transport);
                if fits { Some(reply) } else { too_long(query) }
            }
            None => {
                count(&counters.failed);
                failure(query)
            }
        }
    }
}

enum Decision {
    Send(Vec<u8>),
    Forward,
    Nothing,
}

fn send(sockets: &Sockets, caller: Caller, reply: &[u8]) {
    if let Err(error) = sockets.answer(caller, reply) {
        debug!("[nameserver] answer not sent: {error}");
    }
}

/// Waits when the system has no more descriptors or the like, which does not pass at once.
async fn pause(error: &io::Error) {
    debug!("[nameserver] {error}");
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Questions asked of others at a time.
pub const IN_FLIGHT: usize = 256;
/// Connections at a time.
pub const CONNECTIONS: usize = 64;
/// How long a connection may be quiet, and an answer may take to be taken.
const QUIET: Duration = Duration::from_secs(10);
/// Questions are short; what is cut is malformed.
const DATAGRAM: usize = 4096;

#[cfg(test)]
mod tests;
