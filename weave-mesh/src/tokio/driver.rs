//! The task that owns the node: it turns inputs, commands and time into calls, and what the node
//! wants into work for other tasks.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::mesh::Command;
use super::socket;
use super::stream::{self, Ends, Input};
use crate::node::{ConnectionId, DialId, Event, Node, OverlayEvent, RouteTable, Transmit};

pub(super) struct Driver {
    node: Node,
    started: Instant,
    listen: SocketAddr,
    commands: mpsc::Receiver<Command>,
    inputs: mpsc::Receiver<Input>,
    /// For the tasks that are started later.
    reports: mpsc::Sender<Input>,
    events: mpsc::Sender<OverlayEvent>,
    /// Events that did not fit into the receiver's queue.
    backlog: VecDeque<OverlayEvent>,
    control_dropped: u64,
    routes: watch::Sender<Arc<RouteTable>>,
    streams: HashMap<ConnectionId, Stream>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// What is needed to write to and end a connection.
struct Stream {
    chunks: mpsc::Sender<Bytes>,
    stop: CancellationToken,
}

impl Driver {
    pub(super) fn new(
        node: Node,
        listen: SocketAddr,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<OverlayEvent>,
        routes: watch::Sender<Arc<RouteTable>>,
    ) -> Self {
        let (reports, inputs) = mpsc::channel(INPUTS);
        Self {
            node,
            started: Instant::now(),
            listen,
            commands,
            inputs,
            reports,
            events,
            backlog: VecDeque::new(),
            control_dropped: 0,
            routes,
            streams: HashMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Runs until a handle asks to stop or the last one is gone.
    pub(super) async fn run(mut self, listener: TcpListener) {
        let accept = stream::accept(listener, self.reports.clone(), self.stop.clone());
        self.tasks.spawn(accept);
        let reply = loop {
            self.flush();
            match self.next_turn().await {
                Turn::Time => self.node.handle_timeout(self.started.elapsed()),
                Turn::Input(input) => self.handle_inputs(input),
                Turn::Command(Command::Shutdown { reply }) => break Some(reply),
                Turn::Command(command) => self.handle_command(command),
                Turn::Room => self.forward_backlog(),
                Turn::Reaped => {}
                Turn::Abandoned => break None,
            }
        };
        self.shut_down(reply).await;
    }

    async fn next_turn(&mut self) -> Turn {
        let wake = self.node.poll_timeout().map(|at| self.started + at);
        tokio::select! {
            () = wait_for(wake) => Turn::Time,
            Some(input) = self.inputs.recv() => Turn::Input(input),
            command = self.commands.recv() => command.map_or(Turn::Abandoned, Turn::Command),
            _ = self.events.reserve(), if !self.backlog.is_empty() => Turn::Room,
            Some(_) = self.tasks.join_next() => Turn::Reaped,
        }
    }

    async fn shut_down(mut self, reply: Option<oneshot::Sender<()>>) {
        self.stop.cancel();
        self.inputs.close();
        self.streams.clear();
        while self.tasks.join_next().await.is_some() {}
        if let Some(reply) = reply {
            // The caller may have stopped waiting.
            let _ = reply.send(());
        }
    }

    /// Handles one input and those that wait already, up to a bound.
    fn handle_inputs(&mut self, first: Input) {
        self.handle_input(first);
        for _ in 0..INPUTS {
            let Ok(input) = self.inputs.try_recv() else {
                return;
            };
            self.handle_input(input);
        }
    }

    fn handle_input(&mut self, input: Input) {
        let now = self.started.elapsed();
        match input {
            Input::Bytes(id, bytes) => self.node.handle_bytes(now, id, &bytes),
            Input::Written(id, count) => self.node.handle_written(now, id, count),
            Input::Closed(id, cause) => self.node.handle_closed(now, id, cause),
            Input::Resolved(dial, addresses) => self.node.handle_resolved(dial, addresses),
            Input::DialFailed {
                dial,
                address,
                reason,
            } => {
                self.node.handle_dial_failed(now, dial, address, reason);
            }
            Input::Dialled(dial, stream) => self.open(now, Some(dial), stream, None),
            Input::Accepted(stream, remote) => self.open(now, None, stream, Some(remote)),
        }
    }

    fn open(
        &mut self,
        now: Duration,
        dial: Option<DialId>,
        stream: TcpStream,
        remote: Option<SocketAddr>,
    ) {
        let ends = socket::configure(&stream).and_then(|()| {
            let remote = remote.map_or_else(|| stream.peer_addr(), Ok)?;
            Ok(Ends {
                local: socket::canonical(stream.local_addr()?),
                remote: socket::canonical(remote),
            })
        });
        let ends = match (ends, dial) {
            (Ok(ends), _) => ends,
            (Err(error), Some(dial)) => {
                let reason = socket::text(&error);
                return self
                    .node
                    .handle_dial_failed(now, dial, String::new(), reason);
            }
            (Err(error), None) => {
                debug!(%error, "an accepted connection is gone already");
                return;
            }
        };
        let id = match dial {
            Some(dial) => self.node.handle_dialled(now, dial, ends.local, ends.remote),
            None => self.node.handle_accepted(now, ends.local, ends.remote),
        };
        let (reader, writer) = stream.into_split();
        let (chunks, queue) = mpsc::channel(1);
        let stop = self.stop.child_token();
        let reports = &self.reports;
        self.tasks.spawn(stream::read(
            id,
            ends,
            reader,
            reports.clone(),
            stop.clone(),
        ));
        self.tasks.spawn(stream::write(
            id,
            ends,
            writer,
            queue,
            reports.clone(),
            stop.clone(),
        ));
        self.streams.insert(id, Stream { chunks, stop });
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.started.elapsed();
        let node = &mut self.node;
        // A caller that no longer waits for the answer has dropped its end.
        match command {
            Command::Connect {
                peers,
                replace,
                reply,
            } => {
                let _ = reply.send(node.connect(now, peers, replace));
            }
            Command::Forget { peers, reply } => {
                node.forget(now, &peers);
                let _ = reply.send(());
            }
            Command::Broadcast { channel } => node.broadcast(&channel),
            Command::Unicast {
                channel,
                to,
                payload,
                reply,
            } => {
                let _ = reply.send(node.unicast(&channel, to, &payload));
            }
            Command::RelayBroadcast { channel, source } => node.relay_broadcast(&channel, source),
            Command::RelayGossip { channel } => node.relay_gossip(&channel),
            Command::Established { id } => node.handle_established(now, id),
            Command::SetOverlay {
                id,
                name,
                attributes,
            } => node.set_overlay(id, name, attributes),
            Command::SendControl { id, body } => node.send_control(now, id, &body),
            Command::OverlayFailed { id, reason } => node.handle_overlay_failed(now, id, reason),
            Command::SetKeyring { keyring, reply } => {
                let _ = reply.send(node.set_keyring(keyring));
            }
            Command::Report { reply } => {
                let mut report = node.report(now);
                report.counters.control_dropped = self.control_dropped;
                let _ = reply.send(report);
            }
            Command::Shutdown { reply } => drop(reply),
        }
    }

    /// Does what the node wants, until it wants nothing more.
    fn flush(&mut self) {
        while let Some(transmit) = self.node.poll_transmit(self.started.elapsed()) {
            match transmit {
                Transmit::Dial { dial, target } => {
                    let (reports, stop) = (self.reports.clone(), self.stop.child_token());
                    self.tasks
                        .spawn(stream::dial(dial, target, self.listen, reports, stop));
                }
                Transmit::Data { connection, bytes } => {
                    // The writer is ready for the one chunk a connection has on its way, or gone,
                    // and then its end is on the way to us.
                    if let Some(stream) = self.streams.get(&connection) {
                        let _ = stream.chunks.try_send(bytes);
                    }
                }
                Transmit::Close { connection } => {
                    if let Some(stream) = self.streams.remove(&connection) {
                        stream.stop.cancel();
                    }
                }
            }
        }
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Notice(notice) => info!("{notice}"),
                Event::Overlay(event) => self.forward(event),
            }
        }
        if let Some(table) = self.node.poll_routes() {
            self.routes.send_replace(table);
        }
    }

    /// Moves events on; without a receiver they are of no use to anybody.
    fn forward_backlog(&mut self) {
        if self.events.is_closed() {
            self.backlog.clear();
        }
        while let Ok(permit) = self.events.try_reserve() {
            let Some(event) = self.backlog.pop_front() else {
                return;
            };
            permit.send(event);
        }
    }

    fn forward(&mut self, event: OverlayEvent) {
        let is_control = matches!(event, OverlayEvent::Control { .. });
        if self.events.is_closed() {
            return;
        }
        if is_control && self.backlog.len() >= MAX_BACKLOG {
            self.control_dropped += 1;
            return;
        }
        self.backlog.push_back(event);
    }
}

/// What the driver is woken by.
enum Turn {
    Time,
    Input(Input),
    Command(Command),
    /// The receiver of events has room, or is gone.
    Room,
    Reaped,
    /// The last handle was dropped.
    Abandoned,
}

/// Waits for a moment, or for ever.
async fn wait_for(wake: Option<Instant>) {
    match wake {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Inputs that wait before the tasks that report them do.
const INPUTS: usize = 64;
/// Events that wait before control messages are dropped.
const MAX_BACKLOG: usize = 1024;
