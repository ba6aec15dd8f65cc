//! The tasks around one connection, the dials and the accept loop. All of them only move bytes and
//! outcomes to the driver; each ends when it is cancelled or the driver is gone.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::socket;
use crate::connector::Target;
use crate::node::{ConnectionId, DialId};

/// What tasks report to the driver.
#[derive(Debug)]
pub(super) enum Input {
    Accepted(TcpStream, SocketAddr),
    Resolved(DialId, Vec<SocketAddr>),
    Dialled(DialId, TcpStream),
    DialFailed {
        dial: DialId,
        address: String,
        reason: String,
    },
    Bytes(ConnectionId, Bytes),
    Written(ConnectionId, usize),
    Closed(ConnectionId, String),
}

/// Both ends of a connection, for its error texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Ends {
    fn error(self, operation: &str, error: &std::io::Error) -> String {
        let Self { local, remote } = self;
        format!(
            "{operation} tcp {local}->{remote}: {operation}: {}",
            socket::text(error)
        )
    }
}

/// Moves what arrives to the driver.
pub(super) async fn read(
    id: ConnectionId,
    ends: Ends,
    stream: OwnedReadHalf,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    loop {
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            ready = stream.readable() => ready,
        };
        // Made when there is something to read: a connection at rest holds no buffer.
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        let outcome = ready.and_then(|()| stream.try_read_buf(&mut buffer));
        let (input, is_last) = match outcome {
            Ok(0) => (Input::Closed(id, "EOF".to_owned()), true),
            Ok(_) => (Input::Bytes(id, buffer.freeze()), false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => (Input::Closed(id, ends.error("read", &error)), true),
        };
        if !report(&inputs, &stop, input).await || is_last {
            return;
        }
    }
}

/// Writes what the driver hands out, and reports every piece that the socket took.
pub(super) async fn write(
    id: ConnectionId,
    ends: Ends,
    mut stream: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    loop {
        let mut chunk = tokio::select! {
            () = stop.cancelled() => return,
            chunk = chunks.recv() => match chunk {
                Some(chunk) => chunk,
                None => return,
            },
        };
        while !chunk.is_empty() {
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = stream.write_buf(&mut chunk) => outcome,
            };
            let input = match outcome {
                Ok(count) => Input::Written(id, count),
                Err(error) => {
                    let closed = Input::Closed(id, ends.error("write", &error));
                    report(&inputs, &stop, closed).await;
                    return;
                }
            };
            if !report(&inputs, &stop, input).await {
                return;
            }
        }
    }
}

/// Resolves and connects to a target.
pub(super) async fn dial(
    dial: DialId,
    target: Target,
    listen: SocketAddr,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    let addresses = tokio::select! {
        () = stop.cancelled() => return,
        addresses = socket::resolve(&target) => addresses,
    };
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(reason) => {
            let address = target.to_string();
            report(
                &inputs,
                &stop,
                Input::DialFailed {
                    dial,
                    address,
                    reason,
                },
            )
            .await;
            return;
        }
    };
    if matches!(target, Target::Direct { .. }) {
        let known = addresses.iter().copied().map(socket::canonical).collect();
        report(&inputs, &stop, Input::Resolved(dial, known)).await;
    }
    let outcome = tokio::select! {
        () = stop.cancelled() => return,
        outcome = socket::connect(listen, &addresses) => outcome,
    };
    let input = match outcome {
        Ok(stream) => Input::Dialled(dial, stream),
        Err((tried, reason)) => {
            let address = tried.map_or_else(|| target.to_string(), |tried| tried.to_string());
            Input::DialFailed {
                dial,
                address,
                reason,
            }
        }
    };
    report(&inputs, &stop, input).await;
}

/// Accepts connections. A lack of file descriptors passes, so errors only slow it down.
pub(super) async fn accept(
    listener: TcpListener,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = listener.accept() => outcome,
        };
        match outcome {
            Ok((stream, remote)) => {
                let remote = socket::canonical(remote);
                if !report(&inputs, &stop, Input::Accepted(stream, remote)).await {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Hands an input to the driver; false if the task is to end.
async fn report(inputs: &mpsc::Sender<Input>, stop: &CancellationToken, input: Input) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        sent = inputs.send(input) => sent.is_ok(),
    }
}

/// Bytes read at a time.
const READ_SIZE: usize = 16 << 10;
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
