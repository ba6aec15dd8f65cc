//! The loop that owns the rules.
//!
//! Changes by others are told by the kernel (our table, iptables over `nf_tables`, links) or found by
//! looking every [`LOOK`] (the legacy back end tells nobody). Either way the rules are compared as a
//! whole with what is wanted, and only differences are written. Invariant: a daemon that ends leaves
//! the rules in force.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weave_datapath::netlink::Watch;
use weave_npc::netlink::{Changes, Monitor};

use super::links::Links;
use super::rules::Rules;
use super::view::View;
use crate::logging::CHANGE;

/// A handle to the task.
#[derive(Debug, Clone)]
pub struct Firewall {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
}

/// The rules are not as they should be; the text says why. The task goes on trying.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FirewallError(pub(super) String);

#[derive(Debug)]
enum Request {
    /// An address is on the bridge, and whether its subnet is masqueraded.
    Expose(IpNet, bool, Reply),
    /// An address is not on the bridge any more.
    Hide(IpNet, Reply),
    /// Where pods of this host are.
    Local(Vec<IpNet>),
    /// The UDP port whose packets conntrack leaves alone.
    Untracked(Option<u16>),
}

type Reply = oneshot::Sender<Result<(), FirewallError>>;

impl Firewall {
    pub(super) fn new(
        rules: Rules,
        links: Links,
        monitor: Monitor,
        watch: Watch,
        stop: CancellationToken,
    ) -> std::io::Result<(Self, Task)> {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let (shown, view) = watch::channel(Arc::new(rules.view.clone()));
        let (told, changes) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("rules".to_owned())
            .spawn(move || listen(monitor, &told))?;
        let task = Task {
            rules,
            links,
            changes,
            watch,
            inbox,
            shown,
            stop,
            rules_due: None,
            links_due: Some(Instant::now()),
            look_at: Instant::now() + LOOK,
            looks: 0,
        };
        Ok((Self { requests, view }, task))
    }

    /// The state at this moment.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Makes the rules for `address`, which is on the bridge.
    ///
    /// # Errors
    /// The rules could not be written. They are written when that becomes possible.
    pub async fn expose(&self, address: IpNet, masquerade: bool) -> Result<(), FirewallError> {
        self.ask(|reply| Request::Expose(address, masquerade, reply))
            .await
    }

    /// Takes the rules for `address` away, which is not on the bridge any more.
    ///
    /// # Errors
    /// As [`Firewall::expose`].
    pub async fn hide(&self, address: IpNet) -> Result<(), FirewallError> {
        self.ask(|reply| Request::Hide(address, reply)).await
    }

    /// Says where pods of this host are: traffic to them keeps its source.
    pub async fn set_local(&self, local: Vec<IpNet>) {
        // When the task has ended there is nobody to tell.
        let _ = self.requests.send(Request::Local(local)).await;
    }

