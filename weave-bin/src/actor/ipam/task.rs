//! The loop around [`Core`]: channels, clock, disk and mesh.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use weave_ipam::mesh::encode_message;
use weave_ipam::{Allocator, Event, PeerId, Transmit};
use weave_mesh::node::RouteTable;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::Mesh;

use super::channel::{Inbox, Input, unix_seconds};
use super::core::{Core, Relay};
use super::{Command, Ipam};
use crate::actor::keeper::Keeper;

/// What the allocator's task works with.
#[derive(Debug)]
pub struct Surroundings {
    /// Our peer name.
    pub us: PeerName,
    /// The subnet of requests that name none.
    pub default_subnet: ipnet::IpNet,
    /// Name of the gossip channel.
    pub channel: &'static str,
    /// The mesh.
    pub mesh: Mesh,
    /// The state file.
    pub keeper: Keeper,
    /// How many other peers were given.
    pub targets: usize,
    /// Ends the task.
    pub stop: CancellationToken,
}

/// The task that owns `allocator`, to be spawned, and a handle to it.
pub fn start(
    allocator: Allocator,
    inbox: Inbox,
    around: Surroundings,
) -> (Ipam, impl Future<Output = ()> + Send) {
    let (commands, requests) = mpsc::channel(QUEUE);
    let abandoned = Arc::new(Notify::new());
    let ipam = Ipam {
        commands,
        abandoned: Arc::clone(&abandoned),
        default_subnet: around.default_subnet,
    };
    let routes = around.mesh.routes();
    let task = Task {
        core: Core::new(allocator, around.us, around.targets),
        requests,
        inbox,
        abandoned,
        routes,
        begun: Instant::now(),
        saved: None,
        retry_at: None,
        dropped: 0,
        donated: weave_ipam::Donated::default(),
        around,
    };
    (ipam, task.run())
}

struct Task {
    core: Core,
    requests: mpsc::Receiver<Command>,
    inbox: Inbox,
    abandoned: Arc<Notify>,
    routes: watch::Receiver<Arc<RouteTable>>,
    around: Surroundings,
    begun: Instant,
    /// The revision on disk.
    saved: Option<u64>,
    /// When to try again after a failed save.
    retry_at: Option<Instant>,
    /// Payloads dropped, as last logged.
    dropped: u64,
    /// What was given to peers, as last logged.
    donated: weave_ipam::Donated,
}

/// What woke the task.
enum Wake {
    Command(Command),
    Input(Input),
    Routes,
    Abandoned,
    Time,
    Stop,
}

impl Task {
    async fn run(mut self) {
        self.routes.mark_changed();
        loop {
            let wake = self.wait().await;
            let now = self.now();
            self.core.sweep();
            match wake {
                Wake::Stop => break,
                Wake::Command(command) => self.core.handle_command(now, command),
                Wake::Input(input) => self.core.handle_input(now, input),
                Wake::Routes => {
                    let table = Arc::clone(&self.routes.borrow_and_update());
                    let known = table.known.iter().map(|name| PeerId::from(*name)).collect();
                    self.core.handle_known(now, known);
                }
                Wake::Abandoned | Wake::Time => {}
            }
            self.drain(now);
            self.core.allocator.handle_timeout(now);
            self.settle().await;
        }
        self.settle().await;
    }

