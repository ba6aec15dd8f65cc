//! The loop around the engine.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use weave_datapath::fastdp::{Connection, Engine, Event, Heartbeat, Routes, TableUpdate, Transmit};
use weave_datapath::{PeerName as DataName, ShortId as DataShortId};
use weave_mesh::node::{ConnectionId, OverlayConnection, OverlayEvent, RouteTable};
use weave_mesh::peer::{PeerName, ShortId};
use weave_mesh::tokio::{Mesh, OverlayEvents};

use super::{NAME, Overlay, View, Wire, WireError};

/// What the task works with.
#[derive(Debug)]
pub struct Surroundings {
    /// The mesh.
    pub mesh: Mesh,
    /// What the mesh says about connections.
    pub events: OverlayEvents,
    /// MTU of the network, for the status pages.
    pub mtu: u16,
    /// Ends the task.
    pub stop: CancellationToken,
}

/// The task that owns `engine` and `wire`, to be spawned, and a handle to it.
pub fn start<W: Wire>(
    engine: Engine,
    wire: W,
    around: Surroundings,
) -> (Overlay, impl Future<Output = ()> + Send) {
    let (questions, inbox) = mpsc::channel(QUEUE);
    let begun = Instant::now();
    let task = Task {
        engine,
        wire,
        routes: around.mesh.routes(),
        questions: inbox,
        connections: HashMap::new(),
        begun,
        sweep_at: begun + SWEEP,
        resync_at: None,
        around,
    };
    (Overlay { questions }, task.run())
}

struct Task<W> {
    engine: Engine,
    wire: W,
    routes: watch::Receiver<Arc<RouteTable>>,
    questions: mpsc::Receiver<oneshot::Sender<View>>,
    connections: HashMap<u64, Served>,
    begun: Instant,
    sweep_at: Instant,
    /// When to write the tables again after a failed update.
    resync_at: Option<Instant>,
    around: Surroundings,
}

/// A connection the engine serves.
struct Served {
    remote: PeerName,
    /// Index of our overlay in the common list; the first byte of control messages.
    slot: u8,
}

enum Wake {
    Mesh(OverlayEvent),
    Routes,
    Heartbeat(Result<Heartbeat, WireError>),
    Question(oneshot::Sender<View>),
    Time,
    Stop,
}

