//! The loop around the engines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use weave_datapath::fastdp::{Engine, Event, Routes, TableUpdate, Transmit};
use weave_datapath::overlay::{self, Input};
use weave_datapath::{PeerName as DataName, ShortId as DataShortId, plane};
use weave_mesh::node::{ConnectionId, OverlayConnection, OverlayEvent, RouteTable};
use weave_mesh::peer::{PeerName, ShortId};
use weave_mesh::tokio::{Mesh, OverlayEvents};

use super::confirm::{self, Confirmed};
use super::room::{Followed, Room};
use super::served::Served;
use super::{Arrival, FASTDP, Overlay, SLEEVE, SwitchCount, View, Wire, WireError, sleeve};

/// What the task works with.
#[derive(Debug)]
pub struct Surroundings {
    /// The mesh.
    pub mesh: Mesh,
    /// What the mesh says about connections.
    pub events: OverlayEvents,
    /// Our name.
    pub us: PeerName,
    /// How large packets of pods may be.
    pub room: Room,
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
    let Surroundings {
        mesh,
        events,
        us,
        room,
        stop,
    } = around;
    let task = Task {
        engine,
        wire,
        table: mesh.routes(),
        questions: inbox,
        connections: HashMap::new(),
        switches: BTreeMap::new(),
        routes: Routes::default(),
        ways_changed: true,
        begun,
        sweep_at: begun + SWEEP,
        resync_at: None,
        room: Followed::new(room),
        measure_at: begun + MEASURE,
        tend_at: begun + MEASURE,
        mesh,
        events,
        us,
        stop,
    };
    (Overlay { questions }, task.run())
}

struct Task<W> {
    engine: Engine,
    wire: W,
    table: watch::Receiver<Arc<RouteTable>>,
    questions: mpsc::Receiver<oneshot::Sender<View>>,
    connections: HashMap<u64, Served>,
    /// How often frames went over to an overlay, and why.
    switches: BTreeMap<(String, overlay::Cause), u64>,
    routes: Routes,
    /// Routes or overlays have changed since sleeve was told.
    ways_changed: bool,
    begun: Instant,
    sweep_at: Instant,
    /// When to write the tables again after a failed update.
    resync_at: Option<Instant>,
    room: Followed,
    /// When to ask for the sizes of the ways again.
    measure_at: Instant,
    /// When to look after the ports of the tunnel again.
    tend_at: Instant,
    mesh: Mesh,
    events: OverlayEvents,
    us: PeerName,
    stop: CancellationToken,
}

enum Wake {
    Mesh(OverlayEvent),
    Routes,
    Arrival(Result<Arrival, WireError>),
    Question(oneshot::Sender<View>),
    Time,
    Stop,
}

impl<W: Wire> Task<W> {
    async fn run(mut self) {
        self.table.mark_changed();
        loop {
            let wake = self.wait().await;
            let now = self.begun.elapsed();
            match wake {
                Wake::Stop => return,
                Wake::Mesh(event) => self.handle_mesh(now, event).await,
                Wake::Routes => {
                    let table = Arc::clone(&self.table.borrow_and_update());
                    self.routes = routes(&table);
                    self.ways_changed = true;
                    self.engine.handle_routes(now, self.routes.clone());
                }
                Wake::Arrival(Ok(arrival)) => self.handle_arrival(now, arrival),
                Wake::Arrival(Err(error)) => {
                    // Without heartbeats every connection fails within a minute; say why.
                    error!("data path: {error}");
                    tokio::time::sleep(RETRY).await;
                }
                Wake::Question(reply) => {
                    // A caller that has gone away needs no answer.
                    let _ = reply.send(self.view(now));
                }
                Wake::Time => {
                    self.handle_time(now);
                    self.tend_ports().await;
                }
            }
            self.settle(now).await;
        }
    }