    /// Says which UDP port's packets conntrack leaves alone.
    pub async fn set_untracked(&self, port: Option<u16>) {
        // When the task has ended there is nobody to tell.
        let _ = self.requests.send(Request::Untracked(port)).await;
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<(), FirewallError> {
        let stopping = || FirewallError("the daemon is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

/// The task, to be spawned.
#[derive(Debug)]
pub struct Task {
    rules: Rules,
    links: Links,
    changes: mpsc::Receiver<Changes>,
    watch: Watch,
    inbox: mpsc::Receiver<Request>,
    shown: watch::Sender<Arc<View>>,
    stop: CancellationToken,
    rules_due: Option<Instant>,
    links_due: Option<Instant>,
    look_at: Instant,
    looks: u64,
}

enum Wake {
    Stop,
    Request(Request),
    Changes(Changes),
    Links,
    Time,
}

impl Task {
    /// Runs until the daemon stops.
    pub async fn run(mut self) {
        loop {
            match self.wait().await {
                Wake::Stop => return,
                Wake::Request(request) => self.handle(request).await,
                Wake::Changes(changes) => {
                    if self.rules.concern(&changes) {
                        let due = Instant::now() + SETTLE;
                        self.rules_due.get_or_insert(due);
                    }
                }
                Wake::Links => {
                    let due = Instant::now() + SETTLE;
                    self.links_due.get_or_insert(due);
                }
                Wake::Time => self.handle_time().await,
            }
            let view = &self.rules.view;
            self.shown.send_if_modified(|shown| {
                let differs = **shown != *view;
                if differs {
                    *shown = Arc::new(view.clone());
                }
                differs
            });
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = [self.rules_due, self.links_due].into_iter().flatten();
        let due = due.fold(self.look_at, Instant::min);
        tokio::select! {
            () = self.stop.cancelled() => Wake::Stop,
            request = self.inbox.recv() => request.map_or(Wake::Stop, Wake::Request),
            Some(changes) = self.changes.recv() => Wake::Changes(changes),
            Ok(()) = self.watch.changed() => Wake::Links,
            () = sleep_until(due) => Wake::Time,
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Expose(address, masquerade, reply) => {
                self.rules.wanted.exposed.insert(address, masquerade);
                // A caller that has gone away needs no answer.
                let _ = reply.send(self.rules.write().await);
            }
            Request::Hide(address, reply) => {
                self.rules.wanted.exposed.remove(&address);
                let _ = reply.send(self.rules.write().await);
            }
            Request::Local(local) => {
                if self.rules.wanted.local != local {
                    self.rules.wanted.local = local;
                    self.write().await;
                }
            }
            Request::Untracked(port) => {
                if self.rules.wanted.untracked != port {
                    self.rules.wanted.untracked = port;
                    self.write().await;
                }
            }
        }
    }

    async fn write(&mut self) {
        if let Err(error) = self.rules.write().await {
            warn!("[firewall] {error}");
        }
    }

    async fn handle_time(&mut self) {
        let now = Instant::now();
        if self.links_due.is_some_and(|due| due <= now) {
            self.links_due = None;
            self.check_links().await;
        }
        if self.look_at <= now {
            self.look_at = now + LOOK;
            self.looks += 1;
            let is_whole = self.looks.is_multiple_of(WHOLE);
            if is_whole || self.rules.has_fault() || self.rules.legacy_changed().await {
                self.rules_due = Some(now);
            }
        }
        if self.rules_due.is_some_and(|due| due <= now) {
            self.rules_due = None;
            self.rules.repair().await;
        }
    }

    async fn check_links(&mut self) {
        let exposed: Vec<IpNet> = self.rules.wanted.exposed.keys().copied().collect();
        match self.links.check(exposed.into_iter()).await {
            Ok(done) if done.is_empty() => self.rules.view.link_fault(None),
            Ok(done) => {
                let text = done.join("; ");
                warn!(target: CHANGE, "[bridge] somebody changed it: {text}");
                self.rules.view.link_repairs += 1;
                self.rules.view.note(text);
                self.rules.view.link_fault(None);
            }
            Err(error) => {
                warn!("[bridge] {error}");
                self.rules.view.link_fault(Some(error));
                self.links_due = Some(Instant::now() + LOOK);
            }
        }
    }
}

/// Passes on what the kernel tells of changes by anybody, until nobody wants to know. When it stops
/// telling, changes are found by looking, every half minute.
fn listen(mut monitor: Monitor, told: &mpsc::Sender<Changes>) {
    while !told.is_closed() {
        match monitor.wait(LISTEN) {
            Ok(changes) if changes.is_empty() => {}
            // While the task is busy the kernel queues, and says so when that was too much.
            Ok(changes) => {
                if told.blocking_send(changes).is_err() {
                    return;
                }
            }
            Err(error) => return warn!("[firewall] not told of changes any more: {error}"),
        }
    }
}

/// How long the thread that listens outlives the task.
const LISTEN: Duration = Duration::from_millis(200);
const QUEUE: usize = 16;
/// Programs change rules and links in several steps; repairs wait for the rest of them.
const SETTLE: Duration = Duration::from_millis(100);
/// Between looks at what nobody tells of.
const LOOK: Duration = Duration::from_secs(2);
/// Every so many looks everything is compared, whether or not anything was told.
const WHOLE: u64 = 15;
