//! The task that owns the store: registrations, gossip, the topology and time go in; broadcasts and
//! relays come out.
//!
//! Everybody else reads the store where it is, through a [`watch`] channel that only this task
//! writes to.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weave_mesh::node::RouteTable;
use weave_mesh::peer::PeerName;
use weave_mesh::tokio::Mesh;

use super::channel::{Input, NAME, NameChannel, SKEW_SECONDS, unix_seconds};
use super::counters::{Counters, count};
use super::store::{Full, Merged, Selection, Store};

/// A handle to the names.
#[derive(Debug, Clone)]
pub struct Names {
    commands: mpsc::Sender<Command>,
    store: watch::Receiver<Store>,
    counters: Arc<Counters>,
}

/// Why a name is not registered or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no room.
    #[error(transparent)]
    Full(#[from] Full),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Names that are not yet connected to a mesh.
#[derive(Debug)]
pub struct Unstarted {
    store: watch::Sender<Store>,
    commands: mpsc::Receiver<Command>,
    inputs: mpsc::Receiver<Input>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Command {
    Add {
        hostname: String,
        container: String,
        address: Ipv4Addr,
        reply: oneshot::Sender<Result<bool, Full>>,
    },
    Remove {
        selection: Selection,
        reply: oneshot::Sender<usize>,
    },
}

impl Names {
    /// No names yet, of the peer `us`: a handle, the channel for the mesh, and the rest for
    /// [`Unstarted::run`].
    pub fn new(us: PeerName) -> (Self, NameChannel, Unstarted) {
        let counters = Arc::new(Counters::default());
        let (sender, store) = watch::channel(Store::new(us));
        let (commands, requests) = mpsc::channel(QUEUE);
        let (channel, inputs) = NameChannel::new(store.clone(), Arc::clone(&counters));
        let unstarted = Unstarted {
            store: sender,
            commands: requests,
            inputs,
            counters: Arc::clone(&counters),
        };
        let names = Self {
            commands,
            store,
            counters,
        };
        (names, channel, unstarted)
    }

    /// Registers a full name; whether that changed anything.
    ///
    /// # Errors
    /// See [`NameError`].
    pub async fn add(
        &self,
        hostname: String,
        container: String,
        address: Ipv4Addr,
    ) -> Result<bool, NameError> {
        let added = self.ask(|reply| Command::Add {
            hostname,
            container,
            address,
            reply,
        });
        Ok(added.await??)
    }

    /// Deletes what is registered here and `selection` has; how many entries those were.
    ///
    /// # Errors
    /// [`NameError::Stopping`].
    pub async fn remove(&self, selection: Selection) -> Result<usize, NameError> {
        self.ask(|reply| Command::Remove { selection, reply }).await
    }

    /// What `read` finds in the store at this moment. It must not take long: nothing is written
    /// meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Store) -> T) -> T {
        read(&self.store.borrow())
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, NameError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| NameError::Stopping)?;
        answer.await.map_err(|_| NameError::Stopping)
    }
}

impl Unstarted {
    /// The task, to be spawned: it ends with `stop`.
    pub fn run(self, mesh: Mesh, stop: CancellationToken) -> impl Future<Output = ()> + Send {
        let routes = mesh.routes();
        let task = Task {
            parts: self,
            mesh,
            routes,
            stop,
            broadcast_due: false,
            quiet_until: Instant::now(),
            sweep_at: Instant::now() + SWEEP,
            skew_logged: None,
        };
        task.run()
    }

    /// Changes the store; readers that wait for changes are not told, there are none.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut outcome = None;
        self.store.send_if_modified(|store| {
            outcome = Some(change(store));
            false
        });
        outcome.expect("invariant: the closure is called once")
    }
}

struct Task {
    parts: Unstarted,
    mesh: Mesh,
    routes: watch::Receiver<Arc<RouteTable>>,
    stop: CancellationToken,
    /// Something of ours changed that nobody was told.
    broadcast_due: bool,
    /// When the next broadcast may go out: each carries everything.
    quiet_until: Instant,
    sweep_at: Instant,
    /// When a wrong clock was logged last.
    skew_logged: Option<Instant>,
}