impl<W: Wire> Task<W> {
    async fn run(mut self) {
        self.routes.mark_changed();
        loop {
            let wake = self.wait().await;
            let now = self.begun.elapsed();
            match wake {
                Wake::Stop => return,
                Wake::Mesh(event) => self.handle_mesh(now, event).await,
                Wake::Routes => {
                    let table = Arc::clone(&self.routes.borrow_and_update());
                    self.engine.handle_routes(now, routes(&table));
                }
                Wake::Heartbeat(Ok(heartbeat)) => self.engine.handle_heartbeat(now, &heartbeat),
                Wake::Heartbeat(Err(error)) => {
                    // Without heartbeats every connection fails within a minute; say why.
                    error!("fast data path: {error}");
                    tokio::time::sleep(RETRY).await;
                }
                Wake::Question(reply) => {
                    // A caller that has gone away needs no answer.
                    let _ = reply.send(self.wire.view());
                }
                Wake::Time => self.handle_time(now),
            }
            self.settle(now).await;
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = self.engine.poll_timeout().map(|at| self.begun + at);
        let due = due
            .into_iter()
            .chain(self.resync_at)
            .fold(self.sweep_at, Instant::min);
        tokio::select! {
            () = self.around.stop.cancelled() => Wake::Stop,
            event = self.around.events.recv() => event.map_or(Wake::Stop, Wake::Mesh),
            Ok(()) = self.routes.changed() => Wake::Routes,
            frame = self.wire.next_event() => Wake::Heartbeat(frame),
            Some(reply) = self.questions.recv() => Wake::Question(reply),
            () = sleep_until(due) => Wake::Time,
        }
    }

    async fn handle_mesh(&mut self, now: Duration, event: OverlayEvent) {
        match event {
            OverlayEvent::Confirmed(connection) => self.handle_confirmed(now, &connection).await,
            OverlayEvent::Control { id, body } => {
                let id = u64::from(id);
                let slot = self.connections.get(&id).map(|served| served.slot);
                if let Some((first, inner)) = body.split_first()
                    && Some(*first) == slot
                {
                    self.engine.handle_control(now, id, inner);
                }
            }
            OverlayEvent::Closed { id } => {
                self.connections.remove(&u64::from(id));
                self.engine.handle_closed(now, id.into());
            }
        }
    }

    async fn handle_confirmed(&mut self, now: Duration, connection: &OverlayConnection) {
        if connection.encrypted {
            return self.withhold(connection).await;
        }
        let slot = connection.overlays.iter().position(|name| name == NAME);
        let slot = slot.and_then(|slot| u8::try_from(slot).ok());
        let (local, peer) = (ipv4(connection.local), ipv4(connection.peer));
        let (Some(slot), Some(local), Some(remote)) = (slot, local, peer) else {
            let reason = format!("no working forwarders to {}", self.label(connection.remote));
            self.around.mesh.overlay_failed(connection.id, reason).await;
            return;
        };
        let id = u64::from(connection.id);
        self.connections.insert(
            id,
            Served {
                remote: connection.remote,
                slot,
            },
        );
        self.around
            .mesh
            .set_overlay(connection.id, NAME, self.attributes())
            .await;
        self.engine.handle_connection(
            now,
            Connection {
                id,
                peer: data_name(connection.remote),
                short_id: connection.remote_short_id.and_then(data_short_id),
                local,
                remote,
                uid: connection.connection_uid,
                encrypted: connection.encrypted,
            },
        );
    }

    /// Keeps frames off a connection whose data has to be encrypted, which fastdp cannot do. Mesh
    /// messages go on; the connection stays pending and says why.
    async fn withhold(&mut self, connection: &OverlayConnection) {
        let remote = connection.remote;
        warn!("fastdp ->[{remote}]: not used, {WITHHELD}");
        let attributes = BTreeMap::from([("reason".to_owned(), WITHHELD.to_owned())]);
        let mesh = &self.around.mesh;
        mesh.set_overlay(connection.id, "none", attributes).await;
    }

    fn handle_time(&mut self, now: Duration) {
        self.engine.handle_timeout(now);
        let moment = Instant::now();
        if moment >= self.sweep_at {
            self.sweep_at = moment + SWEEP;
            if let Err(error) = self.wire.sweep() {
                warn!("fast data path: {error}");
            }
        }
        if self.resync_at.is_some_and(|at| moment >= at) {
            self.resync_at = None;
            self.apply(&TableUpdate::default());
        }
    }

    async fn settle(&mut self, now: Duration) {
        while let Some(update) = self.engine.poll_update(now) {
            self.apply(&update);
        }
        while let Some(transmit) = self.engine.poll_transmit() {
            self.transmit(transmit).await;
        }
        while let Some(event) = self.engine.poll_event() {
            self.report(event).await;
        }
    }

    fn apply(&mut self, update: &TableUpdate) {
        if let Err(error) = self.wire.apply(update) {
            error!("fast data path: {error}");
            self.resync_at = Some(Instant::now() + RETRY);
        }
    }

    async fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Heartbeat {
                id,
                local,
                remote,
                port,
                payload,
            } => {
                if let Err(error) = self.wire.send(local, remote, port, &payload) {
                    let remote = self
                        .connections
                        .get(&id)
                        .map(|served| self.label(served.remote));
                    debug!(
                        "fastdp ->[{}]: heartbeat: {error}",
                        remote.unwrap_or_default()
                    );
                }
            }
            Transmit::Control { id, inner } => {
                let Some(served) = self.connections.get(&id) else {
                    return;
                };
                let body: Bytes = std::iter::once(served.slot).chain(inner).collect();
                self.around
                    .mesh
                    .send_control(ConnectionId::from(id), body)
                    .await;
            }
        }
    }

    async fn report(&mut self, event: Event) {
        let (id, trouble) = match event {
            Event::Established { id } => (id, None),
            Event::Unhealthy { id } => (id, Some("no heartbeat for a minute")),
            Event::Declined { id, reason } => (id, Some(reason)),
            _ => return,
        };
        let Some(served) = self.connections.get(&id) else {
            return;
        };
        let id = ConnectionId::from(id);
        let label = self.label(served.remote);
        let Some(trouble) = trouble else {
            info!("overlay_switch ->[{label}] using {NAME}");
            self.around.mesh.established(id).await;
            return;
        };
        warn!("fastdp ->[{label}]: {trouble}");
        let reason = format!("no working forwarders to {label}");
        self.around.mesh.overlay_failed(id, reason).await;
    }

    fn attributes(&self) -> BTreeMap<String, String> {
        let mtu = self.around.mtu.to_string();
        BTreeMap::from([
            ("name".to_owned(), NAME.to_owned()),
            ("mtu".to_owned(), mtu),
        ])
    }

    fn label(&self, peer: PeerName) -> String {
        let table = self.routes.borrow();
        let nickname = table.nicknames.get(&peer).map_or("", String::as_str);
        format!("{peer}({nickname})")
    }
}

/// The mesh's routes in the data path's words.
fn routes(table: &RouteTable) -> Routes {
    Routes {
        short_ids: table
            .short_ids
            .iter()
            .filter_map(|(name, id)| Some((data_name(*name), data_short_id(*id)?)))
            .collect(),
        unicast: table
            .unicast
            .iter()
            .map(|(destination, hop)| (data_name(*destination), data_name(*hop)))
            .collect(),
        broadcast: table
            .broadcast
            .iter()
            .map(|(source, hops)| {
                (
                    data_name(*source),
                    hops.iter().map(|hop| data_name(*hop)).collect(),
                )
            })
            .collect(),
    }
}

fn data_name(name: PeerName) -> DataName {
    DataName::from(u64::from(name))
}

fn data_short_id(id: ShortId) -> Option<DataShortId> {
    DataShortId::try_from(u16::from(id)).ok()
}

fn ipv4(address: SocketAddr) -> Option<Ipv4Addr> {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Why frames are kept off an encrypted connection.
const WITHHELD: &str =
    "it sends in clear and the network is not in the trusted subnets of both peers";
const QUEUE: usize = 16;
const SWEEP: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);
