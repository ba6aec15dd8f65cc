//! Takes connections and answers them, within limits that whoever may connect cannot move.
//!
//! The status and metrics addresses are open to the network: a client that sends half a request, or many
//! clients that send nothing, hold a connection for [`Limits::head`] at most, and no more than
//! [`Limits::connections`] of them at a time. An answer may take as long as it takes, since an allocation
//! waits for space; a caller that hangs up gives its request up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::server::Listener;

/// What clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more wait to be taken.
    pub connections: usize,
    /// Time for the head of a request.
    pub head: Duration,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            head: Duration::from_secs(10),
            head_bytes: 64 << 10,
        }
    }
}

/// Serves `router` on `listener` until `stop`.
///
/// # Errors
/// The listener breaks.
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    let free = Arc::new(Semaphore::new(limits.connections));
    let mut served = JoinSet::new();
    loop {
        // Dropping the set ends what is still served.
        let next = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            next = next(&listener, &free) => next,
            Some(_) = served.join_next() => continue,
        };
        let (stream, permit) = match next {
            Ok(next) => next,
            // The client is gone, or this process has no file left for now.
            Err(error) => {
                debug!("[http] cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        served.spawn(async move {
            let ended = match stream {
                Stream::Tcp(stream) => answer(stream, router, limits).await,
                Stream::Unix(stream) => answer(stream, router, limits).await,
            };
            if let Err(error) = ended {
                debug!("[http] {error}");
            }
            drop(permit);
        });
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// A connection, once one more may be served.
async fn next(listener: &Listener, free: &Arc<Semaphore>) -> io::Result<(Stream, Permit)> {
    let permit = Arc::clone(free).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let stream = match listener {
        Listener::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
        Listener::Unix(listener) => Stream::Unix(listener.accept().await?.0),
    };
    Ok((stream, permit))
}

async fn answer<S>(stream: S, router: Router, limits: Limits) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

/// Between two tries of a listener that fails.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A server that says `here`, and its address; it ends with the token.
    async fn start(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        let stop = CancellationToken::new();
        let served = serve(Listener::Tcp(listener), router, limits, stop.clone());
        tokio::spawn(served);
        (address, stop)
    }

    async fn send(address: std::net::SocketAddr, request: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _refused = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(10), read).await;
        // A client whose request is refused half way may be cut off.
        let count = read.expect("an answer or an end").unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..count]).into_owned();
        (stream, text)
    }

    #[tokio::test]
    async fn half_a_request_is_not_waited_for() {
        let limits = Limits {
            connections: 1,
            head: Duration::from_millis(100),
            ..Limits::default()
        };
        let (address, _stop) = start(limits).await;

        let (_open, half) = send(address, "GET / HTTP/1.1\r\nhost:").await;
        let (_, whole) = send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;

        assert!(!half.contains("200 OK"), "{half}");
        assert!(whole.ends_with("here"), "{whole}");
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let limits = Limits {
            head_bytes: 8 << 10,
            ..Limits::default()
        };
        let (address, _stop) = start(limits).await;

        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
        let (_, answer) = send(address, &long).await;

        assert!(!answer.contains("200 OK"), "{answer}");
    }

    #[tokio::test]
    async fn stopping_ends_what_is_open() {
        let (address, stop) = start(Limits::default()).await;
        let (mut open, answer) = send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.ends_with("here"), "{answer}");

        stop.cancel();

        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), open.read_to_end(&mut rest));
        assert!(end.await.is_ok(), "the connection stays open");
    }
}