    async fn wait(&mut self) -> Wake {
        let links = self.connections.values().filter_map(|served| {
            let link = served.sleeve.as_ref()?;
            link.engine.poll_timeout()
        });
        let due = links.chain(self.engine.poll_timeout()).min();
        let due = due.map(|at| self.begun + at);
        let due = due
            .into_iter()
            .chain(self.resync_at)
            .chain([self.measure_at, self.tend_at])
            .fold(self.sweep_at, Instant::min);
        tokio::select! {
            () = self.stop.cancelled() => Wake::Stop,
            event = self.events.recv() => event.map_or(Wake::Stop, Wake::Mesh),
            Ok(()) = self.table.changed() => Wake::Routes,
            arrival = self.wire.next_event() => Wake::Arrival(arrival),
            Some(reply) = self.questions.recv() => Wake::Question(reply),
            () = sleep_until(due) => Wake::Time,
        }
    }

    async fn handle_mesh(&mut self, now: Duration, event: OverlayEvent) {
        match event {
            OverlayEvent::Confirmed(connection) => self.handle_confirmed(now, &connection).await,
            OverlayEvent::Control { id, body } => self.handle_control(now, id.into(), &body),
            OverlayEvent::Closed { id } => {
                let id = u64::from(id);
                self.engine.handle_closed(now, id);
                self.room.remove(id);
                if let Some(served) = self.connections.remove(&id)
                    && served.sleeve.is_some()
                    && let Some(wire) = self.wire.sleeve()
                {
                    wire.remove_link(id);
                }
                self.ways_changed = true;
            }
        }
    }

    fn handle_control(&mut self, now: Duration, id: u64, body: &[u8]) {
        if let Some(served) = self.connections.get_mut(&id) {
            confirm::control(&mut self.engine, served, now, id, body);
        }
    }

    fn handle_arrival(&mut self, now: Duration, arrival: Arrival) {
        let event = match arrival {
            Arrival::Heartbeat(heartbeat) => {
                return self.engine.handle_heartbeat(now, &heartbeat);
            }
            Arrival::Sleeve(event) => event,
        };
        let (plane::Event::Special { link: id, .. } | plane::Event::TooBig { link: id }) = event
        else {
            return;
        };
        let served = self.connections.get_mut(&id);
        let Some(link) = served.and_then(|served| served.sleeve.as_mut()) else {
            return;
        };
        match event {
            plane::Event::Special { special, from, .. } => {
                link.engine.handle_special(now, special, from);
            }
            _ => {
                if let Some(wire) = self.wire.sleeve() {
                    sleeve::measure(wire, now, link);
                }
            }
        }
    }

    /// The mesh keeps a connection: start every overlay that both ends have.
    async fn handle_confirmed(&mut self, now: Duration, connection: &OverlayConnection) {
        let confirmed = Confirmed::from(connection);
        let mut tunnel = confirmed.tunnel(self.engine.port());
        if let Ok(port) = tunnel
            && port != self.engine.port()
            && confirmed.overlays.iter().any(|name| name == FASTDP)
        {
            let opened = self.wire.open_port(port).await;
            tunnel = opened.map(|()| port).map_err(|error| error.to_string());
        }
        let wire = self.wire.sleeve();
        let (served, events) = confirm::open(&mut self.engine, wire, now, &confirmed, tunnel);
        self.connections.insert(confirmed.id, served);
        self.measure(confirmed.id, confirmed.peer);
        self.ways_changed = true;
        for event in events {
            self.follow(confirmed.id, event).await;
        }
    }

    fn handle_time(&mut self, now: Duration) {
        self.engine.handle_timeout(now);
        for served in self.connections.values_mut() {
            if let Some(link) = &mut served.sleeve {
                link.engine.handle_timeout(now);
            }
        }
        let moment = Instant::now();
        if moment >= self.measure_at {
            self.measure_at = moment + MEASURE;
            let ends = self.connections.iter();
            let ends: Vec<_> = ends.map(|(id, served)| (*id, served.address)).collect();
            for (id, address) in ends {
                self.measure(id, address);
            }
        }
        if moment >= self.sweep_at {
            self.sweep_at = moment + SWEEP;
            if let Err(error) = self.wire.sweep() {
                warn!("data path: {error}");
            }
        }
        if self.resync_at.is_some_and(|at| moment >= at) {
            self.resync_at = None;
            self.apply(&TableUpdate::default());
        }
    }

