//! The loop that owns the engine and the kernel's side of it.
//!
//! ```text
//! files ─┐                                  ┌─▶ Kernel   rules, connections
//! watches┼─ Input ─▶ Engine ─ Transaction ──┤
//! HTTP ──┘      monitor, log ─▶ repair      └─▶ Guard, Journal
//! ```
//!
//! Invariant: nothing that comes in ends the loop; what cannot be done is noted, shown and tried
//! again.

use std::time::{Duration, Instant as Moment, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use weave_npc::engine::{Claim, Engine, Event, Kind, may_tighten};
use weave_npc::model::{Key, Object};
use weave_npc::netlink::Monitor;
use weave_npc::nflog::{Logged, Reader};

use super::blocked::{Journal, Record};
use super::guard::Guard;
use super::kernel::Kernel;
use super::ready::Ready;
use super::request::Request;
use super::settings::{Settings, Source, Style};
use super::{old, sysctl};

/// What comes in.
#[derive(Debug)]
pub(super) enum Input {
    /// A source says something about objects.
    Event(Event),
    /// A source looked and found nothing new.
    Looked,
    /// What does not work at a source, all of it.
    Faults(Vec<String>),
    /// A source saw something that is still changing.
    Moving,
    /// Somebody asks.
    Request(Request),
}

/// The task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) settings: Settings,
    pub(super) engine: Engine,
    pub(super) kernel: Kernel,
    pub(super) guard: Option<Guard>,
    pub(super) journal: Journal,
    pub(super) source_faults: Vec<String>,
    pub(super) source_errors: u64,
    pub(super) log_fault: Option<String>,
    pub(super) sysctl_faults: Vec<String>,
    inbox: mpsc::Receiver<Input>,
    monitor: Option<Ready<Monitor>>,
    reader: Option<Ready<Reader>>,
    stop: CancellationToken,
    started: Moment,
    repair_due: Option<Instant>,
    cut_due: Option<Instant>,
    check_at: Instant,
    verify_at: Instant,
    waiting: Vec<Waiting>,
    /// Looks of the source that found nothing new.
    looks: u64,
    is_programmed: bool,
}

/// Somebody who waits.
#[derive(Debug)]
struct Waiting {
    what: Awaited,
    until: Instant,
    /// When a pod of the name will do, whatever its identity.
    relax_at: Option<Instant>,
    reply: oneshot::Sender<Result<(), String>>,
}

#[derive(Debug)]
enum Awaited {
    /// The addresses of a pod are in the rules.
    Placed(Claim),
    /// The source has looked so often, and what it found is in the rules.
    Looked(u64),
}

enum Wake {
    Stop,
    Input(Input),
    Changed,
    Logged,
    Time,
}

impl Task {
    /// A task with the kernel's side of it, in the network namespace of this thread.
    pub(super) fn new(
        settings: Settings,
        kernel: Kernel,
        inbox: mpsc::Receiver<Input>,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let engine = Engine::new(settings.node.clone(), settings.options.clone());
        let mut task = Self {
            settings,
            engine,
            kernel,
            guard: None,
            journal: Journal::default(),
            source_faults: Vec::new(),
            source_errors: 0,
            log_fault: None,
            sysctl_faults: Vec::new(),
            inbox,
            monitor: None,
            reader: None,
            stop,
            started: Moment::now(),
            repair_due: None,
            cut_due: None,
            check_at: now,
            verify_at: now + VERIFY,
            waiting: Vec::new(),
            looks: 0,
            is_programmed: false,
        };
        task.carry();
        task
    }

