//! A small HTTP/1.1 client for the daemon's control interface, over TCP or a Unix socket.
//!
//! One connection per request, everything bounded by a time limit, the body by a size limit.
//! Dropping a request's future closes its connection, which is how a caller abandons a request
//! that waits for an address: the daemon cancels it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:6784";

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    limit: Option<Duration>,
}

impl Client {
    /// A client of the daemon at `address`: `host`, `host:port`, `:port`, an optional `http://` in
    /// front, or the absolute path of a Unix socket (also as `unix:/path`).
    ///
    /// Requests wait for an answer without limit until [`Client::with_limit`] sets one;
    /// connecting is always limited to three seconds.
    pub fn new(address: &str) -> Self {
        Self {
            address: Address::parse(address),
            limit: None,
        }
    }

    /// A client of the daemon named by `WEAVE_HTTP_ADDR`, or of the default address.
    pub fn from_env() -> Self {
        let address = std::env::var("WEAVE_HTTP_ADDR").unwrap_or_default();
        Self::new(&address)
    }

    /// Limits each request, connecting included, to `limit`.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The address as a person reads it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Whether the daemon is on this host.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Tcp(text) => {
                let is_loopback = |address: std::net::SocketAddr| address.ip().is_loopback();
                text.parse().is_ok_and(is_loopback) || text.starts_with("localhost:")
            }
            Address::Unix(_) => true,
        }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// See [`Error`]; an answer with an error status is not an error here.
    pub async fn get(&self, path: &str) -> Result<Response, Error> {
        self.send(Method::GET, path, Payload::None).await
    }

    /// `GET path` with `Accept: application/json`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_json(&self, path: &str) -> Result<Response, Error> {
        self.send(Method::GET, path, Payload::AcceptJson).await
    }

    /// `POST path` with an empty body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, path: &str) -> Result<Response, Error> {
        self.send(Method::POST, path, Payload::None).await
    }

    /// `POST path` with a form body of the given pairs.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_form(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Response, Error> {
        self.send(Method::POST, path, Payload::Form(encode_form(pairs)))
            .await
    }

    /// `PUT path` with an empty body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn put(&self, path: &str) -> Result<Response, Error> {
        self.send(Method::PUT, path, Payload::None).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> Result<Response, Error> {
        self.send(Method::DELETE, path, Payload::None).await
    }

    async fn send(&self, method: Method, path: &str, load: Payload) -> Result<Response, Error> {
        let exchange = self.exchange(method, path, load);
        let Some(limit) = self.limit else {
            return exchange.await;
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout {
                address: self.address(),
                limit,
            }),
        }
    }

    async fn exchange(&self, method: Method, path: &str, load: Payload) -> Result<Response, Error> {
        let unreachable = |reason: String| Error::Unreachable {
            address: self.address(),
            reason,
        };
        let connect = async {
            match &self.address {
                Address::Tcp(text) => TcpStream::connect(text).await.map(Stream::Tcp),
                Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            }
        };
        let stream = tokio::time::timeout(CONNECT_LIMIT, connect)
            .await
            .map_err(|_| unreachable("connection timed out".to_owned()))?
            .map_err(|error| unreachable(reason(&error)))?;
        let request = load.into_request(method, path, &self.address.host())?;
        match stream {
            Stream::Tcp(stream) => self.talk(stream, request).await,
            Stream::Unix(stream) => self.talk(stream, request).await,
        }
    }

    async fn talk<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Response, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |reason: String| Error::Broken {
            address: self.address(),
            reason,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.to_string()))?;
        let exchange = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| broken(error.to_string()))?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = Limited::new(answer.into_body(), BODY_LIMIT)
                .collect()
                .await
                .map_err(|error| broken(error.to_string()))?
                .to_bytes();
            Ok(Response {
                status,
                headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::pin!(exchange);
        tokio::pin!(connection);
        // Both run in this task, so that dropping the future closes the socket.
        tokio::select! {
            answer = &mut exchange => answer,
            ended = &mut connection => match ended {
                // The connection ends first when the last bytes are already buffered.
                Ok(()) => exchange.await,
                Err(error) => Err(broken(error.to_string())),
            },
        }
    }
}

/// What the daemon answered.
#[derive(Debug, Clone)]
#[must_use]
pub struct Response {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Response {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection: the daemon is not running, or listens elsewhere. Nothing was sent.
    #[error("cannot reach weave daemon at {address}: {reason}")]
    Unreachable {
        /// Where we tried.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The time limit passed. The request may or may not have had its effect.
    #[error("no answer from weave daemon at {address} within {limit:?}")]
    Timeout {
        /// Where we asked.
        address: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// The connection broke in the middle. The request may or may not have had its effect.
    #[error("connection to weave daemon at {address} broke: {reason}")]
    Broken {
        /// Where we asked.
        address: String,
        /// What the connection said.
        reason: String,
    },
    /// The path has characters that cannot stand in a request.
    #[error("cannot ask weave daemon for {path:?}: {reason}")]
    Request {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Percent-encodes `text` for one path segment or one form value.
pub fn encode_component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl Address {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::Unix(PathBuf::from(path.trim_start_matches("//")));
        }
        if text.starts_with('/') {
            return Self::Unix(PathBuf::from(text));
        }
        let text = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let port = if port.is_empty() { "6784" } else { port };
        if host.contains(':') && !host.starts_with('[') {
            return Self::Tcp(format!("[{host}]:{port}"));
        }
        Self::Tcp(format!("{host}:{port}"))
    }

    fn host(&self) -> String {
        match self {
            Self::Tcp(text) => text.clone(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum Payload {
    None,
    AcceptJson,
    Form(String),
}

impl Payload {
    fn into_request(
        self,
        method: Method,
        path: &str,
        host: &str,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host);
        let body = match self {
            Self::None => Bytes::new(),
            Self::AcceptJson => {
                builder = builder.header(ACCEPT, "application/json");
                Bytes::new()
            }
            Self::Form(text) => {
                builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                Bytes::from(text)
            }
        };
        builder
            .body(Full::new(body))
            .map_err(|error| Error::Request {
                path: path.to_owned(),
                reason: error.to_string(),
            })
    }
}

fn encode_form(pairs: &[(&str, &str)]) -> String {
    let encoded: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encode_component(key), encode_component(value)))
        .collect();
    encoded.join("&")
}

/// The system's words without Rust's `(os error N)`.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    plain.to_lowercase()
}

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A report of a large mesh stays far below; more is not from our daemon.
const BODY_LIMIT: usize = 64 << 20;

#[cfg(test)]
mod tests;