    /// Keeps the tunnel open at the ports of peers that were dialled at another than ours, and closes it
    /// at those that are of no use any more.
    async fn tend_ports(&mut self) {
        let moment = Instant::now();
        if moment < self.tend_at {
            return;
        }
        self.tend_at = moment + MEASURE;
        let ports = self.connections.values().filter_map(|served| served.port);
        let ports: BTreeSet<u16> = ports.filter(|port| *port != self.engine.port()).collect();
        for port in &ports {
            if let Err(error) = self.wire.open_port(*port).await {
                warn!("fast data path: {error}");
            }
        }
        if let Err(error) = self.wire.close_ports(&ports).await {
            warn!("fast data path: {error}");
        }
    }

    /// Asks the kernel how large packets the way of a connection carries.
    fn measure(&mut self, id: u64, to: SocketAddr) {
        let path = sleeve::ipv4(to).and_then(|to| self.wire.sleeve()?.path_mtu(to));
        self.room.set(id, path);
    }

    /// Takes over another MTU, if the ways ask for one.
    fn settle_room(&mut self) {
        let (connections, table) = (&self.connections, &self.table);
        let changed = self.room.settle(|id| {
            let remote = connections.get(&id).map(|served| served.remote);
            remote.map_or_else(String::new, |remote| label(table, remote))
        });
        if let Some(mtu) = changed {
            self.engine.handle_mtu(mtu);
        }
    }

    /// Does all that follows from what came in, until nothing more does.
    async fn settle(&mut self, now: Duration) {
        loop {
            while let Some(update) = self.engine.poll_update(now) {
                self.apply(&update);
            }
            while let Some(transmit) = self.engine.poll_transmit() {
                self.transmit(transmit).await;
            }
            let mut busy = self.settle_sleeve(now).await;
            while let Some(event) = self.engine.poll_event() {
                busy = true;
                self.report(now, event).await;
            }
            if !busy {
                break;
            }
        }
        if std::mem::take(&mut self.ways_changed)
            && let Some(wire) = self.wire.sleeve()
        {
            let us = data_name(self.us);
            wire.set_forwarding(sleeve::forwarding(&self.routes, &self.connections, us));
        }
        self.settle_room();
        self.show().await;
    }