    /// Runs until it is stopped. The rules stay in force.
    pub(super) async fn run(mut self) {
        loop {
            match self.wait().await {
                Wake::Stop => return,
                Wake::Input(input) => self.handle(input),
                Wake::Changed | Wake::Logged | Wake::Time => {}
            }
            for _ in 0..AT_ONCE {
                match self.inbox.try_recv() {
                    Ok(input) => self.handle(input),
                    Err(_) => break,
                }
            }
            self.turn();
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = self.due();
        let Self {
            inbox,
            monitor,
            reader,
            stop,
            ..
        } = self;
        let changed = async {
            match monitor {
                Some(monitor) => monitor.read(|monitor| (monitor.drain(), false)).await,
                None => std::future::pending().await,
            }
        };
        let logged = async {
            match reader {
                Some(reader) => {
                    let drain = |reader: &mut Reader| match reader.drain(PACKETS) {
                        Ok(received) => (Ok((received.packets, received.lost)), received.is_more),
                        Err(error) => (Err(error), false),
                    };
                    reader.read(drain).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Wake::Stop,
            input = inbox.recv() => input.map_or(Wake::Stop, Wake::Input),
            outcome = changed => {
                match outcome {
                    Ok(Ok(changes)) => {
                        let is_ours = self.kernel.concern(&changes);
                        let guard = self.guard.as_mut();
                        if is_ours || guard.is_some_and(|guard| guard.concern(&changes)) {
                            let due = Instant::now() + SETTLE;
                            self.repair_due.get_or_insert(due);
                        }
                    }
                    // The next check opens another one.
                    Ok(Err(_)) | Err(_) => self.monitor = None,
                }
                Wake::Changed
            }
            outcome = logged => {
                match outcome {
                    Ok(Ok((packets, lost))) => self.show(&packets, lost),
                    Ok(Err(_)) | Err(_) => self.reader = None,
                }
                Wake::Logged
            }
            () = sleep_until(due) => Wake::Time,
        }
    }

    fn due(&self) -> Instant {
        let engine = self.engine.poll_timeout().map(|due| self.moment(due));
        let retry = self.kernel.retry_at().map(Instant::from_std);
        let waits = self.waiting.iter();
        let waiting = waits.map(|one| one.relax_at.map_or(one.until, |at| at.min(one.until)));
        let waiting = waiting.min();
        let due = [engine, retry, self.repair_due, self.cut_due, waiting];
        let due = due.into_iter().flatten().min();
        let first = self.check_at.min(self.verify_at);
        due.map_or(first, |due| due.min(first))
    }

    fn moment(&self, since_start: Duration) -> Instant {
        Instant::from_std(self.started + since_start)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    // ===== what comes in =====

    fn handle(&mut self, input: Input) {
        match input {
            Input::Event(event) => {
                self.tell(&event);
                self.engine.handle_event(self.now(), event);
            }
            Input::Looked => {
                self.source_faults.clear();
                self.looks += 1;
            }
            Input::Faults(faults) => self.note_faults(faults),
            Input::Moving => {}
            Input::Request(request) => self.answer(request),
        }
    }

    fn note_faults(&mut self, faults: Vec<String>) {
        for fault in faults
            .iter()
            .filter(|one| !self.source_faults.contains(one))
        {
            warn!("{fault}; what is known stays in force");
            self.source_errors += 1;
        }
        self.source_faults = faults;
    }

    /// Says in the log what comes, as far as it is about policies, and what cannot be used.
    fn tell(&self, event: &Event) {
        let mut refused: &[_] = &[];
        match event {
            Event::Refused(error) => refused = std::slice::from_ref(error),
            Event::Listed(listing) => {
                debug!("{} objects listed", listing.objects.len());
                refused = &listing.refused;
            }
            Event::Applied(Object::Policy(policy)) => info!("policy {} applied", policy.name),
            Event::Applied(Object::ClusterPolicy(policy)) => {
                info!("cluster policy {} applied", policy.name);
            }
            Event::Removed(Key::Policy(name)) => info!("policy {name} removed"),
            Event::Removed(Key::ClusterPolicy(name)) => info!("cluster policy {name} removed"),
            _ => {}
        }
        for error in refused {
            if !self.engine.refused().any(|known| known == error) {
                warn!("{error}: not used; what was known of it stays in force");
            }
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Place(claim, until, reply) => {
                let hold = until.saturating_duration_since(Instant::now()) + HOLD;
                self.engine.handle_claim(self.now(), claim.clone(), hold);
                let relax_at = claim.uid.is_some().then(|| Instant::now() + RELAX);
                self.waiting.push(Waiting {
                    what: Awaited::Placed(claim),
                    until,
                    relax_at,
                    reply,
                });
            }
            Request::Release(claim) => {
                let (pod, addresses) = (&claim.pod, &claim.addresses);
                self.engine.handle_release(self.now(), pod, addresses);
            }
            Request::Guard(port, reply) => {
                let outcome = match &mut self.guard {
                    Some(guard) => guard.add(&port.name, port.ether, port.addresses),
                    None => Ok(()),
                };
                // An asker that has gone away needs no answer, here and below.
                let _ = reply.send(outcome);
            }
            Request::Sync(until, reply) => {
                // The look that is under way may have begun before the question.
                let looks = match self.settings.source {
                    Source::Files(_) => self.looks + 2,
                    Source::Cluster => self.looks,
                };
                self.waiting.push(Waiting {
                    what: Awaited::Looked(looks),
                    until,
                    relax_at: None,
                    reply,
                });
            }
            Request::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Request::Metrics(reply) => {
                let page = super::metrics::page(&self.status(), &self.journal.counts);
                let _ = reply.send(page);
            }
            Request::Explain(question, reply) => {
                let _ = reply.send(self.explain(&question));
            }
            Request::Blocked(since, reply) => {
                let _ = reply.send(self.journal.since(wall(), since));
            }
        }
    }

    fn show(&mut self, packets: &[Logged], lost: u64) {
        self.journal.lost += lost;
        let (now, options) = (self.now(), self.settings.options.verdict);
        for packet in packets {
            let record = self
                .journal
                .note(now, wall(), packet, &self.engine, options);
            if let Some(record) = record {
                print(record, self.settings.style);
            }
        }
    }

    // ===== what is done =====

    fn turn(&mut self) {
        let now = Instant::now();
        self.relax(now);
        let was_current = self.kernel.is_current();
        let mut is_cut_wanted = false;
        if let Some(change) = self.engine.poll_change(self.now()) {
            let done = self.kernel.commit(&self.engine, &change);
            is_cut_wanted = done && (!was_current || may_tighten(&change));
        }
        is_cut_wanted |= self.kernel.retry(&self.engine);
        if self.repair_due.is_some_and(|due| due <= now) || self.verify_at <= now {
            self.repair_due = None;
            self.verify_at = now + VERIFY;
            is_cut_wanted |= self.kernel.repair(&self.engine);
            if let Some(guard) = &mut self.guard {
                guard.repair();
            }
        }
        if is_cut_wanted && !self.settings.keeps_connections {
            self.cut_due.get_or_insert(now);
        }
        if self.cut_due.is_some_and(|due| due <= now) {
            self.cut_due = None;
            self.kernel.cut(&self.engine);
        }
        if self.check_at <= now {
            self.check_at = now + CHECK;
            self.check();
        }
        if self.kernel.is_current() && !self.is_programmed {
            self.is_programmed = true;
            info!("policies are in force");
            old::remove(self.settings.bridge.clone());
        }
        self.resolve(now);
    }

    /// Opens what is not open, and looks at the switches.
    fn check(&mut self) {
        let faults = sysctl::ensure();
        for fault in faults
            .iter()
            .filter(|one| !self.sysctl_faults.contains(one))
        {
            warn!("{fault}");
        }
        self.sysctl_faults = faults;
        if self.monitor.is_none() {
            let opened = Monitor::open().map_err(|error| error.to_string());
            match opened.and_then(|it| Ready::new(it).map_err(|error| error.to_string())) {
                Ok(monitor) => {
                    self.monitor = Some(monitor);
                    // What happened before nobody told.
                    self.repair_due = Some(Instant::now());
                }
                Err(error) => warn!("not told of changes by others: {error}"),
            }
        }
        if self.reader.is_none() {
            let options = &self.settings.options;
            let bytes = usize::try_from(options.log_bytes).unwrap_or(usize::MAX);
            let opened = Reader::open(options.log_group, bytes).map_err(|error| error.to_string());
            match opened.and_then(|it| Ready::new(it).map_err(|error| error.to_string())) {
                Ok(reader) => (self.reader, self.log_fault) = (Some(reader), None),
                Err(error) => {
                    let fault = format!("blocked connections are not logged: {error}");
                    if self.log_fault.as_ref() != Some(&fault) {
                        warn!("{fault}");
                    }
                    self.log_fault = Some(fault);
                }
            }
        }
        if self.guard.is_none() && self.settings.guards {
            match Guard::open() {
                Ok(mut guard) => {
                    guard.write();
                    self.guard = Some(guard);
                }
                Err(error) => warn!("no source guard: {error}"),
            }
        }
    }

    /// Closes what an earlier controller isolated and nobody is known to have.
    fn carry(&mut self) {
        match self.kernel.isolated() {
            Ok(addresses) => {
                let now = self.now();
                self.engine.handle_carried(now, addresses, HOLD);
            }
            Err(error) => warn!("the rules of an earlier controller cannot be read: {error}"),
        }
    }

    /// Lets claims that have waited go to a pod of the name. A static pod is one thing to the kubelet
    /// and another to the API server, with another identity.
    fn relax(&mut self, now: Instant) {
        let since_start = self.now();
        for one in &mut self.waiting {
            if one.relax_at.is_none_or(|at| at > now) {
                continue;
            }
            one.relax_at = None;
            if let Awaited::Placed(claim) = &one.what {
                let any = Claim::new(claim.pod.clone(), claim.addresses.iter().copied());
                let hold = one.until.saturating_duration_since(now) + HOLD;
                self.engine.handle_claim(since_start, any, hold);
            }
        }
    }

    /// Answers those who wait for what is there, or have waited long enough.
    fn resolve(&mut self, now: Instant) {
        let is_current = self.kernel.is_current();
        let (engine, looks) = (&self.engine, self.looks);
        let mut left = Vec::new();
        for one in std::mem::take(&mut self.waiting) {
            let is_there = is_current
                && match &one.what {
                    Awaited::Placed(claim) => engine.is_placed(&claim.pod, &claim.addresses),
                    Awaited::Looked(wanted) => engine.is_settled() && looks >= *wanted,
                };
            if is_there {
                let _ = one.reply.send(Ok(()));
            } else if one.until <= now {
                let _ = one.reply.send(Err(self.reason(&one.what)));
            } else if !one.reply.is_closed() {
                left.push(one);
            }
        }
        self.waiting = left;
    }

    /// Why somebody has waited in vain.
    fn reason(&self, what: &Awaited) -> String {
        if !self.engine.is_synced() {
            let missing: Vec<&str> = self.engine.missing().map(Kind::as_str).collect();
            return format!("no list so far of {}", missing.join(", "));
        }
        if let Some(fault) = &self.kernel.tally.fault {
            return format!("the kernel refuses the rules: {fault}");
        }
        match what {
            Awaited::Placed(claim) => format!("pod {} is not known", claim.pod),
            Awaited::Looked(_) => "the objects go on changing".to_owned(),
        }
    }
}

fn print(record: &Record, style: Style) {
    let sentence = record.sentence();
    match style {
        Style::Sentence => warn!("{sentence}"),
        Style::Detail => {
            let direction = record.direction.as_deref().unwrap_or("unknown");
            let (from, to) = (record.from_pod.as_deref(), record.to_pod.as_deref());
            let (from, to) = (from.unwrap_or("-"), to.unwrap_or("-"));
            warn!(%direction, %from, %to, reason = %record.reason, "{sentence}");
        }
        Style::Json => match serde_json::to_string(record) {
            Ok(json) => warn!(record = %json, "{sentence}"),
            Err(error) => warn!(%error, "{sentence}"),
        },
    }
}

fn wall() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Inputs taken over before anything is done about them.
const AT_ONCE: usize = 10_000;
/// Logged packets that are looked at in one go.
const PACKETS: usize = 64;
/// Programs change rules in several steps; repairs wait for the rest of them.
const SETTLE: Duration = Duration::from_millis(20);
/// Between looks at what nobody tells of.
const CHECK: Duration = Duration::from_secs(10);
/// Between comparisons of the whole table.
const VERIFY: Duration = Duration::from_secs(30);
/// How long a pod with the very identity is waited for.
const RELAX: Duration = Duration::from_secs(3);
/// How long an address stays closed whose pod is not known.
const HOLD: Duration = Duration::from_secs(60);