enum Wake {
    Command(Command),
    Input(Input),
    Routes,
    Time,
    Stop,
}

impl Task {
    async fn run(mut self) {
        self.routes.mark_changed();
        loop {
            match self.wait().await {
                Wake::Stop => return,
                Wake::Command(command) => self.command(command),
                Wake::Input(input) => self.input(input).await,
                Wake::Routes => self.topology(),
                Wake::Time => {}
            }
            let now = Instant::now();
            if now >= self.sweep_at {
                self.sweep_at = now + SWEEP;
                self.change(|store| store.sweep(unix_seconds()));
            }
            if self.broadcast_due && now >= self.quiet_until {
                self.broadcast_due = false;
                self.quiet_until = now + PAUSE;
                self.mesh.broadcast(NAME).await;
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = self.broadcast_due.then_some(self.quiet_until);
        let next = due.map_or(self.sweep_at, |at| at.min(self.sweep_at));
        tokio::select! {
            () = self.stop.cancelled() => Wake::Stop,
            command = self.parts.commands.recv() => command.map_or(Wake::Stop, Wake::Command),
            Some(input) = self.parts.inputs.recv() => Wake::Input(input),
            Ok(()) = self.routes.changed() => Wake::Routes,
            () = sleep_until(next) => Wake::Time,
        }
    }

    fn command(&mut self, command: Command) {
        // Who asked may have gone away; the change holds all the same.
        match command {
            Command::Add {
                hostname,
                container,
                address,
                reply,
            } => {
                let added = self.change(|store| store.add(&hostname, &container, address));
                self.broadcast_due |= added == Ok(true);
                let _ = reply.send(added);
            }
            Command::Remove { selection, reply } => {
                let count = self.change(|store| store.remove(unix_seconds(), &selection));
                self.broadcast_due |= count > 0;
                let _ = reply.send(count);
            }
        }
    }

    async fn input(&mut self, input: Input) {
        let (source, message) = match input {
            Input::Gossip(message) => (None, message),
            Input::Broadcast { source, message } => (Some(source), message),
            Input::Skewed(seconds) => return self.skewed(seconds),
        };
        let merged = self.change(|store| store.merge(unix_seconds(), message.entries));
        self.account(merged);
        match source {
            _ if !merged.is_news => {}
            Some(source) => self.mesh.relay_broadcast(NAME, source).await,
            None => self.mesh.relay_gossip(NAME).await,
        }
    }

    fn topology(&mut self) {
        let table = Arc::clone(&self.routes.borrow_and_update());
        let known: BTreeSet<PeerName> = table.known.iter().copied().collect();
        let merged = self.change(|store| store.set_known(unix_seconds(), known));
        self.account(merged);
    }

    fn account(&mut self, merged: Merged) {
        let refused = u64::try_from(merged.refused).unwrap_or(u64::MAX);
        let counter = &self.parts.counters.gossip_refused;
        if refused > 0 && counter.fetch_add(refused, Ordering::Relaxed) == 0 {
            warn!(
                "[nameserver] {refused} names from a peer refused: without sense or without room"
            );
        }
        if merged.is_regained {
            info!("[nameserver] peers had old names of ours: corrected");
            self.broadcast_due = true;
        }
    }

    fn skewed(&mut self, seconds: i64) {
        count(&self.parts.counters.gossip_skewed);
        let now = Instant::now();
        if self.skew_logged.is_none_or(|last| now >= last + SKEW_LOG) {
            self.skew_logged = Some(now);
            warn!(
                "[nameserver] names from a peer refused: host clock skew of {seconds}s exceeds \
                 {SKEW_SECONDS}s limit"
            );
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        self.parts.change(change)
    }
}

const QUEUE: usize = 64;
/// Between broadcasts of ours, when names come in numbers.
const PAUSE: Duration = Duration::from_millis(200);
/// Between looks for old tombstones. All peers drop them within this time, so that their states
/// are equal again.
const SWEEP: Duration = Duration::from_secs(60);
const SKEW_LOG: Duration = Duration::from_secs(300);