    /// Whether something came of it that others have to follow.
    async fn settle_sleeve(&mut self, now: Duration) -> bool {
        let Some(wire) = self.wire.sleeve() else {
            return false;
        };
        let mut outcomes = Vec::new();
        for (id, served) in &mut self.connections {
            let Some(link) = &mut served.sleeve else {
                continue;
            };
            let outcome = sleeve::settle(wire, now, link);
            let slot = served.switch.slot_of(SLEEVE);
            outcomes.push((*id, served.remote, slot, outcome));
        }
        let mut busy = false;
        for (id, remote, slot, outcome) in outcomes {
            if let Some(to) = outcome.moved {
                debug!("sleeve ->[{}]: peer is at {to}", self.label(remote));
            }
            if let Some((to, mtu)) = outcome.mtu {
                let peer = self.label(remote);
                info!("sleeve ->[{to}|{peer}]: Effective MTU verified at {mtu}");
            }
            for message in outcome.control {
                let Some(slot) = slot else { continue };
                let body = Bytes::from(overlay::control(slot, &message));
                let id = ConnectionId::from(id);
                self.mesh.send_control(id, body).await;
            }
            for input in outcome.inputs {
                busy = true;
                self.note(now, id, SLEEVE, input).await;
            }
        }
        busy
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
                let served = self.connections.get(&id);
                let Some(slot) = served.and_then(|served| served.switch.slot_of(FASTDP)) else {
                    return;
                };
                let body = Bytes::from(overlay::control(slot, &inner));
                let id = ConnectionId::from(id);
                self.mesh.send_control(id, body).await;
            }
        }
    }

    /// News of the fast overlay.
    async fn report(&mut self, now: Duration, event: Event) {
        let (id, input) = match event {
            Event::Established { id } => (id, Input::Established),
            Event::Unhealthy { id, why } => (id, Input::Unhealthy(why)),
            Event::Healthy { id } => (id, Input::Healthy),
            Event::Declined { id, reason } => (id, Input::Failed(reason.to_owned())),
            _ => return,
        };
        self.note(now, id, FASTDP, input).await;
    }

    async fn note(&mut self, now: Duration, id: u64, name: &str, input: Input) {
        let Some(served) = self.connections.get_mut(&id) else {
            return;
        };
        let remote = served.remote;
        match &input {
            Input::Unhealthy(why) => warn!("{name} ->[{}]: {why}", self.label(remote)),
            Input::Failed(why) => warn!("{name} ->[{}]: {why}", self.label(remote)),
            _ => {}
        }
        let Some(served) = self.connections.get_mut(&id) else {
            return;
        };
        for event in served.handle(now, name, input) {
            self.follow(id, event).await;
        }
    }

    /// Does what the switch of a connection has decided.
    async fn follow(&mut self, id: u64, event: overlay::Event) {
        let Some(served) = self.connections.get(&id) else {
            return;
        };
        let remote = served.remote;
        let label = self.label(remote);
        match event {
            overlay::Event::Established => {
                info!("overlay_switch ->[{label}] using {}", carrier(served));
                self.mesh.established(ConnectionId::from(id)).await;
            }
            overlay::Event::Chosen { cause, .. } => {
                let to = carrier(served).to_owned();
                let why = served.switch.changes().last();
                let why = why.map_or("", |change| change.why.as_str());
                info!("overlay_switch ->[{label}] using {to}: {why}");
                *self.switches.entry((to, cause)).or_default() += 1;
                let by_sleeve = served.carrier() == Some(SLEEVE);
                self.engine.handle_sleeve(id, data_name(remote), by_sleeve);
                self.ways_changed = true;
            }
            overlay::Event::NoneWorking => {
                let cause = served.switch.changes().last().map(|change| change.cause);
                let cause = cause.unwrap_or(overlay::Cause::Failed);
                *self.switches.entry(("none".to_owned(), cause)).or_default() += 1;
                let reason = format!("no working forwarders to {label}");
                let mesh = &self.mesh;
                mesh.overlay_failed(ConnectionId::from(id), reason).await;
            }
            _ => {}
        }
    }

    /// Tells the mesh what status pages show of each connection.
    async fn show(&mut self) {
        let mtu = self.room.mtu();
        for (id, served) in &mut self.connections {
            let attributes = served.attributes(mtu);
            if attributes != served.shown {
                let id = ConnectionId::from(*id);
                let name = carrier(served).to_owned();
                served.shown.clone_from(&attributes);
                self.mesh.set_overlay(id, &name, attributes).await;
            }
        }
    }

    fn view(&self, now: Duration) -> View {
        let counts = self.switches.iter();
        let mut carriers: Vec<_> = self.connections.values().collect();
        carriers.sort_by_key(|served| served.remote);
        View {
            carriers: carriers.iter().map(|served| served.view(now)).collect(),
            switches: counts
                .map(|((to, cause), count)| SwitchCount {
                    to: to.clone(),
                    cause: *cause,
                    count: *count,
                })
                .collect(),
            ..self.wire.view()
        }
    }

    fn label(&self, peer: PeerName) -> String {
        label(&self.table, peer)
    }
}

fn label(table: &watch::Receiver<Arc<RouteTable>>, peer: PeerName) -> String {
    let table = table.borrow();
    let nickname = table.nicknames.get(&peer).map_or("", String::as_str);
    format!("{peer}({nickname})")
}

fn carrier(served: &Served) -> &str {
    served.carrier().unwrap_or("none")
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

pub(super) fn data_short_id(id: ShortId) -> Option<DataShortId> {
    DataShortId::try_from(u16::from(id)).ok()
}

const QUEUE: usize = 16;
const SWEEP: Duration = Duration::from_secs(60);
/// Time between two looks at the sizes of the ways: the kernel forgets what routers told after 600 s,
/// and devices change when a person changes them.
const MEASURE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