    async fn wait(&mut self) -> Wake {
        let due = self.core.allocator.poll_timeout().map(|at| self.begun + at);
        let due = due.into_iter().chain(self.retry_at).min();
        let timer = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.around.stop.cancelled() => Wake::Stop,
            command = self.requests.recv() => command.map_or(Wake::Stop, Wake::Command),
            Some(input) = self.inbox.inputs.recv() => Wake::Input(input),
            Ok(()) = self.routes.changed() => Wake::Routes,
            () = self.abandoned.notified() => Wake::Abandoned,
            () = timer => Wake::Time,
        }
    }

    /// Takes what else has arrived, so that one save serves it all.
    fn drain(&mut self, now: Duration) {
        for _ in 0..BATCH {
            let Ok(command) = self.requests.try_recv() else {
                break;
            };
            self.core.handle_command(now, command);
        }
        for _ in 0..BATCH {
            let Ok(input) = self.inbox.inputs.try_recv() else {
                break;
            };
            self.core.handle_input(now, input);
        }
        let dropped = self.inbox.dropped.load(Ordering::Relaxed);
        if dropped != self.dropped {
            warn!(
                total = dropped,
                "[allocator {}] gossip dropped, queue full", self.around.us
            );
            self.dropped = dropped;
        }
    }

    /// Saves, then sends, publishes and answers, until nothing is left to do.
    async fn settle(&mut self) {
        loop {
            for event in self.core.take_events() {
                self.log(&event);
            }
            self.log_donations();
            if let Err(error) = self.save().await {
                warn!("[allocator {}] {error}", self.around.us);
                self.retry_at = Some(Instant::now() + RETRY);
                self.core.give_answers(Err(&error));
                return;
            }
            self.retry_at = None;
            self.core.give_answers(Ok(()));
            self.publish();
            self.relay().await;
            if !self.transmit().await && !self.core.has_answers() {
                return;
            }
        }
    }

    async fn save(&mut self) -> Result<(), crate::actor::keeper::SaveError> {
        let revision = self.core.allocator.revision();
        if self.saved == Some(revision) {
            return Ok(());
        }
        self.around
            .keeper
            .save_ipam(self.core.allocator.snapshot())
            .await?;
        self.saved = Some(revision);
        Ok(())
    }

    /// Lets the mesh send what is saved.
    fn publish(&self) {
        let state = self.core.allocator.state(unix_seconds());
        self.inbox.saved.send_replace(Some(Arc::new(state)));
    }

    async fn relay(&mut self) {
        let channel = self.around.channel;
        for relay in self.core.take_relays() {
            match relay {
                Relay::Gossip => self.around.mesh.relay_gossip(channel).await,
                Relay::Broadcast(source) => {
                    self.around.mesh.relay_broadcast(channel, source).await;
                }
            }
        }
    }

    /// Sends what the allocator wants sent; whether its state may have changed by that.
    async fn transmit(&mut self) -> bool {
        let channel = self.around.channel;
        while let Some(transmit) = self.core.allocator.poll_transmit() {
            match transmit {
                Transmit::Broadcast => self.around.mesh.broadcast(channel).await,
                Transmit::Unicast { to, mut message } => {
                    message.stamp(unix_seconds());
                    let Ok(name) = PeerName::try_from(u64::from(to)) else {
                        continue;
                    };
                    let payload = encode_message(&message).into();
                    if let Err(error) = self.around.mesh.unicast(channel, name, payload).await {
                        debug!("[allocator {}] to {name}: {error}", self.around.us);
                        self.core.allocator.handle_send_failed(self.now(), to);
                        // What is sent next must be saved first.
                        return true;
                    }
                }
            }
        }
        false
    }

    fn log_donations(&mut self) {
        let (before, now) = (self.donated, self.core.allocator.donated());
        if now.ranges > before.ranges {
            let (ranges, addresses) = (
                now.ranges - before.ranges,
                now.addresses.saturating_sub(before.addresses),
            );
            info!(
                "[allocator {}] gave {addresses} addresses in {ranges} ranges to peers that asked",
                self.around.us
            );
        }
        self.donated = now;
    }

    fn log(&self, event: &Event) {
        let us = self.around.us;
        match event {
            Event::RingEstablished => info!("[allocator {us}] ring established"),
            Event::Conflict { reporter, conflict } => {
                warn!("[allocator {us}] ring of {reporter} contradicts ours: {conflict}");
            }
            Event::Refused { source, refusal } => {
                let source = source.map_or_else(|| "a peer".to_owned(), |peer| peer.to_string());
                warn!("[allocator {us}] ring of {source} refused: {refusal}");
            }
            Event::Outdated { token, .. } => warn!(
                "[allocator {us}] peers know a newer entry at {token} than we do: was the state \
                 rolled back, or does another peer use this name?"
            ),
            Event::Twin { token, reporter } => warn!(
                "[allocator {us}] another process runs under our name, as {reporter} shows at {token}: \
                 no addresses are given until one of the two is stopped or renamed"
            ),
            Event::Held(cause) => info!("[allocator {us}] addresses are held back: {cause}"),
            Event::HoldOver(cause) => {
                info!("[allocator {us}] addresses are no longer held back for: {cause}");
            }
            Event::RingReplaced {
                given_up,
                taken,
                unsettled,
            } => warn!(
                "[allocator {us}] our ring of {} gave way to the ring of {}; {unsettled} addresses \
                 in use here are asked for",
                names(given_up),
                names(taken)
            ),
            Event::Renumber {
                ident,
                address,
                owner,
            } => warn!(
                "[allocator {us}] {address} of {ident} belongs to {owner}: give it another address"
            ),
            Event::RangeLost(range) => warn!("[allocator {us}] lost range {range}"),
            Event::TakeoverRefused { peer, reason } => {
                warn!("[allocator {us}] {peer} is not taken over: {reason}");
            }
            other => warn!("[allocator {us}] {other:?}"),
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn names(peers: &[PeerId]) -> String {
    let names: Vec<String> = peers.iter().map(PeerId::to_string).collect();
    format!("[{}]", names.join(" "))
}

const QUEUE: usize = 256;
/// Requests served by one save at most.
const BATCH: usize = 256;
const RETRY: Duration = Duration::from_secs(1);
